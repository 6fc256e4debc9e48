//! Runs the end that connects to a service.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{Response, Uri};
use tokio::{
    io::AsyncWriteExt as _,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use super::{
    channel::Channel,
    end::End,
    hello::{BROKEN_OFF, Carries, Hello, Unexpected, hear, say},
    relay::Relay,
    trunk::{self, Kind, Why, Wire},
    udp,
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        join::credentials::Tokens,
        out::say,
    },
    client::{Connector, EndedBy, RouterStream},
    common::backoff::Backoff,
};

/// The pauses after a failure to reach the router.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a router that is near takes at most to refuse a token.
const REFUSAL: Duration = Duration::from_millis(300);

/// How long the other end may take to hear the reason of a failure.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How often a trunk looks whether its router goes.
const LOOK: Duration = Duration::from_secs(1);

/// So many trunks may be there at once: one process that listens opens a few.
const TRUNKS: usize = 256;

/// Keeps one stream waiting for the other end, and serves those that have met.
pub(crate) async fn run(
    to: &End,
    connector: &Connector,
    tokens: &Tokens,
    relay: &Relay,
) -> Result<(), Failure> {
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(TRUNKS));
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut announced = false;
    loop {
        // Who comes is served, or comes later.
        relay.room().await;
        let place = places.clone().acquire_owned().await.ok();
        while connections.try_join_next().is_some() {}
        let why = match wait(connector, tokens, || {
            if !announced {
                announced = true;
                say!(
                    "waiting at {} for connections to {to}",
                    connector.endpoint()
                );
            }
        })
        .await
        {
            Ok(Waited::Met(stream, early)) => {
                backoff.reset();
                let (to, relay) = (to.clone(), relay.clone());
                match early {
                    None => connections.spawn(serve(to, relay, *stream, place)),
                    Some(early) => connections.spawn(trunk(to, relay, *stream, early, place)),
                };
                continue;
            }
            Ok(Waited::Alone) => {
                backoff.reset();
                continue;
            }
            Ok(Waited::BrokenOff) => BROKEN_OFF.to_owned(),
            // What is wrong from the start, or for ever, is told and not tried again.
            Err(failure) if !announced || failure.is_lasting => {
                return Err(relay.wind_up(connections, failure).await);
            }
            Err(failure) => failure.to_string(),
        };
        let pause = backoff.jittered();
        relay.note(format_args!(
            "{why}; trying again in {:.1} s",
            pause.as_secs_f64()
        ));
        sleep(pause).await;
    }
}

/// Is what a stream that has met the other end keeps of [`TRUNKS`].
type Place = Option<OwnedSemaphorePermit>;

/// Says how it went.
enum Waited {
    /// The other end has joined, and has begun a trunk so, if it knows of trunks.
    Met(Box<RouterStream>, Option<Bytes>),
    /// Nobody came as long as the router lets a stream wait.
    Alone,
    /// Somebody came and was gone at once.
    BrokenOff,
}

/// Opens one stream and waits for the other end.
async fn wait(
    connector: &Connector,
    tokens: &Tokens,
    waiting: impl FnOnce(),
) -> Result<Waited, Failure> {
    let mut stream = RouterStream::connect(connector, tokens.next().as_str()).await?;
    let heard = async {
        say(&mut stream, &Hello::To(Carries::Many)).await?;
        // A token that is refused shows here.
        if let Ok(Err(error)) = timeout(REFUSAL, stream.answered()).await {
            return Err(error.into());
        }
        waiting();
        match hear(&mut stream, None).await? {
            Hello::Listen(Carries::Many) => hear(&mut stream, Some(LAST_WORD)).await,
            word => Ok(word),
        }
    };
    match heard.await {
        Ok(Hello::Listen(_)) => Ok(Waited::Met(Box::new(stream), None)),
        Ok(Hello::Open(early)) => Ok(Waited::Met(Box::new(stream), Some(early))),
        Ok(Hello::To(_)) => Err(Failure::new(
            Exit::Broken,
            "met another end with --to; only one may run for a token",
        )),
        Ok(_) | Err(Unexpected::Word(_) | Unexpected::Stranger | Unexpected::Silence) => {
            Err(Failure::new(
                Exit::Broken,
                "the other side is no `forward`; start it with --listen there",
            ))
        }
        Err(Unexpected::Ended(error)) => {
            // The other end's connection may be gone by now, or its process.
            let broke_off = error.by() == EndedBy::Partner;
            let failure = Failure::from(error);
            match failure.exit {
                Exit::Alone => Ok(Waited::Alone),
                _ if broke_off => Ok(Waited::BrokenOff),
                _ => Err(failure),
            }
        }
    }
}

/// Serves the one connection of an end that knows no trunks.
async fn serve(to: End, relay: Relay, mut stream: RouterStream, _place: Place) {
    let connection = relay.seat().await;
    if let Err(error) = say(&mut stream, &Hello::Met).await {
        connection.say(format_args!("closed: {}", Failure::from(error)));
        return;
    }
    let connected = match &to {
        End::Stream(address) => match address.connect().await {
            Ok(local) => Ok(local),
            Err(error) => Err(format!("cannot connect to {to}: {error}")),
        },
        End::Datagrams(_) => Err(format!(
            "{to} takes datagrams, and that end is too old for them"
        )),
    };
    match connected {
        Ok(local) => match say(&mut stream, &Hello::Ready).await {
            Ok(()) => connection.carry(local, stream).await,
            Err(error) => connection.refuse(local, Failure::from(error)),
        },
        Err(why) => {
            connection.say(format_args!("closed: {why}"));
            let told = async {
                say(&mut stream, &Hello::Failed(why)).await?;
                stream.shutdown().await?;
                // It closes in answer, and not before it has taken the reason.
                while stream.read_frame().await?.is_some() {}
                Ok::<_, std::io::Error>(())
            };
            let _ = timeout(LAST_WORD, told).await;
        }
    }
}

/// Serves the connections that come over a trunk, to its end.
async fn trunk(to: End, relay: Relay, mut stream: RouterStream, early: Bytes, _place: Place) {
    let (why, mut calls) = (Why::default(), stream.calls());
    let begun = async {
        say(&mut stream, &Hello::Met).await?;
        let wire = Wire::begun(stream, early, why.clone());
        let begun = timeout(LAST_WORD, trunk::far().handshake(wire)).await;
        begun?.map_err(|error| why.of(&error))
    };
    // Who breaks off now has no connection that could be told of.
    let Ok(mut requests): std::io::Result<_> = begun.await else {
        return;
    };
    let mut connections = JoinSet::new();
    let mut look = interval(LOOK);
    let mut is_leaving = false;
    loop {
        tokio::select! {
            request = requests.accept() => match request {
                Some(Ok((request, answer))) => {
                    let (head, body) = request.into_parts();
                    let why = why.clone();
                    connections.spawn(channel(to.clone(), relay.clone(), head.uri, body, answer, why));
                }
                _ => break,
            },
            Some(_) = connections.join_next() => {}
            _ = look.tick(), if !is_leaving => {
                is_leaving = calls.are_over();
                if is_leaving {
                    // New connections come over another router then; those that there are go on.
                    requests.graceful_shutdown();
                }
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Serves a connection that has come over a trunk.
async fn channel(
    to: End,
    relay: Relay,
    uri: Uri,
    body: RecvStream,
    mut answer: SendResponse<Bytes>,
    why: Why,
) {
    let Ok(send) = answer.send_response(Response::new(()), false) else {
        return;
    };
    let mut channel = Channel::taken_in(body, send, why, ());
    let connection = tokio::select! {
        connection = relay.seat() => connection,
        () = channel.given_up() => return,
    };
    let why = match (Kind::of(&uri), &to) {
        (Some(Kind::Datagrams), End::Datagrams(to)) => {
            return udp::far::serve(to, connection, channel).await;
        }
        (Some(Kind::Bytes), End::Stream(address)) => match address.connect().await {
            Ok(local) => match channel.ready().await {
                Ok(()) => return connection.carry(local, channel).await,
                Err(error) => return connection.refuse(local, Failure::from(error)),
            },
            Err(error) => format!("cannot connect to {to}: {error}"),
        },
        _ => format!(
            "it is {to}, and this end listens for another kind; say udp: at both or at none"
        ),
    };
    connection.say(format_args!("closed: {why}"));
    let _ = channel.failed(&why).await;
}
