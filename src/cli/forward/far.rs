//! Runs the end that connects to a service.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt as _,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    address::Address,
    hello::{BROKEN_OFF, Hello, Unexpected, hear, say},
    relay::{Connection, Relay},
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

/// Keeps one stream waiting for a connection of the other end, and serves those that have met.
pub(crate) async fn run(
    to: &Address,
    connector: &Connector,
    tokens: &Tokens,
    relay: &Relay,
) -> Result<(), Failure> {
    let mut connections = JoinSet::new();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut announced = false;
    loop {
        let connection = relay.seat().await;
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
            Ok(Waited::Met(stream)) => {
                backoff.reset();
                connections.spawn(serve(connection, to.clone(), *stream));
                continue;
            }
            Ok(Waited::Alone) => {
                backoff.reset();
                continue;
            }
            Ok(Waited::BrokenOff) => BROKEN_OFF.to_owned(),
            // What is wrong from the start, or for ever, is told and not tried again.
            Err(failure) if !announced || failure.is_lasting => {
                drop(connection);
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

/// Says how it went.
enum Waited {
    /// The other end has joined.
    Met(Box<RouterStream>),
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
        say(&mut stream, &Hello::To).await?;
        // A token that is refused shows here.
        if let Ok(Err(error)) = timeout(REFUSAL, stream.answered()).await {
            return Err(error.into());
        }
        waiting();
        hear(&mut stream, None).await
    };
    match heard.await {
        Ok(Hello::Listen) => Ok(Waited::Met(Box::new(stream))),
        Ok(Hello::To) => Err(Failure::new(
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

async fn serve(connection: Connection, to: Address, mut stream: RouterStream) {
    if let Err(error) = say(&mut stream, &Hello::Met).await {
        connection.say(format_args!("closed: {}", Failure::from(error)));
        return;
    }
    match to.connect().await {
        Ok(local) => match say(&mut stream, &Hello::Ready).await {
            Ok(()) => connection.carry(local, stream).await,
            Err(error) => connection.say(format_args!("closed: {}", Failure::from(error))),
        },
        Err(error) => {
            let why = format!("cannot connect to {to}: {error}");
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
