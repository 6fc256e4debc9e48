//! Gets streams through a controller: a client dials the exporter of its lease, an exporter listens for such calls.

mod error;
mod reopened;

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tonic::{
    Request, Response, Status,
    metadata::{AsciiMetadataValue, MetadataMap},
    transport::Channel,
};

pub use self::{
    error::SessionError,
    reopened::{Leases, Listener},
};
use self::{
    error::{is_not_ready, may_pass},
    reopened::Reopened,
};
use super::{
    connect::{ConnectError, ConnectOptions, Connector},
    controller_config::ControllerConfig,
    router_stream::RouterStream,
    token::Token,
};
use crate::{
    common::backoff::Backoff,
    protocol::v1::{
        DialRequest, ExporterStatus, RegisterRequest, ReportStatusRequest, UnregisterRequest,
        controller_service_client::ControllerServiceClient,
    },
};

/// Says for how long an exporter that is not ready is dialled, and with what pauses.
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
    /// Does as stock clients of version 0.9.0.
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

/// Holds a token for one stream, and the router to use it at.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The router: host:port.
    pub endpoint: String,
    /// The token; the partner has the same.
    pub token: Token,
}

/// Speaks to the controller for a client or an exporter that it knows. Cheap to clone; clones share the connection, which is made
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
    /// Makes a session for the bearer of this configuration. Nothing is sent yet.
    pub fn new(config: &ControllerConfig) -> Result<Self, SessionError> {
        let options = ConnectOptions {
            server_name: config.server_name.clone(),
            proxies: config.proxies.clone(),
            post_quantum: config.post_quantum,
            ..ConnectOptions::default()
        };
        let connector = Connector::with_options(&config.endpoint, config.trust.clone(), options)?;
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

    /// Gives the controller's endpoint.
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
        RouterStream::connect(&router, &grant.token).await
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
        SessionError::of(self.endpoint(), call, status)
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
