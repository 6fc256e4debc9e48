//! Runs the end that takes datagrams in from clients.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, split},
    net::UdpSocket,
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
    time::sleep,
};

use super::{Datagram, Flow, LONGEST, PORTS, QUEUE, report};
use crate::{
    cli::{
        exit::{Exit, Failure},
        forward::{
            meetings::{Carrier, Meetings},
            relay::{Connection, Relay},
            trunk::Kind,
        },
        join::credentials::Tokens,
    },
    client::Connector,
};

/// The pause after a failure to receive.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is said that there is no room for another client.
const SAID: Duration = Duration::from_secs(10);

/// Opens the socket, or says why not.
pub(crate) async fn bind(address: &str) -> Result<UdpSocket, Failure> {
    UdpSocket::bind(address).await.map_err(|error| {
        Failure::new(
            Exit::Broken,
            format_args!("cannot listen on udp:{address}: {error}"),
        )
    })
}

/// Is what is known of a client: where what it sends goes, and the count of it.
struct Client {
    queue: mpsc::Sender<Datagram>,
    flow: Arc<Flow>,
}

/// Takes datagrams in, and carries what each address sends.
pub(crate) async fn run(
    socket: UdpSocket,
    connector: &Connector,
    tokens: &Tokens,
    relay: &Relay,
) -> Result<(), Failure> {
    let meetings = Arc::new(Meetings::new(connector, tokens));
    let mut serving = JoinSet::new();
    let failure = tokio::select! {
        failure = take_in(Arc::new(socket), &meetings, relay, &mut serving) => failure,
        never = meetings.trunks().tend() => match never {},
    };
    Err(relay.wind_up(serving, failure).await)
}

/// Takes datagrams in until a client cannot be served, and the next one could not, either.
async fn take_in(
    socket: Arc<UdpSocket>,
    meetings: &Arc<Meetings>,
    relay: &Relay,
    serving: &mut JoinSet<(SocketAddr, Result<(), Failure>)>,
) -> Failure {
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let mut buffer = vec![0; LONGEST];
    let mut said: Option<Instant> = None;
    loop {
        let (length, from) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                Err(error) => {
                    relay.note(format_args!("cannot receive: {error}"));
                    sleep(PAUSE).await;
                    continue;
                }
            },
            Some(ended) = serving.join_next() => {
                match ended {
                    Ok((_, Err(failure))) => return failure,
                    // It may be served anew by now.
                    Ok((client, Ok(()))) => clients.retain(|at, it| *at != client || !it.queue.is_closed()),
                    Err(_) => {}
                }
                continue;
            }
        };
        let payload = &buffer[..length];
        if let Some(client) = clients.get(&from)
            && !matches!(
                client.flow.queue(&client.queue, 0, payload),
                Err(TrySendError::Closed(_))
            )
        {
            continue;
        }
        let Some(connection) = relay.try_seat() else {
            if said.is_none_or(|said| said.elapsed() > SAID) {
                said = Some(Instant::now());
                relay.note(format_args!(
                    "no room for {from}: see --max-connections; its datagrams are lost"
                ));
            }
            continue;
        };
        connection.say(format_args!("from {from}"));
        let (queue, queued) = mpsc::channel(QUEUE);
        let flow = Arc::new(Flow::new());
        // There is room.
        let _ = flow.queue(&queue, 0, payload);
        let served = Served {
            client: from,
            socket: socket.clone(),
            flow: flow.clone(),
            queue: queue.clone(),
        };
        clients.insert(from, Client { queue, flow });
        let meetings = meetings.clone();
        serving.spawn(async move {
            let result = served.run(connection, queued, &meetings).await;
            (from, result)
        });
    }
}

/// Is a client that is being served.
struct Served {
    client: SocketAddr,
    socket: Arc<UdpSocket>,
    flow: Arc<Flow>,
    queue: mpsc::Sender<Datagram>,
}

impl Served {
    /// Serves it until it has been silent for a while. Fails if the next one could not be served, either.
    async fn run(
        self,
        connection: Connection,
        queued: mpsc::Receiver<Datagram>,
        meetings: &Meetings,
    ) -> Result<(), Failure> {
        let channel = match meetings.carrier(Kind::Datagrams, &connection).await {
            Ok(Carrier::Channel(channel)) => channel,
            Ok(Carrier::Stream(stream)) => {
                stream.cancel().await;
                let text = "the other end is of a version that does not carry datagrams";
                let failure = Failure::new(Exit::Broken, text);
                connection.say(format_args!("closed: {failure}"));
                return Ok(());
            }
            Err(failure) if failure.is_lasting => return Err(failure),
            Err(failure) => {
                connection.say(format_args!("closed: {failure}"));
                return Ok(());
            }
        };
        let (reader, writer) = split(channel);
        let ended = tokio::select! {
            sent = self.flow.send(queued, writer) => sent,
            received = self.deliver(reader) => received,
            () = self.flow.idle() => Ok(()),
        };
        report(&connection, &self.flow, ended);
        Ok(())
    }

    /// Sends the client what comes, from a port of its own for each port of the service's host.
    async fn deliver<R: AsyncRead + Unpin>(&self, mut reader: R) -> io::Result<()> {
        let mut buffer = vec![0; LONGEST];
        let mut ports: VecDeque<(u16, Arc<UdpSocket>)> = VecDeque::new();
        let mut listening = JoinSet::new();
        while let Some((port, length)) = self.flow.receive(&mut reader, &mut buffer).await? {
            let payload = &buffer[..length];
            if port == 0 {
                // What cannot be sent is lost, as further on.
                let _ = self.socket.send_to(payload, self.client).await;
                continue;
            }
            if !ports.iter().any(|(known, _)| *known == port) {
                let socket = Arc::new(self.socket_for_port().await?);
                listening.spawn(listen(
                    port,
                    socket.clone(),
                    self.flow.clone(),
                    self.queue.clone(),
                ));
                if ports.len() == PORTS {
                    ports.pop_front();
                }
                ports.push_back((port, socket));
            }
            if let Some((_, socket)) = ports.iter().find(|(known, _)| *known == port) {
                let _ = socket.send(payload).await;
            }
        }
        Ok(())
    }

    async fn socket_for_port(&self) -> io::Result<UdpSocket> {
        let mut address = self.socket.local_addr()?;
        address.set_port(0);
        let socket = UdpSocket::bind(address).await?;
        // From nobody else.
        socket.connect(self.client).await?;
        Ok(socket)
    }
}

/// Passes on what the client sends to this port, until nobody serves it any more.
async fn listen(port: u16, socket: Arc<UdpSocket>, flow: Arc<Flow>, queue: mpsc::Sender<Datagram>) {
    let mut buffer = vec![0; LONGEST];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => {
                if let Err(TrySendError::Closed(_)) = flow.queue(&queue, port, &buffer[..length]) {
                    return;
                }
            }
            // The client has closed its port, and may open it again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}
