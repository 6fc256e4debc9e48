//! Streams through a controller: a client dials the exporter of its lease, an exporter listens for such calls.

use std::{future::Future, pin::Pin, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::{AsciiMetadataValue, MetadataMap},
    transport::Channel,
};

use super::{
    connect::{ConnectError, Connector},
    controller_config::ControllerConfig,
    router_stream::RouterStream,
    token::Token,
};
use crate::{
    common::backoff::Backoff,
    grpc::status,
    protocol::v1::{
        DialRequest, ExporterStatus, ListenRequest, ListenResponse, RegisterRequest,
        ReportStatusRequest, StatusRequest, StatusResponse, UnregisterRequest,
        controller_service_client::ControllerServiceClient,
    },
};

/// How stock clients dial an exporter that is not ready: so long in all, with pauses from the first to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// No attempt begins later than this after the first.
    pub in_all: Duration,
    /// The pause after the first attempt; each is twice as long as the one before.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
}

impl Patience {
    /// As stock clients of version 0.9.0.
    pub const STOCK: Self = Self {
        in_all: Duration::from_secs(30),
        first_pause: Duration::from_millis(300),
        longest_pause: Duration::from_secs(2),
    };
}

/// How long the answer of a controller may take. It keeps a `Dial` for up to 30 s while the exporter gets ready.
const ANSWER: Duration = Duration::from_secs(60);

/// Between two attempts to open a stream of the controller, or to report something to it, as stock exporters.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// After so many attempts without a success the controller is given up, as by stock exporters: some ten minutes.
const ATTEMPTS: u32 = 20;

/// Why the controller did not do as asked.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The controller's endpoint or certificates are unusable.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Namespace, name or token do not fit a header.
    #[error("the {0} of the configuration holds characters that no header may have")]
    Credentials(&'static str),
    /// The controller, or what stands in its place, answered with an error.
    #[error(
        "the controller at {endpoint} refused {call}: {}{}",
        status::described(.status), advice(call, .status.code())
    )]
    Refused {
        /// Where it is.
        endpoint: String,
        /// What was asked.
        call: &'static str,
        /// Its answer.
        status: Status,
    },
    /// The controller cannot be reached, or does not answer.
    #[error("cannot reach the controller at {endpoint} for {call}: {why}")]
    Unreachable {
        /// Where it should be.
        endpoint: String,
        /// What was asked.
        call: &'static str,
        /// What went wrong.
        why: String,
        /// Trying again is of no use: its certificate is not trusted, say.
        is_lasting: bool,
    },
    /// The exporter was not ready in time.
    #[error(
        "the exporter was not ready within {}: {}",
        humantime::format_duration(*.waited), status::described(.status)
    )]
    NotReady {
        /// How long it was tried.
        waited: Duration,
        /// The last answer.
        status: Status,
    },
}

fn advice(call: &str, code: Code) -> &'static str {
    match (call, code) {
        (_, Code::Unauthenticated) => {
            "; the token may have expired: log in again, or get a new configuration file"
        }
        ("Dial", Code::FailedPrecondition | Code::NotFound) => {
            "; is the lease yours and still active? See `jmp get leases`"
        }
        (_, Code::PermissionDenied) => "; does the lease belong to this client or exporter?",
        (_, Code::Unimplemented) => "; is that a Jumpstarter controller?",
        _ => "",
    }
}

impl SessionError {
    /// Whether trying again with the same configuration is of no use.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Credentials(_) => true,
            Self::Connect(error) => error.is_lasting(),
            Self::Unreachable { is_lasting, .. } => *is_lasting,
            Self::NotReady { .. } => false,
        }
    }
}

/// A token for one stream, and the router to use it at.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The router: host:port.
    pub endpoint: String,
    /// The token; the partner has the same.
    pub token: Token,
}

/// Somebody the controller knows: a client or an exporter. Cheap to clone; clones share the connection, which is made
/// when it is needed and made again when it was lost.
#[derive(Clone, Debug)]
pub struct Session {
    controller: ControllerServiceClient<Channel>,
    connector: Connector,
    credentials: MetadataMap,
    /// How long [`dial`](Self::dial) tries.
    pub patience: Patience,
}

impl Session {
    /// For the bearer of this configuration. Nothing is sent yet.
    pub fn new(config: &ControllerConfig) -> Result<Self, SessionError> {
        let connector = Connector::new(&config.endpoint, config.trust.clone())?;
        let value = |what, text: &str| {
            AsciiMetadataValue::try_from(text).map_err(|_| SessionError::Credentials(what))
        };
        let mut credentials = MetadataMap::new();
        let mut bearer = value("token", &format!("Bearer {}", config.token.as_str()))?;
        bearer.set_sensitive(true);
        credentials.insert("authorization", bearer);
        credentials.insert("jumpstarter-kind", value("kind", config.role.name())?);
        credentials.insert(
            "jumpstarter-namespace",
            value("namespace", &config.namespace)?,
        );
        credentials.insert("jumpstarter-name", value("name", &config.name)?);
        Ok(Self {
            controller: ControllerServiceClient::new(connector.lazy_channel()?),
            connector,
            credentials,
            patience: Patience::STOCK,
        })
    }

    /// Where the controller is.
    pub fn endpoint(&self) -> &str {
        self.connector.endpoint()
    }

    /// Asks for a stream to the exporter of a lease.
    ///
    /// As stock clients do, it tries again while the controller answers UNAVAILABLE (the exporter does not listen, or the
    /// controller cannot be reached), or `FAILED_PRECONDITION` with "not ready", for as long as [`Patience`] says.
    pub async fn dial(&self, lease: &str) -> Result<Grant, SessionError> {
        let until = Instant::now() + self.patience.in_all;
        let mut backoff = Backoff::new(self.patience.first_pause, self.patience.longest_pause);
        loop {
            let request = DialRequest {
                lease_name: lease.to_owned(),
            };
            let mut controller = self.controller.clone();
            let dial = controller.dial(self.request(request));
            let error = match self.answer("Dial", dial).await {
                Ok(answer) => {
                    return Ok(Grant {
                        endpoint: answer.router_endpoint,
                        token: Token::new(answer.router_token),
                    });
                }
                Err(error) => error,
            };
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return Err(self.gave_up(error));
            };
            if left.is_zero() || !may_pass(&error) {
                return Err(error);
            }
            let pause = backoff.pause().min(left);
            tracing::debug!(%error, ?pause, "dialling again");
            sleep(pause).await;
        }
    }

    /// Dials, and connects to the router that the controller names.
    pub async fn connect(&self, lease: &str) -> Result<RouterStream, SessionError> {
        let grant = self.dial(lease).await?;
        Ok(self.open(&grant).await?)
    }

    /// Connects to the router of a grant. What is trusted is what the configuration says, as with stock peers.
    pub async fn open(&self, grant: &Grant) -> Result<RouterStream, ConnectError> {
        let router = self.connector.with_endpoint(&grant.endpoint)?;
        RouterStream::connect(&router, grant.token.as_str()).await
    }

    /// Waits for calls on a lease, as the exporter it is for.
    pub fn listen(&self, lease: &str) -> Listener {
        Listener {
            lease: lease.to_owned(),
            calls: Reopened::new(self.clone()),
        }
    }

    /// Whether this exporter is leased, now and whenever that changes.
    pub fn leases(&self) -> Leases {
        Leases {
            states: Reopened::new(self.clone()),
        }
    }

    /// Says that this exporter is there.
    pub async fn register(&self) -> Result<(), SessionError> {
        self.report(async |mut controller: ControllerServiceClient<Channel>| {
            let request = self.request(RegisterRequest::default());
            self.answer("Register", controller.register(request)).await
        })
        .await?;
        Ok(())
    }

    /// Says how this exporter is.
    pub async fn report_status(
        &self,
        status: ExporterStatus,
        message: &str,
    ) -> Result<(), SessionError> {
        self.report(async |mut controller: ControllerServiceClient<Channel>| {
            let request = self.request(ReportStatusRequest {
                status: status.into(),
                message: Some(message.to_owned()),
                ..Default::default()
            });
            self.answer("ReportStatus", controller.report_status(request))
                .await
        })
        .await?;
        Ok(())
    }

    /// Says that this exporter goes. It is tried once.
    pub async fn unregister(&self, reason: &str) -> Result<(), SessionError> {
        let request = self.request(UnregisterRequest {
            reason: reason.to_owned(),
        });
        let mut controller = self.controller.clone();
        self.answer("Unregister", controller.unregister(request))
            .await?;
        Ok(())
    }

    /// Tries a call of an exporter until it goes through, for as long as stock exporters do.
    async fn report<T>(
        &self,
        call: impl AsyncFn(ControllerServiceClient<Channel>) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            match call(self.controller.clone()).await {
                Err(error) if may_pass(&error) && backoff.attempts < ATTEMPTS => {
                    tracing::debug!(%error, "trying again");
                    sleep(backoff.jittered()).await;
                }
                result => return result,
            }
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.credentials.clone();
        request
    }

    async fn answer<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, SessionError> {
        match timeout(ANSWER, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.refused(call, status)),
            Err(_) => Err(SessionError::Unreachable {
                endpoint: self.endpoint().to_owned(),
                call,
                why: format!("no answer within {}", humantime::format_duration(ANSWER)),
                is_lasting: false,
            }),
        }
    }

    fn refused(&self, call: &'static str, status: Status) -> SessionError {
        let endpoint = self.endpoint().to_owned();
        // What tonic makes of a failure to connect has a cause, what a controller sends has none.
        if let Some(error) = ConnectError::among(std::error::Error::source(&status)) {
            return SessionError::Unreachable {
                endpoint,
                call,
                why: format!("{error}{}", error.advice()),
                is_lasting: error.is_lasting(),
            };
        }
        let mut cause = std::error::Error::source(&status);
        let mut why = None;
        while let Some(error) = cause {
            why = Some(error.to_string());
            cause = error.source();
        }
        match why {
            Some(why) => SessionError::Unreachable {
                endpoint,
                call,
                why,
                is_lasting: false,
            },
            None => SessionError::Refused {
                endpoint,
                call,
                status,
            },
        }
    }

    fn gave_up(&self, error: SessionError) -> SessionError {
        match error {
            SessionError::Refused { status, .. } if is_not_ready(&status) => {
                SessionError::NotReady {
                    waited: self.patience.in_all,
                    status,
                }
            }
            error => error,
        }
    }
}

/// Whether stock clients dial again after this answer.
fn is_not_ready(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::FailedPrecondition => status.message().contains("not ready"),
        _ => false,
    }
}

/// Whether it may go better later.
fn may_pass(error: &SessionError) -> bool {
    match error {
        SessionError::Refused { status, .. } => {
            is_not_ready(status) || status.code() == Code::DeadlineExceeded
        }
        SessionError::Unreachable { is_lasting, .. } => !is_lasting,
        _ => false,
    }
}

/// A stream of the controller that is opened again when it breaks.
struct Reopened<T> {
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
    fn new(session: Session) -> Self {
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

/// Whether this is how a stream ends when its connection or the controller does.
fn is_broken(error: &SessionError) -> bool {
    let SessionError::Refused { status, .. } = error else {
        return false;
    };
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
    )
}

/// Calls on a lease, from [`Session::listen`].
pub struct Listener {
    lease: String,
    calls: Reopened<ListenResponse>,
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
    states: Reopened<StatusResponse>,
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
