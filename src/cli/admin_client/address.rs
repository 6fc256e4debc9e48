//! Reads where an admin API is: a port, a host with a port, or a URL.

use std::net::Ipv6Addr;

use http::{
    Uri,
    uri::{Authority, PathAndQuery},
};

/// The port of a router's admin API unless another is said; a URL has its scheme's.
const PORT: u16 = 8082;

/// Where an admin API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Whether TLS is spoken.
    pub(super) is_https: bool,
    /// host:port to connect to.
    pub(super) endpoint: String,
    /// What the header `Host` says.
    pub(super) host: String,
    /// What stands before `/api`; no slash at its end.
    pub(super) prefix: String,
}

impl Address {
    /// Reads `8082`, `:8082`, `host`, `host:8082`, or a URL with http or https and perhaps a path. The error is what was
    /// expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let port = match scheme.as_deref() {
            None => PORT,
            Some("http") => 80,
            Some("https") => 443,
            Some(_) => return Err("expected a URL with http:// or https://".to_owned()),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(
                "no user and no password belong there; a token comes from --token-file".to_owned(),
            );
        }
        let is_url = scheme.is_some();
        let (endpoint, has_port) = endpoint(authority, port, is_url)
            .ok_or("expected a port, host:port, or a URL such as https://host/router-1")?;
        let prefix = path.trim_end_matches('/').to_owned();
        if prefix.contains(['?', '#']) || format!("{prefix}/").parse::<PathAndQuery>().is_err() {
            return Err("expected a URL without a query or a fragment".to_owned());
        }
        Ok(Self {
            is_https: scheme.as_deref() == Some("https"),
            host: if is_url && !has_port {
                authority.to_owned()
            } else {
                endpoint.clone()
            },
            endpoint,
            prefix,
        })
    }

    /// Gives the target of a request for this path of the API.
    pub(super) fn target(&self, path: &str) -> Result<Uri, http::uri::InvalidUri> {
        format!("{}{path}", self.prefix).parse()
    }
}

/// Completes what was written to host:port, and says whether it had a port. Without a host, and if this is no URL, it is
/// this machine.
fn endpoint(text: &str, port: u16, is_url: bool) -> Option<(String, bool)> {
    let own = |port: &str| Some((format!("localhost:{}", number(port)?), true));
    if !is_url && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return own(text);
    }
    if !is_url && let Some(port) = text.strip_prefix(':').filter(|port| !port.contains(':')) {
        return own(port);
    }
    if !is_url && text.parse::<Ipv6Addr>().is_ok() {
        return Some((format!("[{text}]:{port}"), false));
    }
    let authority: Authority = text.parse().ok()?;
    let (host, given) = (authority.host(), text.strip_prefix(authority.host())?);
    let is_name = !host.is_empty() && (host.starts_with('[') || !host.contains(':'));
    match given.strip_prefix(':') {
        _ if !is_name => None,
        None => Some((format!("{host}:{port}"), false)),
        Some(port) => Some((format!("{host}:{}", number(port)?), true)),
    }
}

/// Reads the number of a port.
fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ports_hosts_and_urls_are_understood() {
        for (text, is_https, endpoint, host, prefix) in [
            ("8082", false, "localhost:8082", "localhost:8082", ""),
            (":99", false, "localhost:99", "localhost:99", ""),
            ("r", false, "r:8082", "r:8082", ""),
            ("r:1", false, "r:1", "r:1", ""),
            ("10.0.0.1", false, "10.0.0.1:8082", "10.0.0.1:8082", ""),
            ("::1", false, "[::1]:8082", "[::1]:8082", ""),
            ("[::1]:9", false, "[::1]:9", "[::1]:9", ""),
            ("r:1/a/", false, "r:1", "r:1", "/a"),
            ("http://r", false, "r:80", "r", ""),
            ("HTTP://r:1/", false, "r:1", "r:1", ""),
            ("https://[::1]", true, "[::1]:443", "[::1]", ""),
            ("https://r/router-1/", true, "r:443", "r", "/router-1"),
            ("https://r:8/a/b", true, "r:8", "r:8", "/a/b"),
        ] {
            let found = Address::parse(text).unwrap();
            let wanted = Address {
                is_https,
                endpoint: endpoint.to_owned(),
                host: host.to_owned(),
                prefix: prefix.to_owned(),
            };
            assert_eq!(found, wanted, "{text}");
            let target = found.target("/api/status").unwrap();
            assert_eq!(target.path(), format!("{prefix}/api/status"), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        for (text, why) in [
            ("", "expected a port"),
            ("0", "expected a port"),
            ("65536", "expected a port"),
            (":", "expected a port"),
            ("http://", "expected a port"),
            ("http://:80", "expected a port"),
            ("r:x", "expected a port"),
            ("r:", "expected a port"),
            ("a b", "expected a port"),
            ("ftp://r", "http:// or https://"),
            ("http://r/?q=1", "without a query"),
            ("http://r/a b", "without a query"),
            ("http://me:pw@r/", "--token-file"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
