//! Routers as processes, and peers whose other side may be at another one.

use jumpstarter_router::client::Connector;
use tokio::task::JoinHandle;
use tonic::{Status, transport::Channel};

use super::{
    Call, call, data,
    process::{Ended, Process, get},
    token, until, within,
};

/// A process that serves, and where it answers probes.
pub struct Router {
    pub process: Process,
    pub health: String,
}

impl Router {
    pub fn serving(mut process: Process) -> (Self, String) {
        let line = process.line("serving");
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        let (health, address) = (text("health"), text("address"));
        (Self { process, health }, address)
    }

    pub fn metric(&self, name: &str) -> i64 {
        let page = get(&self.health, "/metrics");
        let name = format!("jumpstarter_router_{name} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&*name));
        value
            .unwrap_or_else(|| panic!("{name} in {page}"))
            .parse()
            .unwrap()
    }

    pub async fn metric_is(&self, name: &str, value: i64) {
        until(name, || self.metric(name) == value).await;
    }

    /// Waits until the drain has begun.
    pub async fn drains(&self) {
        self.metric_is("draining", 1).await;
    }

    pub async fn ends(self) -> Ended {
        tokio::task::spawn_blocking(|| self.process.wait())
            .await
            .unwrap()
    }
}

/// A peer on a connection of its own, whose other side may not have come.
pub struct Half {
    pub channel: Channel,
    pub call: JoinHandle<Result<Call, Status>>,
}

impl Half {
    pub async fn open(connector: &Connector, subject: &str, early: &[&str]) -> Self {
        let channel = within("connect", connector.channel()).await.unwrap();
        Self::on(channel, subject, early)
    }

    pub fn on(channel: Channel, subject: &str, early: &[&str]) -> Self {
        Self::with_token(channel, &token(subject), early)
    }

    /// The two halves of a pair have the same token, not only the same subject.
    pub fn with_token(channel: Channel, token: &str, early: &[&str]) -> Self {
        let token = token.to_owned();
        let early = early.iter().map(|text| data(text.as_bytes().to_vec()));
        let early = early.collect();
        let call = tokio::spawn({
            let channel = channel.clone();
            async move { call(channel, &token, early).await }
        });
        Self { channel, call }
    }

    /// The call, once the other side has come. The connection stays with the caller.
    pub async fn met(self) -> (Call, Channel) {
        let call = within("the other side", self.call).await.unwrap();
        (call.unwrap(), self.channel)
    }
}

pub async fn says(from: &mut Call, to: &mut Call, text: &str) {
    from.send
        .send(data(text.as_bytes().to_vec()))
        .await
        .unwrap();
    hears(to, text).await;
}

pub async fn hears(call: &mut Call, text: &str) {
    let heard = within("a message", call.receive.message()).await.unwrap();
    assert_eq!(heard.unwrap().payload, text.as_bytes());
}
