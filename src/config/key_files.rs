//! Reads the files that hold keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::load::Loading;
use super::problem::printable;
use super::types::Secret;

/// No key is this long; the limit keeps a wrong path, such as a device, from filling memory.
const MOST: u64 = 64 * 1024;

/// Reads every file of `auth.key_files` into the configuration.
pub(super) fn read(loading: &mut Loading) {
    let mut files = std::mem::take(&mut loading.config.auth.key_files);
    for file in &mut files {
        let outcome = read_key(&file.path);
        let what = match outcome {
            Ok(key) if key.is_empty() => "is empty; put the key into it".to_owned(),
            Ok(key) => {
                file.key = Secret::new(key);
                continue;
            }
            Err(error) => format!(
                "cannot be read: {error}; check that it exists and that the router may read it"
            ),
        };
        let path = printable(&file.path.display().to_string());
        let origin = loading.origins.of("auth.key_files").clone();
        loading.problem(origin, Some("auth.key_files"), format!("{path} {what}"));
    }
    loading.config.auth.key_files = files;
}

pub(super) fn read_key(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = Vec::new();
    File::open(path)?.take(MOST + 1).read_to_end(&mut key)?;
    if key.len() as u64 > MOST {
        return Err(io::Error::other("longer than 64KiB, so it is no key"));
    }
    if key.ends_with(b"\n") {
        key.pop();
        if key.ends_with(b"\r") {
            key.pop();
        }
    }
    Ok(key)
}
