//! How one value is read from TOML or from plain text, and shown again.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use crate::common::address;

/// A value in the file together with its place.
pub(super) type Item<'i> = Spanned<DeValue<'i>>;

/// Durations longer than this are refused: added to a clock reading, a far larger one would overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why a value in the file was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    /// Byte offset of the offending value, which may be inside a list.
    pub at: usize,
    /// What stands there; only its type when the key is a secret.
    pub found: String,
    /// More than "expected ..." already says, or empty.
    pub why: String,
}

impl Invalid {
    /// Describes `item` as the offender. `secret` keeps its text out of the description.
    pub(super) fn new(item: &Item<'_>, secret: bool, why: impl Into<String>) -> Self {
        Self {
            at: item.span().start,
            found: describe(item.get_ref(), secret),
            why: why.into(),
        }
    }
}

/// Names the type of `value` and, unless it must stay hidden, its text.
pub(super) fn describe(value: &DeValue<'_>, hidden: bool) -> String {
    match value {
        DeValue::String(_) if hidden => "a string".to_owned(),
        DeValue::String(text) => format!("the string {}", excerpt(text)),
        DeValue::Integer(_) if hidden => "an integer".to_owned(),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(_) => "a decimal number".to_owned(),
        DeValue::Boolean(_) if hidden => "a boolean".to_owned(),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Puts `text` in quotes, escaped, and cut so that one bad value cannot fill the screen.
pub(super) fn excerpt(text: &str) -> String {
    const MOST: usize = 60;
    let short: String = text.chars().take(MOST).collect();
    let dots = if short.len() < text.len() { "..." } else { "" };
    format!("{short:?}{dots}")
}

/// A type that can stand as the value of a configuration key.
pub(super) trait Setting: Sized {
    /// What is accepted, to complete the sentence "expected ...".
    const EXPECTS: &'static str;
    /// Whether values must never be printed.
    const SECRET: bool = false;
    /// What values within a range are, to complete the sentence "expected ... from ... to ...".
    const KIND: &'static str = "a value";
    /// What is accepted beside the values of a range.
    const OR_OFF: &'static str = "";

    /// Reads the text of an environment variable, a flag or a TOML string. The error says why not,
    /// and may be empty when `EXPECTS` says it all.
    fn from_text(text: &str) -> Result<Self, String>;

    /// Reads a TOML value; by default a string with the same text as everywhere else.
    fn from_toml(item: &Item<'_>) -> Result<Self, Invalid> {
        match item.get_ref() {
            DeValue::String(text) => {
                Self::from_text(text).map_err(|why| Invalid::new(item, Self::SECRET, why))
            }
            _ => Err(Invalid::new(item, Self::SECRET, "")),
        }
    }

    /// Gives the value that stands for "not set", for types that have one.
    fn unset() -> Option<Self> {
        None
    }

    /// Writes the value as TOML, `None` when it is not set. Secrets are replaced.
    fn show(&self) -> Option<String>;
}

/// Writes `text` as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Reads a TOML integer in any of its notations.
pub(super) fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

impl Setting for bool {
    const EXPECTS: &'static str = "true or false";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| String::new())
    }

    fn from_toml(item: &Item<'_>) -> Result<Self, Invalid> {
        item.get_ref()
            .as_bool()
            .ok_or_else(|| Invalid::new(item, false, ""))
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for u32 {
    const EXPECTS: &'static str = "a whole number";
    const KIND: &'static str = "a whole number";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| String::new())
    }

    fn from_toml(item: &Item<'_>) -> Result<Self, Invalid> {
        let number = item.get_ref().as_integer().and_then(integer);
        number
            .and_then(|number| Self::try_from(number).ok())
            .ok_or_else(|| Invalid::new(item, false, ""))
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// Limits that can be switched off: 0 is `None`.
impl Setting for Option<u32> {
    const EXPECTS: &'static str = "a whole number, 0 leaving it open";

    fn from_text(text: &str) -> Result<Self, String> {
        u32::from_text(text).map(|number| Some(number).filter(|number| *number > 0))
    }

    fn from_toml(item: &Item<'_>) -> Result<Self, Invalid> {
        u32::from_toml(item).map(|number| Some(number).filter(|number| *number > 0))
    }

    fn show(&self) -> Option<String> {
        self.unwrap_or(0).show()
    }
}

impl Setting for String {
    const EXPECTS: &'static str = "a string that is not empty";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(String::new());
        }
        Ok(text.to_owned())
    }

    fn show(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Setting for Duration {
    const EXPECTS: &'static str = "a duration with its unit, such as \"500ms\", \"25s\" or \"2h\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        if duration > LONGEST {
            return Err("more than 10 years".to_owned());
        }
        Ok(duration)
    }

    fn show(&self) -> Option<String> {
        Some(format!("\"{}\"", humantime::format_duration(*self)))
    }
}

/// Time limits that can be switched off: "0s" is `None`.
impl Setting for Option<Duration> {
    const EXPECTS: &'static str =
        "a duration with its unit, such as \"25s\" or \"2h\"; \"0s\" meaning never";
    const OR_OFF: &'static str = ", or 0s";

    fn from_text(text: &str) -> Result<Self, String> {
        Duration::from_text(text).map(|duration| Some(duration).filter(|d| !d.is_zero()))
    }

    fn show(&self) -> Option<String> {
        self.unwrap_or_default().show()
    }
}

/// An address to listen on. All interfaces is the IPv6 wildcard, which also takes IPv4.
impl Setting for SocketAddr {
    const EXPECTS: &'static str = "an address such as \":8083\" or \"8083\" (all interfaces), \"127.0.0.1:8083\" or \"[::1]:8083\"";

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Err("which would be off, and this is needed".to_owned());
        }
        // Its own list of forms stands before it.
        let more = |why: String| {
            why.trim_start_matches(address::FORMS)
                .trim_start_matches("; ")
                .to_owned()
        };
        address::socket(text, Ipv6Addr::UNSPECIFIED.into()).map_err(more)
    }

    fn show(&self) -> Option<String> {
        if self.ip() == Ipv6Addr::UNSPECIFIED {
            return Some(format!("\":{}\"", self.port()));
        }
        Some(format!("\"{self}\""))
    }
}

/// An address that can be switched off: "0", as upstream writes it, or empty.
impl Setting for Option<SocketAddr> {
    const EXPECTS: &'static str = "an address such as \":8081\" (all interfaces) or \
                                   \"127.0.0.1:8081\"; \"0\" meaning off";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "" | "0" => Ok(None),
            _ => SocketAddr::from_text(text).map(Some),
        }
    }

    fn show(&self) -> Option<String> {
        self.map_or_else(|| Some("\"0\"".to_owned()), |address| address.show())
    }
}
