//! Several routers behind one address, as processes.

use std::{io::BufRead as _, process::Command};

use super::{
    Certificate, data,
    half::{Half, Router, says},
    process::{Process, usual},
    within,
};
use jumpstarter_router::client::Connector;

/// Routers that share a certificate and a bus.
pub struct Cluster {
    certificate: Certificate,
    url: String,
}

/// One of them, and how its peers connect.
pub struct Member {
    pub router: Router,
    pub connector: Connector,
    /// What tells it from others, once it is on the bus.
    pub id: String,
    /// Where others call it, once it is on the bus.
    pub address: String,
}

impl Cluster {
    pub fn new(url: String) -> Self {
        let certificate = Certificate::new();
        Self { certificate, url }
    }

    /// A router that does not wait for the bus.
    pub fn start(&self, settings: &[(&str, &str)]) -> Member {
        self.start_with(settings, |_| {})
    }

    /// The same, with more on its command line.
    pub fn start_with(&self, settings: &[(&str, &str)], more: impl FnOnce(&mut Command)) -> Member {
        let (chain, key) = (self.certificate.certificate(), self.certificate.key());
        let first = [
            ("tls.certificate", chain.to_str().unwrap()),
            ("tls.key", key.to_str().unwrap()),
            ("listen.health_address", "127.0.0.1:0"),
            ("cluster.servers", &*self.url),
            ("cluster.address", "127.0.0.1:0"),
        ];
        let all = [&first[..], settings].concat();
        let mut command = usual(&all);
        more(&mut command);
        let (router, address) = Router::serving(Process::start(command));
        let connector = Connector::new(&address, self.certificate.trust()).unwrap();
        Member {
            router,
            connector,
            id: String::new(),
            address: String::new(),
        }
    }

    /// A router that is on the bus.
    pub async fn member(&self, settings: &[(&str, &str)]) -> Member {
        let mut member = self.start(settings);
        member.joins().await;
        member
    }

    /// So many that are on the bus, by their ids. Of two, the lower one calls.
    pub async fn members<const N: usize>(&self) -> [Member; N] {
        self.members_with([&[]; N]).await
    }

    /// The same, each with its settings, which says nothing of their order.
    pub async fn members_with<const N: usize>(
        &self,
        settings: [&[(&str, &str)]; N],
    ) -> [Member; N] {
        let mut members = settings.map(|settings| self.start(settings));
        for member in &mut members {
            member.joins().await;
        }
        members.sort_by(|one, other| one.id.cmp(&other.id));
        members
    }
}

impl Member {
    /// Waits until it is on the bus.
    pub async fn joins(&mut self) {
        let process = &mut self.router.process;
        let line =
            tokio::task::block_in_place(|| process.line("the routers' message bus is connected"));
        self.id = line["router"].as_str().unwrap().to_owned();
        self.address = line["address"].as_str().unwrap().to_owned();
        self.router.metric_is("cluster_bus_connected", 1).await;
    }

    pub async fn half(&self, subject: &str) -> Half {
        Half::open(&self.connector, subject, &[]).await
    }

    /// A half that is seen to wait; no other may be coming or going.
    pub async fn waits(&self, subject: &str) -> Half {
        let before = self.router.metric("streams_waiting");
        let half = self.half(subject).await;
        self.router.metric_is("streams_waiting", before + 1).await;
        half
    }

    pub fn signal(&self, name: &str) {
        self.router.process.signal(name);
    }

    /// Nothing of any stream is left. A connection may be, on which it is called again.
    pub async fn is_at_rest(&self) {
        for gauge in [
            "streams_waiting",
            "streams_paired",
            "cluster_pairs_called",
            "cluster_pairs_taken",
            "held_bytes",
            "connections_with_streams",
            "windows_granted_bytes",
        ] {
            self.router.metric_is(gauge, 0).await;
        }
        assert_eq!(self.router.metric("panics_total"), 0);
    }

    /// How many calls to other routers came to this.
    pub fn calls(&self, result: &str) -> i64 {
        let name = format!("cluster_calls_total{{result=\"{result}\"}}");
        self.router.metric(&name)
    }

    pub async fn calls_are(&self, result: &str, count: i64) {
        super::until(result, || self.calls(result) == count).await;
    }

    pub fn announcements(&self, result: &str) -> i64 {
        let name = format!("cluster_announcements_total{{result=\"{result}\"}}");
        self.router.metric(&name)
    }

    /// Whether bytes from another router lie there unread, as while it is stopped.
    pub fn is_called_and_does_not_read(&self) -> bool {
        let port = self.address.rsplit(':').next().unwrap();
        let port: u16 = port.parse().unwrap();
        let own = format!(":{port:04X}");
        let table = std::fs::read("/proc/net/tcp").unwrap();
        table.lines().map_while(Result::ok).any(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let unread = fields[4].rsplit(':').next().unwrap();
            fields[1].ends_with(&own) && fields[3] == "01" && unread != "00000000"
        })
    }
}

/// Two halves meet and carry messages both ways; then both half-close, and all is well.
pub async fn meets(one: Half, other: Half) {
    let ((mut one, _channel), (mut other, _other)) = tokio::join!(one.met(), other.met());
    says(&mut one, &mut other, "there").await;
    says(&mut other, &mut one, "and back").await;
    drop(one.send);
    other.send.send(data(&b"last"[..])).await.unwrap();
    let last = within("the last", one.receive.message()).await.unwrap();
    assert_eq!(last.unwrap().payload, &b"last"[..]);
    drop(other.send);
    for receive in [&mut one.receive, &mut other.receive] {
        let end = within("the end", receive.message()).await.unwrap();
        assert_eq!(end, None, "OK, and no GOAWAY frame");
    }
}
