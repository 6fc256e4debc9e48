//! Finds the HTTP proxy that the environment names for an endpoint, as gRPC's C core does, which stock peers use.
//!
//! Names of variables are in small letters only. Of `grpc_proxy`, `https_proxy` and `http_proxy` the first that is set
//! counts, even if it is empty, which means: no proxy. Of `no_grpc_proxy` and `no_proxy` likewise; it lists hosts, with all
//! names below them, and networks such as 10.0.0.0/8, which only endpoints that are addresses themselves can be in.

#[cfg(test)]
mod tests;

mod tunnel;

use std::{ffi::OsString, fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub use self::tunnel::ProxyError;
pub(crate) use self::tunnel::tunnel;
use crate::common::dial;

/// Which variables name a proxy, in this order.
const PROXIES: [&str; 3] = ["grpc_proxy", "https_proxy", "http_proxy"];

/// Which variables list what is reached without one.
const EXCEPTIONS: [&str; 2] = ["no_grpc_proxy", "no_proxy"];

/// Is the port of a proxy whose URL has none.
const USUAL_PORT: &str = "443";

/// Holds what the environment says about proxies.
#[derive(Clone, Default)]
pub struct Proxies {
    proxy: Option<Variable>,
    exceptions: Option<Variable>,
}

#[derive(Clone)]
struct Variable {
    name: &'static str,
    value: String,
}

/// Shows no value: there may be a password in it.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |variable: &Option<Variable>| variable.as_ref().map(|variable| variable.name);
        f.debug_struct("Proxies")
            .field("proxy", &name(&self.proxy))
            .field("exceptions", &name(&self.exceptions))
            .finish()
    }
}

/// Says how an endpoint is reached, and why so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// No variable names a proxy.
    Unset,
    /// This variable is empty, which says: no proxy.
    Empty(&'static str),
    /// The list in `variable` has this entry for the host.
    Excepted {
        /// The list.
        variable: &'static str,
        /// What it says.
        entry: String,
    },
    /// What this variable says is no proxy that can be used; as with gRPC, there is none then.
    Unusable(&'static str, &'static str),
    /// Through this proxy.
    Through(Proxy),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => write!(f, "directly: no proxy is named ({})", PROXIES.join(", ")),
            Self::Empty(variable) => write!(f, "directly: {variable} is set and empty"),
            Self::Excepted { variable, entry } => {
                write!(f, "directly: {variable} lists {entry:?}")
            }
            Self::Unusable(variable, why) => {
                write!(f, "directly: {variable} is not used, as {why}")
            }
            Self::Through(proxy) => write!(f, "through {proxy}"),
        }
    }
}

/// A proxy, and the variable that names it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its host:port.
    address: String,
    /// Which variable names it.
    variable: &'static str,
    /// User and password in base64.
    credentials: Option<String>,
}

impl Proxy {
    /// Gives its host:port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Gives the name of the variable that names it.
    pub fn variable(&self) -> &'static str {
        self.variable
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {} of {}", self.address, self.variable)
    }
}

impl Proxies {
    /// Takes what the process's environment says.
    pub fn from_env() -> Self {
        Self::find(|name| std::env::var_os(name))
    }

    /// Takes what this environment says.
    pub(crate) fn of(env: &[(String, OsString)]) -> Self {
        Self::find(|wanted| {
            let found = env.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        })
    }

    /// Uses this proxy instead, if there is one: that of a channel's option `grpc.http_proxy`.
    #[cfg(feature = "controller")]
    pub(super) fn or_named(mut self, proxy: Option<String>) -> Self {
        let name = "grpc.http_proxy";
        self.proxy = proxy.map(|value| Variable { name, value }).or(self.proxy);
        self
    }

    pub(super) fn find(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|&name| {
                let value = variable(name)?.to_string_lossy().into_owned();
                Some(Variable { name, value })
            })
        };
        Self {
            proxy: first(&PROXIES),
            exceptions: first(&EXCEPTIONS),
        }
    }

    /// Says how host:port is reached.
    pub(crate) fn route(&self, endpoint: &str) -> Route {
        let Some(Variable { name, value }) = &self.proxy else {
            return Route::Unset;
        };
        if value.is_empty() {
            return Route::Empty(name);
        }
        let proxy = match parse(value) {
            Ok((address, credentials)) => Proxy {
                address,
                variable: name,
                credentials,
            },
            Err(why) => return Route::Unusable(name, why),
        };
        let host = dial::host(endpoint);
        let excepted = self.exceptions.as_ref().and_then(|list| {
            let mut entries = list.value.split(',').map(str::trim_ascii);
            let entry = entries.find(|entry| is_below(host, entry) || is_in(host, entry))?;
            Some((list.name, entry.to_owned()))
        });
        match excepted {
            Some((variable, entry)) => Route::Excepted { variable, entry },
            None => Route::Through(proxy),
        }
    }
}

/// Reads a proxy's URL: its host:port, and user and password in base64.
fn parse(url: &str) -> Result<(String, Option<String>), &'static str> {
    let no_url = "it is no URL such as http://proxy.example.com:3128";
    let (scheme, rest) = url.split_once(':').ok_or(no_url)?;
    if scheme.is_empty()
        || !scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    {
        return Err(no_url);
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err("only proxies with http:// are supported");
    }
    let authority = rest.strip_prefix("//").ok_or(no_url)?;
    let authority = decoded(authority.split(['/', '?', '#']).next().unwrap_or_default());
    let (credentials, address) = match authority.rsplit_once('@') {
        Some((credentials, address)) => (Some(credentials), address),
        None => (None, &*authority),
    };
    if address.is_empty() || address.starts_with(':') {
        return Err("there is no host in it");
    }
    let credentials = credentials.filter(|credentials| !credentials.is_empty());
    let has_port = address[address.rfind(']').unwrap_or(0)..].contains(':');
    let address = if has_port {
        address.to_owned()
    } else {
        format!("{address}:{USUAL_PORT}")
    };
    Ok((
        address,
        credentials.map(|credentials| STANDARD.encode(credentials)),
    ))
}

/// Undoes percent encoding where it is one.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, others)) = rest.split_first() {
        let digits = others
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok());
        let code = digits.filter(|two| first == b'%' && two.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            None => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Tells whether a host is this one, or has a name below it. A dot in front changes nothing.
fn is_below(host: &str, entry: &str) -> bool {
    let entry = entry.strip_prefix('.').unwrap_or(entry);
    let Some(cut) = host.len().checked_sub(entry.len()) else {
        return false;
    };
    let ends = host
        .get(cut..)
        .is_some_and(|end| end.eq_ignore_ascii_case(entry));
    !entry.is_empty() && ends && (cut == 0 || host.as_bytes()[cut - 1] == b'.')
}

/// Tells whether a host is an address in this network.
fn is_in(host: &str, entry: &str) -> bool {
    let network = || {
        let (network, bits) = entry.split_once('/')?;
        Some((
            network.parse().ok()?,
            bits.trim_ascii().parse::<u32>().ok()?,
        ))
    };
    let Some(((network, bits), host)) = network().zip(dial::literal(host)) else {
        return false;
    };
    let equal = |differs: u128, length: u32| {
        let rest = length.checked_sub(bits);
        rest.is_some_and(|rest| differs.checked_shr(rest).unwrap_or(0) == 0)
    };
    match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) => {
            equal(u128::from(host.to_bits() ^ network.to_bits()), 32)
        }
        (IpAddr::V6(host), IpAddr::V6(network)) => equal(host.to_bits() ^ network.to_bits(), 128),
        _ => false,
    }
}
