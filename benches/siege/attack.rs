//! The sieges by name: how many connections and calls, and how they behave.

use std::sync::Arc;

use clap::ValueEnum;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    client::{Call, Client, Manner, Supply, Target, Token},
    frames::FIRST_WINDOW,
    sockets::{self, Words},
};

const STREAM: &str = "/jumpstarter.v1.RouterService/Stream";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

const MIB: u32 = 1 << 20;

/// A way to besiege the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Health checks whose message lacks its last byte
    HealthUnfinished,
    /// The same with reflection
    ReflectionUnfinished,
    /// Health watches
    Watch,
    /// Pairs of one token that do nothing
    IdlePairs,
    /// Pairs whose sender stops inside a message
    HalfMessage,
    /// Pairs whose receiver takes 1 MiB and then stops
    StopReading,
    /// Pairs whose sender floods and whose receiver never reads
    FloodStalled,
    /// The same, on few connections
    ManyOnFew,
    /// The same, small messages on many connections
    FewOnMany,
    /// The same, with receivers that take a byte a second
    SlowReaders,
    /// The same, with receivers that do not even read their sockets
    SendBuffers,
    /// Streams without a partner that send what their window takes
    Waiting,
    /// Calls with large headers, with good tokens and bad ones
    Metadata,
    /// Large headers that never end
    HeadersUnfinished,
    /// TLS handshakes that stop
    Handshakes,
    /// Connections that send one byte and close
    OneByte,
    /// Connections that say nothing
    Silent,
}

/// How large a siege is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub connections: u32,
    /// Calls on each connection.
    pub streams: u32,
    /// Bytes of a message.
    pub message: u32,
}

impl Attack {
    /// The numbers unless others are given. Those that wait alone are fewer than `pairing.max_waiting` lets wait.
    pub fn size(self) -> Size {
        let (connections, streams, message) = match self {
            Self::HealthUnfinished | Self::ReflectionUnfinished => (1, 150, 4 * MIB),
            Self::Watch => (60, 1000, 0),
            Self::IdlePairs => (115, 1000, 1),
            Self::HalfMessage => (8, 900, 79 * 1024),
            Self::StopReading => (400, 1, 64 * 1024),
            Self::FloodStalled => (10_000, 1, 32 * 1024),
            Self::ManyOnFew => (8, 1000, 4096),
            Self::FewOnMany => (8000, 1, 1000),
            Self::SlowReaders => (400, 10, 32 * 1024),
            Self::SendBuffers => (200, 20, 32 * 1024),
            Self::Waiting => (90, 100, 32 * 1024),
            Self::Metadata => (160, 100, 0),
            Self::HeadersUnfinished | Self::Handshakes | Self::Silent => (8000, 1, 0),
            Self::OneByte => (1500, 1, 0),
        };
        Size {
            connections,
            streams,
            message,
        }
    }

    /// Starts all of its connections.
    pub fn begin(
        self,
        target: &Arc<Target>,
        size: Size,
        persists: bool,
        stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) {
        for connection in 0..size.connections {
            let (target, stop) = (target.clone(), stop.clone());
            if let Some(words) = self.words(connection) {
                tasks.spawn(sockets::run(target, words, persists, stop));
                continue;
            }
            let calls = (0..size.streams).map(|stream| self.call(connection, stream, size.message));
            let client = Client {
                calls: calls.collect(),
                manner: self.manner(connection, persists),
                target,
            };
            tasks.spawn(client.run(stop));
        }
    }

    fn words(self, connection: u32) -> Option<Words> {
        match self {
            Self::Handshakes if connection.is_multiple_of(2) => Some(Words::Hello),
            Self::Handshakes => Some(Words::HalfHello),
            Self::OneByte => Some(Words::Byte),
            Self::Silent => Some(Words::None),
            _ => None,
        }
    }

    /// Every second connection belongs to receivers.
    fn manner(self, connection: u32, persists: bool) -> Manner {
        let receives = connection % 2 == 1;
        let window = match self {
            Self::StopReading => MIB,
            Self::SendBuffers => (1 << 31) - 1,
            _ => FIRST_WINDOW,
        };
        Manner {
            window,
            drips: self == Self::SlowReaders && receives,
            reads: !(self == Self::SendBuffers && receives),
            persists,
        }
    }

    fn call(self, connection: u32, stream: u32, message: u32) -> Call {
        let path = match self {
            Self::HealthUnfinished => CHECK,
            Self::ReflectionUnfinished => REFLECTION,
            Self::Watch => WATCH,
            _ => STREAM,
        };
        let (pair, receives) = (connection / 2, connection % 2 == 1);
        let token = match self {
            Self::HealthUnfinished | Self::ReflectionUnfinished | Self::Watch => Token::None,
            Self::IdlePairs => Token::Good("siege".to_owned()),
            Self::Metadata if stream % 2 == 1 => Token::Bad,
            Self::Waiting | Self::Metadata => {
                Token::Good(format!("siege-{self:?}-{connection}-{stream}"))
            }
            _ => Token::Good(format!("siege-{self:?}-{pair}-{stream}")),
        };
        let supply = match self {
            Self::HealthUnfinished | Self::ReflectionUnfinished => Supply::Part {
                size: message,
                bytes: u64::from(message) + 4,
            },
            Self::Watch => Supply::Request(message),
            Self::IdlePairs | Self::Metadata | Self::HeadersUnfinished => Supply::Nothing,
            Self::Waiting => Supply::Flood(message),
            _ if receives => Supply::Nothing,
            // What a sender of messages of 64 KiB may have sent when it is cut off.
            Self::HalfMessage => Supply::Part {
                size: message,
                bytes: u64::from(message.min(65_536 + 19)),
            },
            _ => Supply::Flood(message),
        };
        let large = matches!(self, Self::Metadata | Self::HeadersUnfinished);
        Call {
            path,
            token,
            padding: if large { 15_000 } else { 0 },
            complete: self != Self::HeadersUnfinished,
            supply,
        }
    }
}
