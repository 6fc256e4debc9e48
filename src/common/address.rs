//! Reads addresses as people write them. This is the one grammar for all options; the configuration's listening addresses
//! differ in that a port alone means all interfaces there.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

/// What an address may look like.
pub(crate) const FORMS: &str =
    "expected a port (2222 or :2222, which is at 127.0.0.1), host:port, or [IPv6 address]:port";

/// Splits an address into its host, without brackets, and its port. A port alone has no host.
pub(crate) fn parts(text: &str) -> Result<(Option<&str>, u16), String> {
    let wrong = |why: &str| Err(format!("{FORMS}; {why}"));
    if let Some((scheme, _)) = text.split_once("://") {
        return wrong(&format!("leave out {scheme}:// and any path"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => ("", text),
        None => return wrong("the port is missing"),
    };
    let Ok(port) = port.parse::<u16>() else {
        return wrong(&format!("{port:?} is no port number"));
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(host) if host.parse::<Ipv6Addr>().is_err() && !host.contains('%') => {
            wrong("in the brackets is no IPv6 address")
        }
        Some(host) => Ok((Some(host), port)),
        None if host.contains(':') => wrong("an IPv6 address needs brackets"),
        None if host.contains(|c: char| c.is_whitespace() || "/@[]?#".contains(c)) => {
            wrong(&format!("{host:?} is no host"))
        }
        None => Ok((Some(host).filter(|host| !host.is_empty()), port)),
    }
}

/// Reads the address of a router or a service, and writes it as host:port.
pub(crate) fn host_port(text: &str) -> Result<String, String> {
    let (host, port) = parts(text)?;
    Ok(match host {
        None => format!("{}:{port}", Ipv4Addr::LOCALHOST),
        Some(host) if host.contains(':') => format!("[{host}]:{port}"),
        Some(host) => format!("{host}:{port}"),
    })
}

/// Reads an address whose host is an IP address, `localhost`, or `alone` if there is none.
pub(crate) fn socket(text: &str, alone: IpAddr) -> Result<SocketAddr, String> {
    let (host, port) = parts(text)?;
    let ip = match host {
        None => alone,
        Some("localhost") => Ipv4Addr::LOCALHOST.into(),
        Some(host) => host.parse().map_err(|_| {
            format!(
                "{host:?} is no IP address, and no other names than localhost are looked up here"
            )
        })?,
    };
    Ok(SocketAddr::new(ip, port))
}

/// Reads an address to listen at, of this machine alone unless it names another.
pub(crate) fn local_socket(text: &str) -> Result<SocketAddr, String> {
    socket(text, Ipv4Addr::LOCALHOST.into())
}

/// Is where to listen or to connect: a port, or a socket with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// host:port.
    Tcp(String),
    /// The path of a socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("unix://").or(text.strip_prefix("unix:"));
        let is_path = |text: &&str| text.contains('/') && !text.contains("://");
        match path.or_else(|| Some(text).filter(is_path)) {
            Some("") => Err("expected a path after unix:".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => match host_port(text) {
                Ok(address) => Ok(Self::Tcp(address)),
                Err(why) => Err(format!("{why}; or unix:PATH for a socket")),
            },
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_grammar() {
        for (text, meant) in [
            ("22225", "127.0.0.1:22225"),
            (":22225", "127.0.0.1:22225"),
            ("0", "127.0.0.1:0"),
            ("localhost:22225", "localhost:22225"),
            ("127.0.0.1:22", "127.0.0.1:22"),
            ("board.example.com:80", "board.example.com:80"),
            ("board_7:80", "board_7:80"),
            ("[::1]:22225", "[::1]:22225"),
            ("[fe80::1%eth0]:22", "[fe80::1%eth0]:22"),
        ] {
            assert_eq!(host_port(text).as_deref(), Ok(meant), "{text}");
            assert_eq!(text.parse(), Ok(Address::Tcp(meant.to_owned())), "{text}");
        }
        for (wrong, why) in [
            ("", "no port number"),
            ("host", "the port is missing"),
            ("host:", "no port number"),
            ("host:http", "\"http\" is no port number"),
            ("host:99999", "no port number"),
            ("99999", "no port number"),
            ("::1:22", "needs brackets"),
            ("[::1]", "no port number"),
            ("[x]:22", "no IPv6 address"),
            ("a b:22", "no host"),
            ("https://r.example.com:443", "leave out https://"),
        ] {
            let said = host_port(wrong).expect_err(wrong);
            assert!(said.starts_with(FORMS) && said.contains(why), "{said}");
            let said = wrong.parse::<Address>().expect_err(wrong);
            assert!(said.contains(why) && said.contains("unix:PATH"), "{said}");
        }
    }

    #[test]
    fn sockets_have_paths_or_numbers() {
        for (text, path) in [
            ("unix:/run/x", "/run/x"),
            ("unix:///run/x", "/run/x"),
            ("unix:x", "x"),
            ("./x", "./x"),
        ] {
            assert_eq!(text.parse(), Ok(Address::Unix(path.into())), "{text}");
        }
        assert!("unix:".parse::<Address>().is_err());
        let at = |text| local_socket(text).map(|at| at.to_string());
        assert_eq!(at("localhost:1").as_deref(), Ok("127.0.0.1:1"));
        assert_eq!(at(":1").as_deref(), Ok("127.0.0.1:1"));
        assert_eq!(at("[::]:1").as_deref(), Ok("[::]:1"));
        assert!(at("example.com:1").is_err_and(|why| why.contains("no IP address")));
    }
}
