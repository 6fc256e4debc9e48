//! A directory of signing keys: which of its files are keys.
//!
//! Whatever counts as a key can sign tokens, so only a name that was meant for a key makes one. What editors, package
//! managers and people leave beside keys has a point, a tilde or a capital letter in its name: `2025-01.bak`,
//! `2025-01~`, `#2025-01#`, `2025-01.retired`, `README`.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::files::{KeyFile, path_setting};
use super::list::Element;
use super::problem::printable;
use super::setting::{Setting, quoted};

const WRONG_NAME: &str = "the name of one consists of lower-case letters, digits, \"-\" and \"_\", and may end in \
                          \".key\"";

/// So many files are named that are no keys. A wrong directory may hold any number of them.
const MOST_REMARKS: usize = 20;

/// A directory in which files with certain names hold one signing key each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyDirectory {
    /// Where the directory is.
    pub path: PathBuf,
    /// Its keys when the configuration was loaded, by name.
    pub files: Vec<KeyFile>,
    /// What else was there, by name, but for hidden files, and why it is no key.
    others: Vec<(PathBuf, &'static str)>,
}

impl KeyDirectory {
    fn unread(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// Lists what is there. Hidden files are passed over without a word: Kubernetes keeps its own there, and a file can
    /// be written under such a name and renamed when it is whole.
    pub(super) fn list(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if path.is_dir() {
                self.others.push((path, "it is a directory"));
            } else if is_name_of_a_key(name.as_encoded_bytes()) {
                self.files.push(KeyFile::unread(path));
            } else {
                self.others.push((path, WRONG_NAME));
            }
        }
        self.files.sort_by(|one, other| one.path.cmp(&other.path));
        self.others.sort();
        Ok(())
    }

    /// Says of what else was there why it does not count.
    pub(super) fn remarks(&self) -> Vec<String> {
        let remark = |(path, why): &(PathBuf, _)| {
            let path = printable(&path.display().to_string());
            format!("{path} is not taken for a key; {why}")
        };
        let shown = self.others.iter().take(MOST_REMARKS);
        let mut remarks: Vec<_> = shown.map(remark).collect();
        if self.others.len() > MOST_REMARKS {
            let more = self.others.len() - MOST_REMARKS;
            remarks.push(format!("nor are {more} more"));
        }
        remarks
    }
}

path_setting!(
    KeyDirectory,
    "the path of a directory",
    KeyDirectory::unread,
    path
);

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
