//! Sizes, the public endpoint, the successor, secrets and the log filter as values.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::ServerName;
use toml::de::DeValue;

use super::list::Element;
use super::setting::{Invalid, Item, Setting, integer, quoted};
use crate::observe::log;
use crate::transport::forwarding::Target;
use crate::transport::settings::{Size, SizeError};

impl Setting for Size {
    const EXPECTS: &'static str = "a size such as \"64KiB\", \"4MiB\" or a number of bytes";
    const KIND: &'static str = "a size";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| match error {
            SizeError::Number => String::new(),
            _ => error.to_string(),
        })
    }

    fn from_toml(item: &Item<'_>) -> Result<Self, Invalid> {
        match item.get_ref() {
            DeValue::Integer(number) => integer(number)
                .and_then(|bytes| usize::try_from(bytes).ok())
                .map(Self::new)
                .ok_or_else(|| Invalid::new(item, false, "")),
            DeValue::String(text) => {
                Self::from_text(text).map_err(|why| Invalid::new(item, false, why))
            }
            _ => Err(Invalid::new(item, false, "")),
        }
    }

    fn show(&self) -> Option<String> {
        let text = self.to_string();
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        Some(if plain { text } else { quoted(&text) })
    }
}

/// A size; the empty text takes one away that was set elsewhere.
impl Setting for Option<Size> {
    const EXPECTS: &'static str = Size::EXPECTS;

    fn unset() -> Option<Self> {
        Some(None)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(None);
        }
        Size::from_text(text).map(Some)
    }

    fn from_toml(item: &Item<'_>) -> Result<Self, Invalid> {
        Size::from_toml(item).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(Setting::show)
    }
}

/// The host and port under which peers reach the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(host) => host,
            None if host.contains(':') => return Err("an IPv6 address needs brackets".to_owned()),
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port > 0);
        let port = port.ok_or("the port must be a number from 1 to 65535")?;
        // The name goes into the self-signed certificate, so it must be one TLS knows.
        ServerName::try_from(host).map_err(|_| "the host is no DNS name and no IP address")?;
        let host = host.to_owned();
        Ok(Self { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(out, "[{}]:{}", self.host, self.port);
        }
        write!(out, "{}:{}", self.host, self.port)
    }
}

impl Setting for Endpoint {
    const EXPECTS: &'static str = "host:port, such as \"router.example.com:443\"";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Element for Endpoint {}

impl Setting for Target {
    const EXPECTS: &'static str = "host:port, such as \"router.example.com:443\", or \"self\"";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(match text {
            "self" => Self::Own,
            text => Self::Endpoint(text.parse::<Endpoint>()?.to_string()),
        })
    }

    fn show(&self) -> Option<String> {
        Some(match self {
            Self::Own => quoted("self"),
            Self::Endpoint(endpoint) => quoted(endpoint),
        })
    }
}

impl Element for Target {}

/// Key material. It has no `Display`, and `Debug` does not reveal it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Is printed in place of a secret; refused as a key, since it can only come from such a print.
    pub const HIDDEN: &'static str = "(hidden)";

    /// Wraps key material.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Gives the key material itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(Self::HIDDEN)
    }
}

impl Setting for Secret {
    const EXPECTS: &'static str = "a string";
    const SECRET: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }

    fn show(&self) -> Option<String> {
        Some(quoted(Self::HIDDEN))
    }
}

impl Element for Secret {}

/// Directives that choose which log lines are written, known to be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// Gives the directives, which the log accepts.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for LogFilter {
    const EXPECTS: &'static str = "log directives such as \"info\" or \"info,h2=debug\"";

    fn from_text(text: &str) -> Result<Self, String> {
        log::check_filter(text)?;
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}
