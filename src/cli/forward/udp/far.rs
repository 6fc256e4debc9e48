//! Serves what one address at the other end sends: hands it to the service, and passes back what its host answers.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Mutex,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, split},
    net::{UdpSocket, lookup_host},
    sync::mpsc::{self, error::TrySendError},
    time::timeout,
};

use super::{Datagram, Flow, LONGEST, PORTS, QUEUE, report};
use crate::cli::forward::{channel::Channel, relay::Connection, trunk::lock};

/// How long it may take to find the service's address.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Is the service, as one address at the other end reaches it.
struct Service {
    address: SocketAddr,
    socket: UdpSocket,
    /// The other ports of the service's host that have answered. To others nothing is sent.
    ports: Mutex<VecDeque<u16>>,
}

/// Serves it until it has been silent for a while.
pub(crate) async fn serve(to: &str, connection: Connection, mut channel: Channel) {
    let service = match Service::open(to).await {
        Ok(service) => service,
        Err(error) => {
            let why = format!("cannot send to udp:{to}: {error}");
            connection.say(format_args!("closed: {why}"));
            let _ = channel.failed(&why).await;
            return;
        }
    };
    let flow = Flow::new();
    let (queue, queued) = mpsc::channel(QUEUE);
    let ended = match channel.ready().await {
        Ok(()) => {
            let (reader, writer) = split(channel);
            tokio::select! {
                sent = flow.send(queued, writer) => sent,
                received = service.hand_over(&flow, reader) => received,
                answered = service.answers(&flow, &queue) => answered,
                () = flow.idle() => Ok(()),
            }
        }
        Err(error) => Err(error),
    };
    report(&connection, &flow, ended);
}

impl Service {
    async fn open(to: &str) -> io::Result<Self> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "its name is not found within 10s");
        let found = timeout(LOOK_UP, lookup_host(to))
            .await
            .map_err(late)??
            .next();
        let address = found.ok_or(io::ErrorKind::NotFound)?;
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Ok(Self {
            socket: UdpSocket::bind((any, 0)).await?,
            address,
            ports: Mutex::default(),
        })
    }

    /// Sends the service what comes, and what is for another port of its host to that, if it has answered from there.
    async fn hand_over<R: AsyncRead + Unpin>(&self, flow: &Flow, mut reader: R) -> io::Result<()> {
        let mut buffer = vec![0; LONGEST];
        while let Some((port, length)) = flow.receive(&mut reader, &mut buffer).await? {
            let mut address = self.address;
            if port != 0 {
                if !lock(&self.ports).contains(&port) {
                    continue;
                }
                address.set_port(port);
            }
            // What cannot be sent is lost, as further on.
            let _ = self.socket.send_to(&buffer[..length], address).await;
        }
        Ok(())
    }

    /// Passes back what comes from the service's host.
    async fn answers(&self, flow: &Flow, queue: &mpsc::Sender<Datagram>) -> io::Result<()> {
        let mut buffer = vec![0; LONGEST];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).await?;
            if from.ip() != self.address.ip() {
                continue;
            }
            let port = if from.port() == self.address.port() {
                0
            } else {
                self.learn(from.port());
                from.port()
            };
            if let Err(TrySendError::Closed(_)) = flow.queue(queue, port, &buffer[..length]) {
                return Ok(());
            }
        }
    }

    fn learn(&self, port: u16) {
        let mut ports = lock(&self.ports);
        if !ports.contains(&port) {
            if ports.len() == PORTS {
                ports.pop_front();
            }
            ports.push_back(port);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::BufMut as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// The other end chooses the port, and not which of this machine's services it reaches.
    #[tokio::test]
    async fn nothing_is_sent_to_a_port_that_has_not_answered() {
        let bound = || async { UdpSocket::bind("127.0.0.1:0").await.unwrap() };
        let (service, answering, silent) = (bound().await, bound().await, bound().await);
        let opened = Service::open(&service.local_addr().unwrap().to_string()).await;
        let opened = opened.unwrap();
        let [answers, is_silent] = [&answering, &silent].map(|it| it.local_addr().unwrap().port());
        opened.learn(answers);
        let (mut there, here) = tokio::io::duplex(4096);
        for port in [is_silent, answers, 0] {
            let mut datagram = Vec::new();
            datagram.put_u16(port);
            datagram.put_u16(2);
            datagram.put_slice(b"hi");
            there.write_all(&datagram).await.unwrap();
        }
        drop(there);
        opened.hand_over(&Flow::new(), here).await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(service.recv(&mut buffer).await.unwrap(), 2);
        assert_eq!(answering.recv(&mut buffer).await.unwrap(), 2);
        assert!(silent.try_recv(&mut buffer).is_err());
    }
}
