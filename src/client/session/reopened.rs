//! Streams of the controller that are opened again when they break.

use std::pin::Pin;

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::time::{Sleep, sleep};
use tonic::{Response, Status, Streaming};

use super::{
    super::token::Token,
    ATTEMPTS, FIRST_PAUSE, Grant, LONGEST_PAUSE, Session, SessionError,
    error::{is_broken, may_pass},
};
use crate::common::backoff::Backoff;
use crate::protocol::v1::{ListenRequest, ListenResponse, StatusRequest, StatusResponse};

/// A stream of the controller that is opened again when it breaks.
pub(super) struct Reopened<T> {
    session: Session,
    stage: Stage<T>,
    backoff: Backoff,
}

/// Kept between calls, so that a call that is dropped loses nothing.
enum Stage<T> {
    /// Not before the pause is over.
    Closed(Option<Pin<Box<Sleep>>>),
    /// A controller may answer with the first message only.
    Opening(BoxFuture<'static, Result<Response<Streaming<T>>, Status>>),
    Open(Box<Streaming<T>>),
}

impl<T> Reopened<T> {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            stage: Stage::Closed(None),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }

    /// The next message.
    async fn next(
        &mut self,
        call: &'static str,
        open: impl Fn(&Session) -> BoxFuture<'static, Result<Response<Streaming<T>>, Status>>,
    ) -> Result<T, SessionError> {
        loop {
            let error = match &mut self.stage {
                Stage::Closed(pause) => {
                    if let Some(pause) = pause {
                        pause.await;
                    }
                    self.stage = Stage::Opening(open(&self.session));
                    continue;
                }
                Stage::Opening(opening) => match opening.await {
                    Ok(response) => {
                        self.stage = Stage::Open(Box::new(response.into_inner()));
                        continue;
                    }
                    Err(status) => status,
                },
                Stage::Open(stream) => match stream.message().await {
                    Ok(Some(message)) => {
                        self.backoff.reset();
                        return Ok(message);
                    }
                    Ok(None) => Status::unavailable("the controller ended the stream"),
                    Err(status) => status,
                },
            };
            let error = self.session.refused(call, error);
            if self.backoff.attempts >= ATTEMPTS || !(is_broken(&error) || may_pass(&error)) {
                self.stage = Stage::Closed(None);
                return Err(error);
            }
            let pause = self.backoff.jittered();
            tracing::debug!(%error, ?pause, "opening again");
            self.stage = Stage::Closed(Some(Box::pin(sleep(pause))));
        }
    }
}

/// Calls on a lease, from [`Session::listen`].
pub struct Listener {
    pub(super) lease: String,
    pub(super) calls: Reopened<ListenResponse>,
}

impl Listener {
    /// The next call: [`Session::open`] joins its caller. If the controller cannot be reached, it is asked again with
    /// growing pauses. Cancellation safe: the next `accept` goes on where a dropped one stood.
    ///
    /// # Errors
    ///
    /// The controller refused, or could not be reached in some ten minutes.
    pub async fn accept(&mut self) -> Result<Grant, SessionError> {
        let lease = &self.lease;
        let open = |session: &Session| {
            let request = session.request(ListenRequest {
                lease_name: lease.clone(),
            });
            let mut controller = session.controller.clone();
            async move { controller.listen(request).await }.boxed()
        };
        let call = self.calls.next("Listen", open).await?;
        Ok(Grant {
            endpoint: call.router_endpoint,
            token: Token::new(call.router_token),
        })
    }
}

/// Whether an exporter is leased, from [`Session::leases`].
pub struct Leases {
    pub(super) states: Reopened<StatusResponse>,
}

impl Leases {
    /// The lease that this exporter is in from now on, or `None` if it is in none. Cancellation safe, and with the same
    /// errors as [`Listener::accept`].
    pub async fn next(&mut self) -> Result<Option<String>, SessionError> {
        let open = |session: &Session| {
            let request = session.request(StatusRequest {});
            let mut controller = session.controller.clone();
            async move { controller.status(request).await }.boxed()
        };
        let state = self.states.next("Status", open).await?;
        Ok(state
            .lease_name
            .filter(|name| state.leased && !name.is_empty()))
    }
}
