//! Tests of the parts; `tests/it/config.rs` tests the whole.
#![allow(clippy::unwrap_used)]

mod admin;
mod cluster;
mod file;
mod operator;
mod sources;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

const KEY: &str = "hush-0123456789abcdef0123456789ab";

fn env(variables: &[(&str, &str)]) -> Vec<(String, OsString)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), OsString::from(value));
    variables.iter().map(owned).collect()
}

fn write(dir: &tempfile::TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}
