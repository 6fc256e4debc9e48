//! Reads Jumpstarter's own configuration files: how clients and exporters reach their controller.

mod error;
#[cfg(test)]
mod tests;

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

pub use self::error::ControllerConfigError;
use super::{token::Token, trust::Trust};

const API_VERSION: &str = "jumpstarter.dev/v1alpha1";

/// Is the port that stock peers use where the endpoint names none.
const USUAL_PORT: &str = "443";

/// No such file is larger, bytes.
const MOST: u64 = 1024 * 1024;

/// Says as what somebody comes to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Leases exporters and dials them.
    Client,
    /// Is leased and listens.
    Exporter,
}

impl Role {
    /// Gives the name that the controller is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Exporter => "Exporter",
        }
    }

    /// Gives the name that files and options have for it.
    fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Exporter => "exporter",
        }
    }
}

/// Says how to reach a controller, and as whom.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// Is what the bearer comes as.
    pub role: Role,
    /// The namespace that the name belongs to.
    pub namespace: String,
    /// The client's or exporter's name.
    pub name: String,
    /// The controller: host:port.
    pub endpoint: String,
    /// Which certificates of controller and routers are believed.
    pub trust: Trust,
    /// Is what the controller knows its bearer by.
    pub token: Token,
}

/// Holds what such files have in common. What is not needed here is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Option<Metadata>,
    endpoint: Option<String>,
    tls: Option<Tls>,
    token: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Default, Deserialize)]
struct Tls {
    ca: Option<String>,
    insecure: Option<bool>,
}

/// `config.yaml`, which says what client is the current one.
#[derive(Deserialize)]
struct User {
    config: Option<UserConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UserConfig {
    current_client: Option<String>,
}

impl ControllerConfig {
    /// Reads a file.
    pub fn load(path: impl AsRef<Path>, role: Role) -> Result<Self, ControllerConfigError> {
        let path = path.as_ref();
        Self::parse(&read(path)?, path, role)
    }

    /// Reads the configuration of this name from where Jumpstarter keeps them: `clients` or `exporters` under
    /// `JMP_CLIENT_CONFIG_HOME`, else `~/.config/jumpstarter`, and exporters also under `/etc/jumpstarter`. Without a name,
    /// the current client's.
    pub fn from_env(name: Option<&str>, role: Role) -> Result<Self, ControllerConfigError> {
        let named = |(name, value): (OsString, _)| Some((name.into_string().ok()?, value));
        let env: Vec<_> = env::vars_os().filter_map(named).collect();
        Self::find(name, role, &env)
    }

    /// Does what [`from_env`](Self::from_env) does, with this environment.
    pub fn find(
        name: Option<&str>,
        role: Role,
        env: &[(String, OsString)],
    ) -> Result<Self, ControllerConfigError> {
        let home = home(env);
        let word = role.word();
        let name = match (name, role) {
            (Some(name), _) => name.to_owned(),
            (None, Role::Client) => current(&home)?,
            (None, Role::Exporter) => {
                return Err(ControllerConfigError::NoneNamed {
                    role: word,
                    why: "there is no current exporter".to_owned(),
                });
            }
        };
        if name.is_empty() || name.contains(['/', '\\']) || name == "." || name == ".." {
            return Err(ControllerConfigError::Name(name, word));
        }
        let file = format!("{name}.yaml");
        let mut places = vec![home.join(format!("{word}s")).join(&file)];
        if role == Role::Exporter {
            places.push(Path::new("/etc/jumpstarter/exporters").join(&file));
        }
        match places.iter().find(|path| path.exists()) {
            Some(path) => Self::load(path, role),
            None => Err(ControllerConfigError::Unknown {
                role: word,
                name,
                places,
            }),
        }
    }

    fn parse(text: &str, path: &Path, role: Role) -> Result<Self, ControllerConfigError> {
        let file: File = yaml(text, path)?;
        let content = |what: String| ControllerConfigError::Content {
            path: path.to_owned(),
            what,
        };
        let missing = |key: &str| content(format!("{key:?} is missing"));
        let is = |key: &str, found: Option<String>, expected: &str| match found {
            Some(found) if found != expected => Err(content(format!(
                "{key} is {found:?}, expected {expected:?}"
            ))),
            _ => Ok(()),
        };
        is("apiVersion", file.api_version, API_VERSION)?;
        is("kind", file.kind, &format!("{}Config", role.name()))?;
        let metadata = file.metadata.ok_or_else(|| missing("metadata"))?;
        let endpoint = file.endpoint.filter(|endpoint| !endpoint.is_empty());
        let token = file.token.filter(|token| !token.is_empty());
        let tls = file.tls.unwrap_or_default();
        let trust = match (tls.insecure, tls.ca.as_deref()) {
            (Some(true), _) => Trust::Insecure,
            (_, None | Some("")) => Trust::System,
            (_, Some(ca)) => certificates(ca).map_err(content)?,
        };
        Ok(Self {
            role,
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.ok_or_else(|| missing("metadata.name"))?,
            endpoint: with_port(&endpoint.ok_or_else(|| missing("endpoint"))?),
            trust,
            token: Token::new(token.ok_or_else(|| missing("token"))?),
        })
    }
}

fn read(path: &Path) -> Result<String, ControllerConfigError> {
    let text = fs::File::open(path).and_then(|file| {
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(file, MOST), &mut text)?;
        Ok(text)
    });
    text.map_err(|error| ControllerConfigError::File {
        path: path.to_owned(),
        error,
    })
}

fn yaml<T: for<'de> Deserialize<'de>>(text: &str, path: &Path) -> Result<T, ControllerConfigError> {
    serde_saphyr::from_str(text).map_err(|error| ControllerConfigError::Form {
        path: path.to_owned(),
        error: first_line(&error.to_string()),
    })
}

/// Cuts off an excerpt of the file that follows, with its token perhaps.
fn first_line(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// `tls.ca`: PEM in base64. Line breaks in it do not matter.
fn certificates(ca: &str) -> Result<Trust, String> {
    let packed: String = ca.split_ascii_whitespace().collect();
    let pem = STANDARD
        .decode(packed)
        .map_err(|error| format!("tls.ca: expected a PEM file in base64: {error}"))?;
    Trust::from_pem(&pem).map_err(|error| format!("tls.ca: expected certificates in PEM: {error}"))
}

fn with_port(endpoint: &str) -> String {
    let host_ends = endpoint.rfind(']').unwrap_or(0);
    if endpoint[host_ends..].contains(':') {
        endpoint.to_owned()
    } else {
        format!("{endpoint}:{USUAL_PORT}")
    }
}

/// Finds where stock clients keep their files.
fn home(env: &[(String, OsString)]) -> PathBuf {
    let variable = |wanted: &str| {
        let mut found = env.iter().filter(|(_, value)| !value.is_empty());
        found
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| PathBuf::from(value))
    };
    let config = || variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let usual = || config().unwrap_or_else(|| variable("HOME").unwrap_or_default().join(".config"));
    variable("JMP_CLIENT_CONFIG_HOME").unwrap_or_else(|| usual().join("jumpstarter"))
}

/// Reads the name of the current client.
fn current(home: &Path) -> Result<String, ControllerConfigError> {
    let path = home.join("config.yaml");
    let none = |why: String| ControllerConfigError::NoneNamed {
        role: "client",
        why,
    };
    if !path.exists() {
        return Err(none(format!("there is no {}", path.display())));
    }
    let user: User = yaml(&read(&path)?, &path)?;
    let current = user.config.and_then(|config| config.current_client);
    current.ok_or_else(|| none(format!("{} has no current-client", path.display())))
}
