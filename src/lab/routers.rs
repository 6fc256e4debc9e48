//! The routers of a lab: one, or several that find each other over a NATS server, as they do behind one address.
//!
//! The first is on the address of the controller. Streams are handed to them in turn, the two sides of each to different
//! ones, so that every pair shows what several routers are for.

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    LabError,
    folder::Folder,
    nats::{self, Nats},
};
use crate::{
    common::text::joined,
    config::{self, Config, Endpoint, Override, Secret, Sources},
    server::{Server, StartError},
};

/// Where streams are routed, and the key of their tokens.
#[derive(Debug)]
pub struct Routing {
    endpoints: Vec<String>,
    key: Secret,
    turn: AtomicUsize,
}

/// Where the two sides of a stream are sent.
pub(crate) struct Sides<'a> {
    /// host:port for the client.
    pub client: &'a str,
    /// host:port for the exporter.
    pub exporter: &'a str,
}

impl Routing {
    /// Routes by way of these, of which there is at least one.
    pub(crate) fn new(endpoints: Vec<String>, key: Secret) -> Self {
        Self {
            endpoints,
            key,
            turn: AtomicUsize::new(0),
        }
    }

    /// Gives the routers for one more stream.
    pub(crate) fn next(&self) -> Sides<'_> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = |turn: usize| &*self.endpoints[turn % self.endpoints.len()];
        Sides {
            client: at(turn),
            exporter: at(turn.wrapping_add(1)),
        }
    }

    /// Gives host:port of the first.
    pub(crate) fn first(&self) -> &str {
        &self.endpoints[0]
    }

    /// Tells whether there are several.
    pub(crate) fn is_apart(&self) -> bool {
        self.endpoints.len() > 1
    }

    /// Gives the routers' key.
    pub(crate) fn key(&self) -> &[u8] {
        self.key.expose()
    }
}

/// How many routers there are to be, and what several of them need.
pub(crate) struct Wanted {
    count: u16,
    program: Option<PathBuf>,
}

impl Wanted {
    /// Looks for a NATS server if there are to be several; nothing is written or started. `named`: which one, if it is not
    /// on the PATH.
    pub(super) fn find(count: u16, named: Option<&Path>) -> Result<Self, LabError> {
        if count < 2 {
            let program = None;
            return Ok(Self { count: 1, program });
        }
        if !cfg!(feature = "cluster") {
            let text =
                "this program was built without \"cluster\", so there cannot be several routers";
            return Err(LabError::Router(text.to_owned()));
        }
        let program = Some(nats::find(named)?);
        Ok(Self { count, program })
    }

    /// Starts the NATS server that the routers need, if any.
    pub(super) async fn bus(&self, folder: &Folder) -> Result<Option<Nats>, LabError> {
        let Some(program) = &self.program else {
            return Ok(None);
        };
        let nats = Nats::start(program, &folder.path().join("nats-server.log")).await?;
        Ok(Some(nats))
    }

    /// Starts all but the first, with its configuration at other addresses.
    pub(super) async fn others(&self, first: &Config) -> Result<Vec<Another>, StartError> {
        let mut others = Vec::new();
        for at in 1..self.count {
            others.push(Another::start(first, at).await?);
        }
        Ok(others)
    }
}

/// Where the first router is, and what it shares with the others.
pub(super) struct Place<'a> {
    pub listen: SocketAddr,
    pub endpoint: &'a str,
    /// Where its certificate is; `None` while that is not written yet.
    pub folder: Option<&'a Folder>,
    /// Where it hears of others, if there are any.
    pub nats: Option<&'a Nats>,
}

/// Makes the router's configuration. Address, certificate and key are the lab's; anything else can be set as for any router.
pub(super) fn config(
    place: &Place<'_>,
    key: &str,
    env: Vec<(String, OsString)>,
    more: Vec<Override>,
) -> Result<Config, LabError> {
    let &Place {
        listen,
        endpoint,
        folder,
        nats,
    } = place;
    let file = |name: &str| match folder {
        Some(folder) => path_text(&folder.path().join(name)),
        None => Ok(String::new()),
    };
    let mut own = vec![
        ("listen.address", listen.to_string()),
        ("listen.endpoint", endpoint.to_owned()),
        ("listen.health_address", "0".to_owned()),
        ("tls.certificate", file("tls.crt")?),
        ("tls.key", file("tls.key")?),
        ("auth.key", key.to_owned()),
    ];
    if let Some(nats) = nats {
        own.extend([
            ("cluster.servers", nats.url.clone()),
            ("cluster.credentials_file", path_text(&nats.credentials())?),
            // The others are in this process.
            ("cluster.address", "127.0.0.1:0".to_owned()),
        ]);
    }
    let own = own.into_iter().map(|(key, value)| Override {
        key: key.to_owned(),
        value,
        flag: "lab".to_owned(),
    });
    let sources = Sources {
        file: None,
        env,
        overrides: own.chain(more).collect(),
        notes: Vec::new(),
    };
    match config::load(&sources) {
        Ok(loaded) => {
            // Once, though it is looked at twice.
            for warning in loaded.warnings.iter().filter(|_| folder.is_some()) {
                tracing::warn!("{}", in_words_of_the_lab(warning));
            }
            Ok(loaded.config)
        }
        Err(problems) => {
            let problems = in_words_of_the_lab(&joined(problems.all(), "; "));
            Err(LabError::Router(format!(
                "the router's settings: {problems}"
            )))
        }
    }
}

/// Says the lab's options where the router's keys are meant that they set.
fn in_words_of_the_lab(problems: &str) -> String {
    problems
        .replace("flag --set: ", "--set ")
        .replace("listen.address", "--listen")
        .replace("listen.endpoint", "--endpoint")
}

fn path_text(path: &Path) -> Result<String, LabError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        LabError::Router(format!(
            "{} is no text; choose another directory",
            path.display()
        ))
    })
}

/// A router beside the first.
#[derive(Debug)]
pub struct Another {
    /// host:port that clients and exporters are told.
    pub endpoint: String,
    /// The router.
    pub server: Server,
}

impl Another {
    /// Starts it so many ports after the first, or on a free port if that one is in use. Its other addresses have free ports.
    async fn start(first: &Config, after: u16) -> Result<Self, StartError> {
        let mut config = first.clone();
        let listen = &mut config.listen;
        let further = |port: u16| port.checked_add(after).unwrap_or(0);
        listen.address.set_port(further(listen.address.port()));
        let more = [
            &mut listen.health_address,
            &mut listen.metrics_address,
            &mut listen.admin_address,
        ];
        for address in more.into_iter().flatten() {
            address.set_port(0);
        }
        let port = further(listen.endpoint.port);
        if port > 0 {
            listen.endpoint.port = port;
        }
        let server = match Server::start(&config).await {
            Err(StartError::Bind { address, error, .. })
                if address == config.listen.address && error.kind() == io::ErrorKind::AddrInUse =>
            {
                config.listen.address.set_port(0);
                Server::start(&config).await?
            }
            started => started?,
        };
        let elsewhere = config.listen.address.port() == 0 || port == 0;
        let port = if elsewhere {
            server.address.port()
        } else {
            port
        };
        let host = config.listen.endpoint.host;
        let endpoint = Endpoint { host, port }.to_string();
        Ok(Self { endpoint, server })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_sent_apart_if_they_can_be() {
        let sides = |count: usize| {
            let endpoints = (0..count).map(|number| number.to_string()).collect();
            let routing = Routing::new(endpoints, Secret::new("key"));
            (0..4)
                .map(|_| {
                    let Sides { client, exporter } = routing.next();
                    format!("{client}{exporter}")
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(sides(1), ["00", "00", "00", "00"]);
        assert_eq!(sides(2), ["01", "10", "01", "10"]);
        assert_eq!(sides(3), ["01", "12", "20", "01"]);
    }

    #[test]
    fn one_router_needs_nothing() {
        let nowhere = Some(Path::new("/nowhere"));
        assert!(Wanted::find(1, nowhere).is_ok_and(|wanted| wanted.program.is_none()));
        let error = Wanted::find(2, nowhere)
            .err()
            .map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("/nowhere")));
    }
}
