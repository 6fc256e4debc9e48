//! A lab in this process, and peers that have its tokens.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use jumpstarter_router::{
    client::{Connector, Trust},
    inside::lab::{Lab, Options},
    protocol::{
        client::v1::client_service_client::ClientServiceClient,
        v1::controller_service_client::ControllerServiceClient,
    },
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tempfile::TempDir;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::{free_port, setting, within};

pub const PEOPLE: &str = r#"
[clients.me]
[clients.you]
[exporters.x]
labels = { board = "x", kind = "mock" }
[exporters.y]
labels = { board = "y", kind = "mock" }
"#;

pub fn options(folder: &Path) -> Options {
    Options {
        folder: folder.to_owned(),
        listen: (Ipv4Addr::LOCALHOST, free_port()).into(),
        endpoint: None,
        keep: true,
        router: None,
        routers: 1,
        nats_server: None,
        env: Vec::new(),
        overrides: vec![setting("listen.admin_address", "0")],
    }
}

pub struct Bench {
    dir: TempDir,
    lab: Lab,
    keep: bool,
}

impl Bench {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lab.toml"), PEOPLE).unwrap();
        let mut options = options(dir.path());
        change(&mut options);
        let keep = options.keep;
        let lab = Lab::start(options).await.unwrap();
        Self { dir, lab, keep }
    }

    pub async fn stop(self) {
        within("the stop", self.lab.stop()).await;
    }

    /// The same lab again, at another address.
    pub async fn restart(self) -> Self {
        let Self { dir, lab, keep } = self;
        within("the stop", lab.stop()).await;
        let mut options = options(dir.path());
        options.keep = keep;
        let lab = Lab::start(options).await.unwrap();
        Self { dir, lab, keep }
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub fn endpoint(&self) -> &str {
        &self.lab.endpoint
    }

    pub fn address(&self) -> SocketAddr {
        self.lab.server.address
    }

    /// Where administrators are served, if that was asked for.
    pub fn admin(&self) -> SocketAddr {
        self.lab.server.admin_address.unwrap()
    }

    /// host:port of each of its routers.
    pub fn routers(&self) -> Vec<String> {
        let routers = self.lab.routers();
        routers.map(|(endpoint, _)| endpoint.to_owned()).collect()
    }

    /// The value of a metric at each of its routers.
    pub fn metric(&self, name: &str) -> Vec<u64> {
        let name = format!("jumpstarter_router_{name} ");
        let routers = self.lab.routers().map(|(_, server)| {
            let page = server.router().metrics.encode();
            let value = page.lines().find_map(|line| line.strip_prefix(&*name));
            value.unwrap_or_else(|| panic!("{name}")).parse().unwrap()
        });
        routers.collect()
    }

    /// How many streams pass the router now.
    pub fn streams(&self) -> usize {
        self.lab.server.router().streams.count()
    }

    /// The token in somebody's configuration file.
    pub fn token(&self, kind: &str, name: &str) -> String {
        let path = self.dir.path().join(kind).join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("token: "));
        line.unwrap().trim_matches('"').to_owned()
    }

    /// A connection that trusts the lab's certificate and no other.
    pub async fn channel(&self) -> Channel {
        let pem = std::fs::read(self.dir.path().join("tls.crt")).unwrap();
        let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
        let trust = Trust::Certificates(vec![certificate]);
        let connector = Connector::new(self.endpoint(), trust).unwrap();
        connector.channel().await.unwrap()
    }

    pub async fn peer(&self, token: &str) -> Peer {
        Peer {
            channel: self.channel().await,
            token: Bearer(format!("Bearer {token}").parse().unwrap()),
        }
    }

    pub async fn client(&self, name: &str) -> Peer {
        self.peer(&self.token("clients", name)).await
    }

    pub async fn exporter(&self, name: &str) -> Peer {
        self.peer(&self.token("exporters", name)).await
    }
}

/// A connection with a token.
pub struct Peer {
    channel: Channel,
    token: Bearer,
}

impl Peer {
    pub fn clients(&self) -> ClientServiceClient<InterceptedService<Channel, Bearer>> {
        ClientServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    pub fn controller(&self) -> ControllerServiceClient<InterceptedService<Channel, Bearer>> {
        ControllerServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }
}

#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}
