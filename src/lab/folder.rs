//! The lab's directory: `lab.toml`, keys and certificate, and configuration files that stock clients and exporters use
//! as they are. It has the layout of Jumpstarter's own configuration directory, so that with `JMP_CLIENT_CONFIG_HOME`
//! set to it, `jmp` finds everything by name.

mod certificate;
mod draft;
mod yaml;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

pub(crate) use self::draft::Draft;
use super::{settings::SettingsError, tokens::Holder};
use crate::tls::provider::Provider;

/// What is wrong with the directory.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A file or directory cannot be read or written.
    #[error("cannot {what} {path}: {error}", path = path.display())]
    File {
        /// "read", "write", "create" or "find".
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
pub(crate) struct Access<'a> {
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
    /// Says where it is, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
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

    /// Puts a new token in somebody's configuration file.
    pub fn write_token(&self, holder: &Holder, token: &str) -> Result<(), FolderError> {
        let path = self.config(holder);
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        write(&path, &set(&path, &text, TOKEN, token)?)
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
