//! Value types of their own: sizes, the public endpoint, secrets and the log filter.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::ServerName;
use toml::de::DeValue;

use super::list::Element;
use super::setting::{Invalid, Item, Setting, integer, quoted};
use crate::observe::log;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

/// Units by name, the largest power of two last so that `show` finds it by searching backwards.
const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl Size {
    /// A size of so many bytes.
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as u64;
        let exact = UNITS[4..]
            .iter()
            .rev()
            .find(|(_, unit)| bytes.is_multiple_of(*unit));
        match exact {
            Some((name, unit)) if bytes > 0 => write!(out, "{}{name}", bytes / unit),
            _ => write!(out, "{bytes}"),
        }
    }
}

impl Setting for Size {
    const EXPECTS: &'static str = "a size such as \"64KiB\", \"4MiB\" or a number of bytes";

    fn from_text(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim_start() {
            "" => 1,
            name => UNITS
                .iter()
                .find_map(|(unit, factor)| (*unit == name).then_some(*factor))
                .ok_or("the units are B, KiB, MiB, GiB, kB, MB and GB")?,
        };
        let number: u64 = number.parse().map_err(|_| String::new())?;
        number
            .checked_mul(unit)
            // A TOML integer is signed, and every size must fit one to be shown.
            .and_then(|bytes| i64::try_from(bytes).ok())
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| "too large".to_owned())
    }

    fn from_toml(item: &Item<'_>) -> Result<Self, Invalid> {
        match item.get_ref() {
            DeValue::Integer(number) => integer(number)
                .and_then(|bytes| usize::try_from(bytes).ok())
                .map(Self)
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

/// The router that takes over while this one drains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Successor {
    /// Whoever listens on this router's own address by then.
    Own,
    /// Another address.
    At(Endpoint),
}

/// A successor; the empty text takes one away that was set elsewhere.
impl Setting for Option<Successor> {
    const EXPECTS: &'static str = "host:port, such as \"router.example.com:443\", or \"self\"";

    fn unset() -> Option<Self> {
        Some(None)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" => None,
            "self" => Some(Successor::Own),
            text => Some(Successor::At(text.parse()?)),
        })
    }

    fn show(&self) -> Option<String> {
        self.as_ref().map(|successor| match successor {
            Successor::Own => quoted("self"),
            Successor::At(endpoint) => quoted(&endpoint.to_string()),
        })
    }
}

/// Key material. It has no `Display`, and `Debug` does not reveal it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Printed in place of a secret; refused as a key, since it can only come from such a print.
    pub const HIDDEN: &'static str = "(hidden)";

    /// Wraps key material.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The key material itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(Self::HIDDEN)
    }
}

impl Setting for Option<Secret> {
    const EXPECTS: &'static str = "a string";
    const SECRET: bool = true;

    fn unset() -> Option<Self> {
        Some(None)
    }

    // Empty is kept: an empty key must be refused by name, not taken for "no key".
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Some(Secret::new(text)))
    }

    fn show(&self) -> Option<String> {
        self.as_ref().map(|_| quoted(Secret::HIDDEN))
    }
}

impl Element for Secret {
    const SECRET: bool = true;

    fn from_item(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }

    fn show_item(&self) -> String {
        quoted(Self::HIDDEN)
    }
}

/// Directives that choose which log lines are written, known to be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The directives, which the log accepts.
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
