//! Names what is local at an end of `forward`.

use std::{fmt, str::FromStr};

use super::address::Address;

/// Says what is carried, and where it is local.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Connections, TCP or Unix.
    Stream(Address),
    /// Datagrams: UDP at host:port.
    Datagrams(String),
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(udp) = text.strip_prefix("udp:") else {
            return text.parse().map(Self::Stream);
        };
        match udp.parse() {
            Ok(Address::Tcp(address)) => Ok(Self::Datagrams(address)),
            _ => Err("expected host:port after udp:".to_owned()),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(address) => address.fmt(f),
            Self::Datagrams(address) => write!(f, "udp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_is_said_and_everything_else_is_a_stream() {
        let udp = End::Datagrams("[::1]:69".to_owned());
        assert_eq!("udp:[::1]:69".parse(), Ok(udp.clone()));
        assert_eq!(udp.to_string(), "udp:[::1]:69");
        let unix = End::Stream(Address::Unix("/run/x".into()));
        assert_eq!("unix:/run/x".parse(), Ok(unix));
        for wrong in ["udp:", "udp:host", "udp:unix:/run/x", "udp:/run/x"] {
            assert!(wrong.parse::<End>().is_err(), "{wrong}");
        }
    }
}
