//! A directory of signing keys: which of its files are keys.
//!
//! Whatever counts as a key can sign tokens, so only a name that was meant for a key makes one. What editors, package
//! managers and people leave beside keys has a point, a tilde or a capital letter in its name: `2025-01.bak`,
//! `2025-01~`, `#2025-01#`, `2025-01.retired`, `README`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{KeyFile, path_setting, problem, read_keys};
use super::loading::Loading;
use super::problem::printable;
use super::setting::{Setting, quoted};

const SETTING: &str = "auth.key_directory";

/// The wrong directory may hold any number of files.
const MOST_REMARKS: usize = 20;

/// A directory in which files with certain names hold one signing key each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDirectory {
    /// Where the directory is.
    pub path: PathBuf,
    /// Its keys when the configuration was loaded, by name.
    pub files: Vec<KeyFile>,
    /// What else was there, by name, but for hidden files.
    pub others: Vec<Other>,
}

/// Something in the directory that is no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Where it is.
    pub path: PathBuf,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Directory,
    Name,
}

impl KeyDirectory {
    /// Says of what else was there why it does not count.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<_> = self
            .others
            .iter()
            .take(MOST_REMARKS)
            .map(Other::remark)
            .collect();
        if let Some(more) = self
            .others
            .len()
            .checked_sub(MOST_REMARKS)
            .filter(|n| *n > 0)
        {
            remarks.push(format!("nor are {more} more"));
        }
        remarks
    }
}

impl Other {
    fn remark(&self) -> String {
        let path = printable(&self.path.display().to_string());
        let why = match self.why {
            Why::Directory => "it is a directory",
            Why::Name => {
                "the name of one consists of lower-case letters, digits, \"-\" and \"_\", and may end in \".key\""
            }
        };
        format!("{path} is not taken for a key; {why}")
    }
}

path_setting!(KeyDirectory, "the path of a directory", |text| {
    KeyDirectory {
        path: text.into(),
        files: Vec::new(),
        others: Vec::new(),
    }
});

/// Reads the keys of the directory that is configured, if one is.
pub(super) fn read(loading: &mut Loading) {
    let Some(mut directory) = loading.config.auth.key_directory.take() else {
        return;
    };
    if let Err(error) = list(&mut directory) {
        let path = printable(&directory.path.display().to_string());
        let text = format!("{path} cannot be listed: {error}; name a directory of key files");
        problem(SETTING, text, loading);
    }
    read_keys(&mut directory.files, SETTING, loading);
    let remarks = directory.remarks().into_iter();
    loading
        .warnings
        .extend(remarks.map(|remark| format!("{SETTING}: {remark}")));
    loading.config.auth.key_directory = Some(directory);
}

/// Hidden files are passed over without a word: Kubernetes keeps its own there, and a file can be written under such a
/// name and renamed when it is whole.
fn list(directory: &mut KeyDirectory) -> io::Result<()> {
    for entry in fs::read_dir(&directory.path)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let other = |why| Other {
            path: path.clone(),
            why,
        };
        if path.is_dir() {
            directory.others.push(other(Why::Directory));
        } else if is_name_of_a_key(name.as_encoded_bytes()) {
            directory.files.push(KeyFile::unread(path));
        } else {
            directory.others.push(other(Why::Name));
        }
    }
    let by_path = |one: &Path, other: &Path| one.cmp(other);
    directory.files.sort_by(|a, b| by_path(&a.path, &b.path));
    directory.others.sort_by(|a, b| by_path(&a.path, &b.path));
    Ok(())
}

fn is_name_of_a_key(name: &[u8]) -> bool {
    let stem = name.strip_suffix(b".key").unwrap_or(name);
    let good = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    !stem.is_empty() && stem.iter().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_are_told_from_what_lies_about() {
        for name in [
            "2026-11",
            "key",
            "current",
            "router_key",
            "0",
            "router.key",
            "2025-01.key",
        ] {
            assert!(is_name_of_a_key(name.as_bytes()), "{name}");
        }
        for name in [
            "2025-01~",
            "#2025-01#",
            "2025-01.bak",
            "2025-01.retired",
            "2025-01.old",
            "2025-01.key.bak",
            "2025-01.key~",
            "2025-01.swp",
            "2025-01.dpkg-old",
            "2025-01.1",
            "2025-01.md",
            "README",
            "README.md",
            "Makefile",
            "copy of key",
            ".key",
            ".2025-01.key",
            "schl\u{fc}ssel",
        ] {
            assert!(!is_name_of_a_key(name.as_bytes()), "{name}");
        }
    }
}
