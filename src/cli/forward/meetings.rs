//! Finds the other end for the connections of the end that accepts them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, time::sleep};

use super::{
    channel::Channel,
    hello::{BROKEN_OFF, Carries, Hello, Unexpected, hear, say},
    relay::Connection,
    trunk::{Kind, lock},
    trunks::{Begun, Trunk, Trunks},
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

/// How often in a row a stream may meet a wrong one.
const ATTEMPTS: u32 = 12;

/// The pauses between two such attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Who has waited for so long need not wait for another to come in vain.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many trunks a connection may find of no use.
const TRIES: u32 = 3;

/// Meets the other end. Streams are opened one after the other, so that never two of them wait for a partner and meet each
/// other.
pub(crate) struct Meetings {
    connector: Connector,
    tokens: Tokens,
    trunks: Trunks,
    turn: Semaphore,
    failed: Mutex<Option<(Instant, Failure)>>,
}

/// Is what carries one connection.
pub(crate) enum Carrier {
    /// A stream of its own, to an end that knows no trunks. It has still to say whether its service is there.
    Stream(Box<RouterStream>),
    /// A channel on a trunk.
    Channel(Channel<Arc<Trunk>>),
}

impl Meetings {
    /// Has met nobody yet.
    pub(crate) fn new(connector: &Connector, tokens: &Tokens) -> Self {
        Self {
            connector: connector.clone(),
            tokens: tokens.clone(),
            trunks: Trunks::default(),
            turn: Semaphore::new(1),
            failed: Mutex::default(),
        }
    }

    /// Gives what closes the trunks that nobody needs any more, while it is polled.
    pub(crate) const fn trunks(&self) -> &Trunks {
        &self.trunks
    }

    /// Finds what carries a connection.
    pub(crate) async fn carrier(
        &self,
        kind: Kind,
        connection: &Connection,
    ) -> Result<Carrier, Failure> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let trunk = match self.pick() {
                Some(trunk) => trunk,
                None => match self.next(kind, began, connection).await? {
                    Next::Trunk(trunk) => trunk,
                    Next::Carrier(carrier) => return Ok(carrier),
                },
            };
            match self.trunks.open(trunk, kind).await {
                Ok(channel) => return Ok(Carrier::Channel(channel)),
                Err(error) if tries >= TRIES => return Err(error.into()),
                Err(_) => tries += 1,
            }
        }
    }

    fn pick(&self) -> Option<Arc<Trunk>> {
        // The router has the last word on that, so it is asked.
        if self.tokens.have_expired() {
            return None;
        }
        self.trunks.pick()
    }

    /// Meets the other end, or takes the trunk of somebody who has done so meanwhile.
    async fn next(
        &self,
        kind: Kind,
        began: Instant,
        connection: &Connection,
    ) -> Result<Next, Failure> {
        // Never closed.
        let _turn = self.turn.acquire().await.ok();
        if let Some(trunk) = self.pick() {
            return Ok(Next::Trunk(trunk));
        }
        if let Some(failure) = self.failure_since(began) {
            return Err(failure);
        }
        match self.meet(kind, connection).await {
            Ok(carrier) => Ok(Next::Carrier(carrier)),
            Err(failure) => {
                *lock(&self.failed) = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// Gives the failure of somebody who tried meanwhile: who has waited for it would not fare better, but wait as long again.
    /// That nobody came in time says nothing to who has come since.
    fn failure_since(&self, began: Instant) -> Option<Failure> {
        let failed = lock(&self.failed);
        let (when, failure) = failed.as_ref()?;
        let waited = when.checked_duration_since(began)?;
        let is_its_own = failure.exit != Exit::Alone || waited > PATIENCE;
        is_its_own.then(|| failure.clone())
    }

    /// Opens a stream whose other side is the other end of this forward.
    async fn meet(&self, kind: Kind, connection: &Connection) -> Result<Carrier, Failure> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let token = self.tokens.next();
            let begun = Begun::new(kind).await?;
            let mut stream = RouterStream::connect(&self.connector, token.as_str()).await?;
            let met = async {
                say(&mut stream, &Hello::Listen(Carries::Many)).await?;
                say(&mut stream, &Hello::Open(begun.early.clone())).await?;
                match hear(&mut stream, None).await? {
                    Hello::To(carries) => match hear(&mut stream, Some(MET)).await? {
                        Hello::Met => Ok(carries),
                        word => Err(Unexpected::Word(word)),
                    },
                    word => Err(Unexpected::Word(word)),
                }
            };
            let why = match met.await {
                Ok(Carries::One) => return Ok(Carrier::Stream(Box::new(stream))),
                Ok(Carries::Many) => {
                    return Ok(Carrier::Channel(self.trunks.add(begun, stream)));
                }
                Err(Unexpected::Ended(error)) if error.by() == EndedBy::Partner => BROKEN_OFF,
                Err(Unexpected::Ended(error)) => return Err(error.into()),
                Err(Unexpected::Stranger) => {
                    return Err(Failure::new(
                        Exit::Broken,
                        "the other side is no `forward`; start it with --to there",
                    ));
                }
                Err(Unexpected::Silence) => "the other end does not answer",
                Err(Unexpected::Word(Hello::Listen(_))) => {
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
}

/// Is what a meeting has led to.
enum Next {
    Trunk(Arc<Trunk>),
    Carrier(Carrier),
}
