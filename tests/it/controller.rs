//! Sessions, `dial` and `listen` against a controller of this test's own: what is retried, and what is said.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::helpers::{
    self, Certificate, Running,
    program::{Program, program, run},
    token, within,
};
use base64::Engine as _;
use futures_util::Stream;
use hyper_util::rt::TokioIo;
use jumpstarter_router::{
    client::{ControllerConfig, Proxies, Role, Session, SessionError, Token, Trust},
    protocol::v1::{
        AuditStreamRequest, DialRequest, DialResponse, ExporterStatus, GetLeaseRequest,
        GetLeaseResponse, GetServiceEndpointsRequest, GetServiceEndpointsResponse,
        ListLeasesRequest, ListLeasesResponse, ListenRequest, ListenResponse, RegisterRequest,
        RegisterResponse, ReleaseLeaseRequest, ReleaseLeaseResponse, ReportStatusRequest,
        ReportStatusResponse, RequestLeaseRequest, RequestLeaseResponse, StatusRequest,
        StatusResponse, UnregisterRequest, UnregisterResponse,
        controller_service_server::{ControllerService, ControllerServiceServer},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

type Calls = mpsc::UnboundedSender<Result<ListenResponse, Status>>;

/// What the controller knows and has seen.
#[derive(Default)]
struct State {
    router: String,
    /// Answers to the next dials, before the usual one.
    answers: VecDeque<Status>,
    listeners: HashMap<String, Calls>,
    statuses: Vec<i32>,
    lease: Option<String>,
    watchers: Vec<mpsc::UnboundedSender<Result<StatusResponse, Status>>>,
    dials: u32,
    headers: Vec<[String; 4]>,
    unregistered: bool,
}

#[derive(Clone, Default)]
struct Controller(Arc<Mutex<State>>);

impl Controller {
    fn note<T>(&self, request: &Request<T>) {
        let names = [
            "authorization",
            "jumpstarter-kind",
            "jumpstarter-namespace",
            "jumpstarter-name",
        ];
        let value = |name| {
            request
                .metadata()
                .get(name)
                .map_or("", |value| value.to_str().unwrap())
        };
        let headers = names.map(|name| value(name).to_owned());
        self.0.lock().unwrap().headers.push(headers);
    }

    /// Leases the exporter, or ends the lease.
    fn lease(&self, name: Option<&str>) {
        let mut state = self.0.lock().unwrap();
        state.lease = name.map(ToOwned::to_owned);
        if name.is_none() {
            state.listeners.clear();
        }
        let now = StatusResponse {
            leased: name.is_some(),
            lease_name: state.lease.clone(),
            ..Default::default()
        };
        state
            .watchers
            .retain(|watcher| watcher.send(Ok(now.clone())).is_ok());
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }
}

#[tonic::async_trait]
impl ControllerService for Controller {
    type StatusStream = Pin<Box<dyn Stream<Item = Result<StatusResponse, Status>> + Send>>;
    type ListenStream = Pin<Box<dyn Stream<Item = Result<ListenResponse, Status>> + Send>>;

    async fn dial(&self, request: Request<DialRequest>) -> Result<Response<DialResponse>, Status> {
        self.note(&request);
        let lease = request.into_inner().lease_name;
        self.with(|state| {
            state.dials += 1;
            if let Some(answer) = state.answers.pop_front() {
                return Err(answer);
            }
            if lease == "nobodys" {
                return Err(Status::failed_precondition("the lease has ended"));
            }
            let Some(listener) = state.listeners.get(&lease) else {
                return Err(Status::unavailable("exporter is not listening"));
            };
            let token = token(&format!("dial {}", state.dials));
            let call = ListenResponse {
                router_endpoint: state.router.clone(),
                router_token: token.clone(),
            };
            listener
                .send(Ok(call))
                .map_err(|_| Status::unavailable("exporter is gone"))?;
            Ok(Response::new(DialResponse {
                router_endpoint: state.router.clone(),
                router_token: token,
            }))
        })
    }

    async fn listen(
        &self,
        request: Request<ListenRequest>,
    ) -> Result<Response<Self::ListenStream>, Status> {
        self.note(&request);
        let (send, receive) = mpsc::unbounded_channel();
        let lease = request.into_inner().lease_name;
        self.with(|state| state.listeners.insert(lease, send));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            receive,
        ))))
    }

    async fn status(
        &self,
        _: Request<StatusRequest>,
    ) -> Result<Response<Self::StatusStream>, Status> {
        let (send, receive) = mpsc::unbounded_channel();
        self.with(|state| state.watchers.push(send));
        let lease = self.with(|state| state.lease.clone());
        self.lease(lease.as_deref());
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            receive,
        ))))
    }

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        self.note(&request);
        Ok(Response::new(RegisterResponse::default()))
    }

    async fn unregister(
        &self,
        _: Request<UnregisterRequest>,
    ) -> Result<Response<UnregisterResponse>, Status> {
        self.with(|state| state.unregistered = true);
        Ok(Response::new(UnregisterResponse::default()))
    }

    async fn report_status(
        &self,
        request: Request<ReportStatusRequest>,
    ) -> Result<Response<ReportStatusResponse>, Status> {
        self.with(|state| state.statuses.push(request.into_inner().status));
        Ok(Response::new(ReportStatusResponse::default()))
    }

    async fn audit_stream(
        &self,
        _: Request<Streaming<AuditStreamRequest>>,
    ) -> Result<Response<()>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_lease(
        &self,
        _: Request<GetLeaseRequest>,
    ) -> Result<Response<GetLeaseResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn request_lease(
        &self,
        _: Request<RequestLeaseRequest>,
    ) -> Result<Response<RequestLeaseResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn release_lease(
        &self,
        _: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_leases(
        &self,
        _: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_service_endpoints(
        &self,
        _: Request<GetServiceEndpointsRequest>,
    ) -> Result<Response<GetServiceEndpointsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Router and controller with one certificate, as a lab has them.
struct Lab {
    router: Running,
    controller: Controller,
    endpoint: String,
    directory: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

async fn serve(
    controller: Controller,
    certificate: &Certificate,
    at: &str,
) -> (String, tokio::task::JoinHandle<()>) {
    let [chain, key] = certificate.texts();
    let chain = rustls_pki_types::pem::PemObject::pem_slice_iter(&chain)
        .collect::<Result<Vec<rustls_pki_types::CertificateDer<'static>>, _>>()
        .unwrap();
    let key: rustls_pki_types::PrivateKeyDer<'static> =
        rustls_pki_types::pem::PemObject::from_pem_slice(&key).unwrap();
    let provider = jumpstarter_router::inside::tls::provider::Provider::Auto.crypto();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(at).await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, controller) = (acceptor.clone(), controller.clone());
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else {
                    return;
                };
                let service = hyper_util::service::TowerToHyperService::new(
                    ControllerServiceServer::new(controller),
                );
                let builder = hyper_util::server::conn::auto::Builder::new(
                    hyper_util::rt::TokioExecutor::new(),
                );
                let _ = builder
                    .http2_only()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (endpoint, task)
}

impl Lab {
    async fn start() -> Self {
        let router = Running::start(&[]).await;
        let controller = Controller::default();
        controller.with(|state| state.router = router.endpoint());
        let (endpoint, server) =
            serve(controller.clone(), &router.certificate, "127.0.0.1:0").await;
        Self {
            router,
            controller,
            endpoint,
            directory: tempfile::tempdir().unwrap(),
            server,
        }
    }

    fn config(&self, role: Role) -> ControllerConfig {
        ControllerConfig {
            role,
            namespace: "default".to_owned(),
            name: "somebody".to_owned(),
            endpoint: self.endpoint.clone(),
            trust: self.router.certificate.trust(),
            token: Token::new("sesame"),
            server_name: None,
            proxies: Proxies::default(),
            post_quantum: true,
        }
    }

    fn session(&self, role: Role) -> Session {
        Session::new(&self.config(role)).unwrap()
    }

    /// A configuration file as `jmp` writes it.
    fn file(&self, kind: &str) -> String {
        let ca =
            base64::engine::general_purpose::STANDARD.encode(&self.router.certificate.texts()[0]);
        let text = format!(
            "apiVersion: jumpstarter.dev/v1alpha1\nkind: {kind}\nmetadata: {{namespace: default, name: somebody}}\n\
             endpoint: {}\ntls: {{ca: {ca}, insecure: false}}\ntoken: sesame\n",
            self.endpoint
        );
        let path = self.directory.path().join(format!("{kind}.yaml"));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_and_an_exporter_meet() {
    let lab = Lab::start().await;
    let exporter = lab.session(Role::Exporter);
    let mut listener = exporter.listen("lease");
    // The exporter listens a moment later: the dial is tried again.
    let calls = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let call = listener.accept().await.unwrap();
        exporter.open(&call).await.unwrap()
    });
    let client = lab.session(Role::Client);
    let mut near = within("dial", client.connect("lease")).await.unwrap();
    let mut far = within("listen", calls).await.unwrap();
    near.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    assert!(lab.controller.with(|state| state.dials) > 1);
    let said = |kind: &str| ["Bearer sesame", kind, "default", "somebody"].map(ToOwned::to_owned);
    let headers = lab.controller.with(|state| state.headers.clone());
    assert!(
        headers.contains(&said("Client")) && headers.contains(&said("Exporter")),
        "{headers:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dials_are_retried_as_stock_clients_do() {
    let lab = Lab::start().await;
    let mut client = lab.session(Role::Client);
    client.patience.in_all = Duration::from_millis(700);
    let dial = |answer: Status| {
        let (client, controller) = (client.clone(), lab.controller.clone());
        async move {
            controller.with(|state| {
                state.answers = std::iter::repeat_n(answer, 50).collect();
                state.dials = 0;
            });
            let error = within("dial", client.dial("lease")).await.unwrap_err();
            (error, controller.with(|state| state.dials))
        }
    };
    // At 0, 300 and 700 ms: twice the pause, but no attempt after the end but the last.
    let (error, dials) = dial(Status::unavailable("exporter is not listening")).await;
    assert!(matches!(&error, SessionError::NotReady { .. }), "{error}");
    assert_eq!(dials, 3, "{error}");
    let (error, dials) = dial(Status::failed_precondition(
        "exporter is not ready: offline",
    ))
    .await;
    assert!(matches!(&error, SessionError::NotReady { .. }), "{error}");
    assert_eq!(dials, 3);
    for code in [
        Code::FailedPrecondition,
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::NotFound,
    ] {
        let (error, dials) = dial(Status::new(code, "no")).await;
        assert_eq!(dials, 1, "{error}");
        assert!(error.is_refusal(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_goes_on_when_the_controller_comes_back() {
    let mut lab = Lab::start().await;
    let exporter = lab.session(Role::Exporter);
    let mut listener = exporter.listen("lease");
    let accepting = tokio::spawn(async move { listener.accept().await });
    helpers::until("the first stream", || {
        lab.controller.with(|state| !state.listeners.is_empty())
    })
    .await;
    lab.server.abort();
    let _ = (&mut lab.server).await;
    lab.controller.with(|state| state.listeners.clear());
    let at = lab.endpoint.clone();
    let (_, _server) = serve(lab.controller.clone(), &lab.router.certificate, &at).await;
    let client = lab.session(Role::Client);
    let grant = within("dial", client.dial("lease")).await.unwrap();
    let call = within("the call", accepting).await.unwrap().unwrap();
    assert_eq!(call.token, grant.token);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_controller_is_named() {
    let lab = Lab::start().await;
    let mut config = lab.config(Role::Client);
    config.endpoint = "127.0.0.1:1".to_owned();
    let mut client = Session::new(&config).unwrap();
    client.patience.in_all = Duration::from_millis(200);
    let error = within("dial", client.dial("lease")).await.unwrap_err();
    assert!(
        matches!(&error, SessionError::Unreachable { .. }),
        "{error:?}"
    );
    config.endpoint = lab.endpoint.clone();
    config.trust = Trust::System;
    config.token = Token::new("a\u{7}b");
    assert!(Session::new(&config).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_through_a_controller() {
    let lab = Lab::start().await;
    let (client, exporter) = (lab.file("ClientConfig"), lab.file("ExporterConfig"));
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = service.local_addr().unwrap().to_string();
    let echo = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut socket, _)) = service.accept().await {
            connections.spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let args = ["listen", "--exporter-config", &exporter, "--to", &to];
    let mut listen = Program::start(program(&args, false));
    listen.says("waiting for a lease");
    lab.controller.lease(Some("lease"));
    listen.says("leased: lease");

    // One stream for standard input and output.
    let piped = ["dial", "--client-config", &client, "--lease", "lease"];
    let piped = program(&piped, false);
    let done = tokio::task::spawn_blocking(move || run(piped, b"through a controller"))
        .await
        .unwrap();
    done.ended(0, &[]);
    assert_eq!(done.text(), "through a controller");

    // And one for each local connection.
    let args = [
        "dial",
        "--client-config",
        &client,
        "--lease",
        "lease",
        "--listen",
        "127.0.0.1:0",
    ];
    let mut dial = Program::start(program(&args, false));
    let line = dial.says("listening on ");
    let address = line["listening on ".len()..]
        .split(',')
        .next()
        .unwrap()
        .to_owned();
    let mut sessions = tokio::task::JoinSet::new();
    for number in 0..8_u8 {
        let address = address.clone();
        sessions.spawn(async move {
            let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
            for _ in 0..20 {
                socket.write_all(&[number; 64]).await.unwrap();
                let mut echoed = [0; 64];
                socket.read_exact(&mut echoed).await.unwrap();
                assert_eq!(echoed, [number; 64]);
            }
        });
    }
    while let Some(ended) = within("sessions", sessions.join_next()).await {
        ended.unwrap();
    }

    // The lease ends, and another begins.
    lab.controller.lease(None);
    listen.says("the lease has ended");
    helpers::until("available again", || {
        let last = lab.controller.with(|state| state.statuses.last().copied());
        last == Some(ExporterStatus::Available.into())
    })
    .await;
    listen.signal("TERM");
    tokio::task::spawn_blocking(|| listen.wait())
        .await
        .unwrap()
        .ended(0, &[]);
    assert!(lab.controller.with(|state| state.unregistered));
    assert_eq!(
        lab.controller.with(|state| state.statuses.clone()),
        [2, 4, 2],
        "available, ready, available"
    );
    echo.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_say_what_is_wrong() {
    let lab = Lab::start().await;
    let client = lab.file("ClientConfig");
    let dial = async |args: &[&str]| {
        let command = program(&[&["dial"], args].concat(), false);
        tokio::task::spawn_blocking(move || run(command, b""))
            .await
            .unwrap()
    };
    let good = ["--client-config", &client, "--lease"];
    dial(&[&good[..], &["nobodys"]].concat())
        .await
        .ended(4, &["the lease has ended", "jmp get leases"]);
    dial(&["--client-config", &client])
        .await
        .ended(78, &["--lease", "JMP_LEASE"]);
    dial(&["--lease", "x"])
        .await
        .ended(78, &["config.yaml", "--client-config"]);
    dial(&["--lease", "x", "--client", "lab"])
        .await
        .ended(78, &["clients/lab.yaml"]);
    dial(&["--lease", "x", "--client-config", "/nowhere"])
        .await
        .ended(78, &["/nowhere"]);
    let exporter = lab.file("ExporterConfig");
    dial(&["--lease", "x", "--client-config", &exporter])
        .await
        .ended(78, &["ExporterConfig", "ClientConfig"]);
    let text = std::fs::read_to_string(&client).unwrap();
    for (from, to, parts) in [
        ("token: sesame", "", &["token"][..]),
        ("metadata: {", "metadata: [", &["ClientConfig.yaml"]),
        ("ca: ", "ca: '?", &["ClientConfig.yaml"]),
    ] {
        std::fs::write(&client, text.replace(from, to)).unwrap();
        let done = dial(&[&good[..], &["lease"]].concat()).await;
        done.ended(78, parts);
        assert!(!done.stderr.contains("sesame"), "{done:?}");
    }
    // A controller with another certificate.
    let other = base64::engine::general_purpose::STANDARD.encode(&Certificate::new().texts()[0]);
    let start = text.find("ca: ").unwrap() + 4;
    let end = text[start..].find(',').unwrap() + start;
    std::fs::write(&client, [&text[..start], &other, &text[end..]].concat()).unwrap();
    let mut command = program(&[&["dial"], &good[..], &["lease"]].concat(), false);
    command.env("RUST_BACKTRACE", "0");
    let mut dialing = Program::start(command);
    dialing.close();
    tokio::task::spawn_blocking(move || dialing.wait())
        .await
        .unwrap()
        .ended(3, &["certificate"]);
}
