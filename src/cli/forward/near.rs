//! Runs the end that accepts connections.

use std::time::Duration;

use tokio::{task::JoinSet, time::sleep};

use super::{
    address::{Listener, Local, abort},
    hello::{BROKEN_OFF, Hello, Unexpected, hear, say},
    relay::{Connection, Relay},
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        join::credentials::Tokens,
    },
    client::{Connector, EndedBy, RouterStream},
    common::backoff::Backoff,
};

/// How long the other end may take to answer: a few round trips.
const MET: Duration = Duration::from_secs(5);

/// How long the other end may take to reach its service: its own deadline is 10 s.
const READY: Duration = Duration::from_secs(20);

/// How often in a row a stream may meet a wrong one.
const ATTEMPTS: u32 = 12;

/// The pauses between two such attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Accepts connections and gives each a stream. Streams are opened one after the other, so that never two of them wait
/// for a partner and meet each other.
pub(crate) async fn run(
    listener: Listener,
    connector: &Connector,
    tokens: &Tokens,
    relay: &Relay,
) -> Result<(), Failure> {
    let mut connections = JoinSet::new();
    let failure = loop {
        let (connection, local) = match relay.accept(&listener, &mut connections).await {
            Ok(accepted) => accepted,
            Err(failure) => break failure,
        };
        match meet(connector, tokens, &connection).await {
            Ok(stream) => {
                connections.spawn(serve(connection, local, stream));
            }
            Err(failure) => {
                abort(local);
                if failure.is_lasting {
                    break failure;
                }
                connection.say(format_args!("closed: {failure}"));
            }
        }
    };
    drop(listener);
    Err(relay.wind_up(connections, failure).await)
}

/// Opens a stream whose other side is the other end of this forward.
async fn meet(
    connector: &Connector,
    tokens: &Tokens,
    connection: &Connection,
) -> Result<RouterStream, Failure> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let mut stream = RouterStream::connect(connector, tokens.next().as_str()).await?;
        let met = async {
            say(&mut stream, &Hello::Listen).await?;
            match hear(&mut stream, None).await? {
                Hello::To => match hear(&mut stream, Some(MET)).await? {
                    Hello::Met => Ok(()),
                    word => Err(Unexpected::Word(word)),
                },
                word => Err(Unexpected::Word(word)),
            }
        };
        let why = match met.await {
            Ok(()) => return Ok(stream),
            Err(Unexpected::Ended(error)) if error.by() == EndedBy::Partner => BROKEN_OFF,
            Err(Unexpected::Ended(error)) => return Err(error.into()),
            Err(Unexpected::Stranger) => {
                return Err(Failure::new(
                    Exit::Broken,
                    "the other side is no `forward`; start it with --to there",
                ));
            }
            Err(Unexpected::Silence) => "the other end does not answer",
            Err(Unexpected::Word(Hello::Listen)) => {
                "met another end with --listen; is one with --to running?"
            }
            Err(Unexpected::Word(_)) => "met an end that is out of step",
        };
        stream.cancel().await;
        if backoff.attempts >= ATTEMPTS {
            return Err(Failure::new(Exit::Alone, why));
        }
        let pause = backoff.jittered();
        connection.say(format_args!("{why}; trying again"));
        sleep(pause).await;
    }
}

async fn serve(
    connection: Connection,
    local: Local,
    mut stream: RouterStream,
) -> Result<(), Failure> {
    let why = match hear(&mut stream, Some(READY)).await {
        Ok(Hello::Ready) => {
            connection.carry(local, stream).await;
            return Ok(());
        }
        Ok(Hello::Failed(why)) => format!("the other end's service: {why}"),
        Ok(_) | Err(Unexpected::Word(_) | Unexpected::Stranger) => {
            "the other end is out of step".to_owned()
        }
        Err(Unexpected::Silence) => "the other end does not answer".to_owned(),
        Err(Unexpected::Ended(error)) => Failure::from(error).to_string(),
    };
    connection.say(format_args!("closed: {why}"));
    abort(local);
    // Of this connection alone: the next one may fare better.
    Ok(())
}
