//! Runs the end that accepts connections.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{
    address::{Listener, Local},
    hello::{Hello, Unexpected, hear},
    meetings::{Carrier, Meetings},
    relay::{Connection, Relay},
    trunk::Kind,
};
use crate::{
    cli::{exit::Failure, join::credentials::Tokens},
    client::{Connector, RouterStream},
};

/// How long an end that knows no trunks may take to reach its service: its own deadline is 10 s.
const READY: Duration = Duration::from_secs(20);

/// Accepts connections and carries each.
pub(crate) async fn run(
    listener: Listener,
    connector: &Connector,
    tokens: &Tokens,
    relay: &Relay,
) -> Result<(), Failure> {
    let meetings = Arc::new(Meetings::new(connector, tokens));
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            match relay.accept(&listener, &mut connections).await {
                Ok((connection, local)) => {
                    connections.spawn(serve(connection, local, meetings.clone()));
                }
                Err(failure) => break failure,
            }
        }
    };
    let failure = tokio::select! {
        failure = accept => failure,
        never = meetings.trunks().tend() => match never {},
    };
    drop(listener);
    Err(relay.wind_up(connections, failure).await)
}

/// Carries a connection. Fails if the next one would, too.
async fn serve(
    connection: Connection,
    local: Local,
    meetings: Arc<Meetings>,
) -> Result<(), Failure> {
    match meetings.carrier(Kind::Bytes, &connection).await {
        Ok(Carrier::Channel(channel)) => connection.carry(local, channel).await,
        Ok(Carrier::Stream(stream)) => alone(connection, local, *stream).await,
        Err(failure) => {
            connection.refuse(local, &failure);
            if failure.is_lasting {
                return Err(failure);
            }
        }
    }
    Ok(())
}

/// Carries a connection over a stream of its own, to an end that knows no trunks.
async fn alone(connection: Connection, local: Local, mut stream: RouterStream) {
    let why = match hear(&mut stream, Some(READY)).await {
        Ok(Hello::Ready) => return connection.carry(local, stream).await,
        Ok(Hello::Failed(why)) => format!("the other end's service: {why}"),
        Ok(_) | Err(Unexpected::Word(_) | Unexpected::Stranger) => {
            "the other end is out of step".to_owned()
        }
        Err(Unexpected::Silence) => "the other end does not answer".to_owned(),
        Err(Unexpected::Ended(error)) => Failure::from(error).to_string(),
    };
    connection.refuse(local, why);
}
