//! Files that keys name. What they hold is read along with the configuration and is part of its value, so that two
//! configurations are equal only if nothing has changed in any file either.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Config;
use super::list::Element;
use super::loading::Loading;
use super::problem::printable;
use super::setting::{Setting, quoted};
use super::types::Secret;
use crate::auth::without_newline;

/// No key is this long; the limit keeps a wrong path from filling memory.
const MOST_OF_A_KEY: u64 = 64 * 1024;

/// No file in PEM is this long: certificate chains have a few KiB.
const MOST_OF_PEM: u64 = 1024 * 1024;

/// A file holding one signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Where the file is.
    pub path: PathBuf,
    /// What it held when the configuration was loaded.
    pub key: Secret,
}

impl KeyFile {
    pub(super) fn unread(path: impl Into<PathBuf>) -> Self {
        let (path, key) = (path.into(), Secret::default());
        Self { path, key }
    }
}

/// A file in PEM. Not being able to read it is part of the value: only a router that needs it has to refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// Where the file is.
    pub path: PathBuf,
    /// What it held when the configuration was loaded, or why it could not be read.
    pub text: Result<Secret, String>,
}

impl PemFile {
    fn unread(path: impl Into<PathBuf>) -> Self {
        let (path, text) = (path.into(), Ok(Secret::default()));
        Self { path, text }
    }

    /// Reads the file.
    pub fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = read(&path, MOST_OF_PEM).map(Secret::new);
        let text = text.map_err(|error| error.to_string());
        Self { path, text }
    }
}

/// Makes a value of what is written as a path.
macro_rules! path_setting {
    ($type:ty, $expects:literal, $from:expr $(, $path:ident)?) => {
        impl Setting for $type {
            const EXPECTS: &'static str = $expects;

            fn from_text(text: &str) -> Result<Self, String> {
                Ok($from(text))
            }

            fn show(&self) -> Option<String> {
                Some(quoted(&self$(.$path)?.to_string_lossy()))
            }
        }

        impl Element for $type {}
    };
}

pub(super) use path_setting;

path_setting!(PathBuf, "a path", PathBuf::from);
path_setting!(KeyFile, "a path", KeyFile::unread, path);
path_setting!(PemFile, "a path", PemFile::unread, path);

/// Reads every file that the configuration names.
pub(super) fn read_all(loading: &mut Loading) {
    let Config { tls, drain, .. } = &mut loading.config;
    let files = [
        &mut tls.certificate,
        &mut tls.key,
        &mut tls.client_ca,
        &mut drain.forward_ca,
    ];
    for file in files.into_iter().flatten() {
        *file = PemFile::read(std::mem::take(&mut file.path));
    }
    let mut files = std::mem::take(&mut loading.config.auth.key_files);
    read_keys(&mut files, "auth.key_files", loading);
    loading.config.auth.key_files = files;
}

pub(super) fn read_keys(files: &mut [KeyFile], setting: &'static str, loading: &mut Loading) {
    for file in files {
        let what = match read_key(&file.path) {
            Ok(key) if without_newline(&key).is_empty() => {
                "is empty; put the key into it".to_owned()
            }
            Ok(key) => {
                file.key = Secret::new(key);
                continue;
            }
            Err(error) => format!(
                "cannot be read: {error}; check that it exists and that the router may read it"
            ),
        };
        let path = printable(&file.path.display().to_string());
        loading.problem_at(setting, format!("{path} {what}"));
    }
}

/// Reads the file of a key.
pub(super) fn read_key(path: &Path) -> io::Result<Vec<u8>> {
    read(path, MOST_OF_A_KEY)
}

/// Reads a file that holds at most `most` bytes.
///
/// Only regular files: reading anything else might wait for ever, and could not be done again to look for changes.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("longer than {} KiB", most / 1024)));
    }
    Ok(bytes)
}
