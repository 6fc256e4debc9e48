//! The lab's directory: `lab.toml`, keys and certificate, and configuration files that stock clients and exporters use
//! as they are. It has the layout of Jumpstarter's own configuration directory, so that with `JMP_CLIENT_CONFIG_HOME`
//! set to it, `jmp` finds everything by name.

mod certificate;
mod yaml;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use thiserror::Error;

use super::{
    names::NAMESPACE,
    settings::{self, Settings, SettingsError},
    tokens::{Holder, Kind},
};
use crate::tls::provider::Provider;

/// What is wrong with the directory.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A file or directory cannot be read or written.
    #[error("cannot {what} {path}: {error}", path = path.display())]
    File {
        /// "read", "write" or "create".
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// `lab.toml` makes no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The key of the tokens is none.
    #[error(
        "{path} holds no key, expected 32 bytes or more as base64; remove it, and a new key and new tokens are made",
        path = .0.display()
    )]
    Key(PathBuf),
    /// No certificate can be had.
    #[error("{0}")]
    Certificate(String),
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A configuration file has another form than the one it was written with.
    #[error(
        "{path} has no line for {key}; remove the file to have it written anew, or add the line {key}: {hint}",
        path = path.display()
    )]
    NoLine {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What should be there.
        hint: &'static str,
    },
}

/// What a client or an exporter needs to find and trust the lab, and to be let in.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// host:port.
    pub endpoint: &'a str,
    /// The certificate in PEM.
    pub certificate: &'a str,
    /// The holder's token.
    pub token: &'a str,
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens the directory, or makes one that only its owner can read.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        make(path)?;
        // An absolute path can be copied to another terminal.
        let path = fs::canonicalize(path).map_err(failed("read", path))?;
        let folder = Self { path };
        make(&folder.path.join("clients"))?;
        make(&folder.path.join("exporters"))?;
        // There are secrets in here.
        folder.once(".gitignore", "*\n")?;
        Ok(folder)
    }

    /// Says where it is, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `lab.toml`, having written an example if there is none.
    pub fn settings(&self) -> Result<Settings, FolderError> {
        self.once("lab.toml", settings::EXAMPLE)?;
        let path = self.path.join("lab.toml");
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        Ok(Settings::parse(&text, &path)?)
    }

    /// Reads the key that tokens are signed with; it is made when there is none.
    pub fn token_key(&self) -> Result<Vec<u8>, FolderError> {
        let path = self.path.join("token.key");
        let Some(text) = read(&path)? else {
            let key = random()?;
            write(&path, &format!("{}\n", STANDARD.encode(key)))?;
            return Ok(key.to_vec());
        };
        match STANDARD.decode(text.trim()) {
            Ok(key) if key.len() >= 32 => Ok(key),
            _ => Err(FolderError::Key(path)),
        }
    }

    /// Reads the certificate for `host`; it is made when there is none, or when it will not do for long.
    pub fn certificate(&self, host: &str, now: SystemTime) -> Result<String, FolderError> {
        certificate::load_or_make(&self.path, host, now)
    }

    /// Says which configuration file is somebody's.
    pub fn config(&self, holder: &Holder) -> PathBuf {
        let folder = self.path.join(holder.kind.plural());
        folder.join(format!("{}.yaml", holder.name))
    }

    /// Reads the token in somebody's configuration file.
    pub fn token(&self, holder: &Holder) -> Option<String> {
        let text = fs::read_to_string(self.config(holder)).ok()?;
        yaml::get(&text, TOKEN.0).map(str::to_owned)
    }

    /// Writes somebody's configuration file. If there is one, only what has changed is written, and everything else
    /// stays as it is: an exporter's drivers are there.
    pub fn write_config(&self, holder: &Holder, access: Access<'_>) -> Result<(), FolderError> {
        let path = self.config(holder);
        let ca = STANDARD.encode(access.certificate);
        let Some(old) = read(&path)? else {
            return write(&path, &config(holder, access, &ca));
        };
        let text = set(&path, &old, ENDPOINT, access.endpoint)?;
        let text = set(&path, &text, CA, &ca)?;
        let text = set(&path, &text, TOKEN, access.token)?;
        if text == old {
            return Ok(());
        }
        write(&path, &text)
    }

    /// Puts a new token in somebody's configuration file.
    pub fn write_token(&self, holder: &Holder, token: &str) -> Result<(), FolderError> {
        let path = self.config(holder);
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        write(&path, &set(&path, &text, TOKEN, token)?)
    }

    /// Makes `client` the one that `jmp` takes when none is named.
    pub fn write_default(&self, client: &str) -> Result<(), FolderError> {
        let text = format!(
            "apiVersion: jumpstarter.dev/v1alpha1\nkind: UserConfig\nconfig:\n  current-client: {client:?}\n"
        );
        self.once("config.yaml", &text)
    }

    fn once(&self, name: &str, text: &str) -> Result<(), FolderError> {
        let path = self.path.join(name);
        if path.exists() {
            return Ok(());
        }
        write(&path, text)
    }
}

/// A line of a configuration file: its place, and what to say if it is not there.
type Line = (&'static [&'static str], &'static str, &'static str);

const ENDPOINT: Line = (&["endpoint"], "endpoint", "<host:port>");
const CA: Line = (&["tls", "ca"], "ca, under tls:", "<base64>");
const TOKEN: Line = (&["token"], "token", "<token>");

fn set(path: &Path, text: &str, line: Line, value: &str) -> Result<String, FolderError> {
    let (place, key, hint) = line;
    yaml::set(text, place, value).ok_or_else(|| FolderError::NoLine {
        path: path.to_owned(),
        key,
        hint,
    })
}

/// Makes the whole file. All values are plain enough that quotes make YAML strings of them.
fn config(holder: &Holder, access: Access<'_>, ca: &str) -> String {
    let (kind, rest) = match holder.kind {
        Kind::Client => ("ClientConfig", "drivers:\n  allow: []\n  unsafe: true\n"),
        Kind::Exporter => (
            "ExporterConfig",
            "export:\n  power:\n    type: jumpstarter_driver_power.driver.MockPower\n",
        ),
    };
    let Holder { name, .. } = holder;
    let Access {
        endpoint, token, ..
    } = access;
    format!(
        "# Written by jumpstarter-router lab, which keeps endpoint, tls.ca and token up to date. The rest is yours.\n\
         apiVersion: jumpstarter.dev/v1alpha1\n\
         kind: {kind}\n\
         metadata:\n  namespace: {NAMESPACE}\n  name: \"{name}\"\n\
         endpoint: \"{endpoint}\"\n\
         tls:\n  ca: \"{ca}\"\n  insecure: false\n\
         token: \"{token}\"\n\
         {rest}"
    )
}

/// Draws 32 random bytes.
pub(crate) fn random() -> Result<[u8; 32], FolderError> {
    let mut bytes = [0; 32];
    let crypto = Provider::Auto.crypto();
    let filled = crypto.secure_random.fill(&mut bytes);
    filled.map_err(|_| FolderError::Random)?;
    Ok(bytes)
}

fn make(path: &Path) -> Result<(), FolderError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(failed("create", path))
}

/// Reads a file, if it is there.
fn read(path: &Path) -> Result<Option<String>, FolderError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(failed("read", path)),
    }
}

/// Writes a file that only its owner can read. It is there as a whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), FolderError> {
    use std::io::Write as _;
    let temporary = path.with_extension("tmp");
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(failed("write", path))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |error| FolderError::File { what, path, error }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("deep/lab")).unwrap();
        (dir, folder)
    }

    const ACCESS: Access<'_> = Access {
        endpoint: "127.0.0.1:8083",
        certificate: "PEM",
        token: "a.b.c",
    };

    #[test]
    fn a_first_start_writes_everything_for_its_owner_only() {
        let (_dir, folder) = folder();
        let settings = folder.settings().unwrap();
        assert!(settings.exporters.contains_key("mock"));
        let key = folder.token_key().unwrap();
        assert_eq!(folder.token_key().unwrap(), key);
        let me = Holder::new(Kind::Client, "me");
        assert_eq!(folder.token(&me), None);
        folder.write_config(&me, ACCESS).unwrap();
        assert_eq!(folder.token(&me).unwrap(), "a.b.c");
        folder.write_default("me").unwrap();
        for name in ["token.key", "clients/me.yaml", "lab.toml", "config.yaml"] {
            let mode = folder.path().join(name).metadata().unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        }
        assert!(folder.path().join(".gitignore").exists());
    }

    #[test]
    fn what_was_written_in_a_file_stays() {
        let (_dir, folder) = folder();
        let mock = Holder::new(Kind::Exporter, "mock");
        folder.write_config(&mock, ACCESS).unwrap();
        let path = folder.config(&mock);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("MockPower"));
        let own = text.replace("power:", "my-power: # mine");
        fs::write(&path, &own).unwrap();
        let other = Access {
            endpoint: "lab:1",
            certificate: "OTHER",
            token: "d.e.f",
        };
        folder.write_config(&mock, other).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let ca = STANDARD.encode("OTHER");
        for part in ["my-power: # mine", "\"lab:1\"", "\"d.e.f\"", ca.as_str()] {
            assert!(text.contains(part), "{part}: {text}");
        }
        fs::write(&path, "kind: ExporterConfig\n").unwrap();
        let error = folder.write_config(&mock, other).unwrap_err().to_string();
        assert!(error.contains("no line for endpoint"), "{error}");
    }

    #[test]
    fn a_bad_key_is_told() {
        let (_dir, folder) = folder();
        fs::write(folder.path().join("token.key"), "short").unwrap();
        let error = folder.token_key().unwrap_err().to_string();
        assert!(error.contains("holds no key"), "{error}");
    }

    #[test]
    fn a_file_in_the_way_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab");
        fs::write(&path, "").unwrap();
        let error = Folder::open(&path).unwrap_err().to_string();
        assert!(error.contains("cannot create"), "{error}");
    }
}
