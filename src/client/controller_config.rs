//! Reads Jumpstarter's own configuration files: how clients and exporters reach their controller.

mod document;
mod error;
#[cfg(test)]
mod tests;
mod variables;

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub use self::error::ControllerConfigError;
use self::{
    document::{Document, Source},
    variables::Variables,
};
use super::{proxy::Proxies, token::Token, trust::Trust};

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
    /// Is what the certificates must be for, if not the endpoints' hosts: `grpc.ssl_target_name_override` of `grpcOptions`.
    pub server_name: Option<String>,
    /// Says which endpoints are reached through a proxy.
    pub proxies: Proxies,
    /// Whether to offer a key exchange that withstands quantum computers, whose first message is a long one.
    pub post_quantum: bool,
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
    /// Reads a file, and nothing else.
    pub fn load(path: impl AsRef<Path>, role: Role) -> Result<Self, ControllerConfigError> {
        Self::load_with(path, role, &[])
    }

    /// Reads a file. What it leaves open is taken from this environment, as by `jmp`: endpoint, token, namespace and name
    /// from `JMP_ENDPOINT`, `JMP_TOKEN`, `JMP_NAMESPACE` and `JMP_NAME`; for an exporter only the last two.
    pub fn load_with(
        path: impl AsRef<Path>,
        role: Role,
        env: &[(String, OsString)],
    ) -> Result<Self, ControllerConfigError> {
        let path = path.as_ref();
        let document = yaml(&read(path)?, path)?;
        Source::File(path).config(document, role, Variables(env))
    }

    /// Reads the configuration of this name from where Jumpstarter keeps them: `clients` or `exporters` under
    /// `JMP_CLIENT_CONFIG_HOME`, else `~/.config/jumpstarter`, and exporters also under `/etc/jumpstarter`. Without a name,
    /// a client is what the environment says, if `JMP_NAMESPACE` and `JMP_NAME` are set, else the current one.
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
        let variables = Variables(env);
        let home = home(variables);
        let word = role.word();
        let name = match (name, role) {
            (Some(name), _) => name.to_owned(),
            (None, Role::Client) if variables.name_a_client() => {
                return Source::Environment.config(Document::default(), role, variables);
            }
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
            Some(path) => Self::load_with(path, role, env),
            None => Err(ControllerConfigError::Unknown {
                role: word,
                name,
                places,
            }),
        }
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

/// Finds where stock clients keep their files.
fn home(env: Variables<'_>) -> PathBuf {
    let variable = |name| env.exactly(name).map(PathBuf::from);
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
