//! The state file: leases, kept in an embedded database so that a later run of the lab knows them.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
};

use redb::{Database, ReadableTable as _, TableDefinition};
use thiserror::Error;

use super::leases::Lease;

/// Leases by name, as JSON.
const LEASES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("leases");

/// What the file is.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// Grows when an older lab would not understand the file.
const FORMAT: u64 = 1;

/// An error of the database or of what is in it, which is only shown.
type Failure = Box<dyn std::error::Error>;

/// Why there is no state.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has the file.
    #[error("{path} is in use; does another lab run in this directory?", path = .0.display())]
    InUse(PathBuf),
    /// The file cannot be created or opened.
    #[error("cannot open {path}: {error}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is none of ours, or damaged.
    #[error(
        "cannot read {path}: {why}; move it away and the lab starts without its leases, tokens stay",
        path = path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Leases cannot be written.
    #[error("cannot write {path}: {why}; is the disk full?", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// An open state file. It is locked against other processes.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    database: Database,
}

impl Store {
    /// Opens the file, or makes a new one that only its owner can read.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = private(path).map_err(|error| StoreError::Open {
            path: path.to_owned(),
            error,
        })?;
        let opened = redb::Builder::new()
            // A lab has few leases.
            .set_cache_size(4 << 20)
            .create_file(file);
        let database = opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
            other => unreadable(path, &other),
        })?;
        let store = Self {
            path: path.to_owned(),
            database,
        };
        let format = store.format().map_err(|error| unreadable(path, &error))?;
        if format != FORMAT {
            let why = format!("it has format {format}, expected {FORMAT}");
            return Err(unreadable(path, &why));
        }
        Ok(store)
    }

    fn format(&self) -> Result<u64, Failure> {
        let transaction = self.database.begin_write()?;
        let format = {
            transaction.open_table(LEASES)?;
            let mut about = transaction.open_table(ABOUT)?;
            let found = about.get("format")?.map(|format| format.value());
            match found {
                Some(format) => format,
                None => {
                    about.insert("format", FORMAT)?;
                    FORMAT
                }
            }
        };
        transaction.commit()?;
        Ok(format)
    }

    /// Reads all leases.
    pub(crate) fn load(&self) -> Result<Vec<Lease>, StoreError> {
        self.read().map_err(|error| unreadable(&self.path, &error))
    }

    fn read(&self) -> Result<Vec<Lease>, Failure> {
        let mut leases = Vec::new();
        let transaction = self.database.begin_read()?;
        for entry in transaction.open_table(LEASES)?.iter()? {
            let (name, json) = entry?;
            let lease = serde_json::from_slice(json.value())
                .map_err(|error| format!("lease {:?}: {error}", name.value()))?;
            leases.push(lease);
        }
        Ok(leases)
    }

    /// Writes what has changed, all of it or nothing, and returns once it is on the disk. `None`: the lease goes.
    pub(crate) fn save(&self, changes: &[(String, Option<Lease>)]) -> Result<(), StoreError> {
        self.write(changes).map_err(|error| StoreError::Write {
            path: self.path.clone(),
            why: error.to_string(),
        })
    }

    fn write(&self, changes: &[(String, Option<Lease>)]) -> Result<(), Failure> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(LEASES)?;
            for (name, lease) in changes {
                match lease {
                    Some(lease) => {
                        let json = serde_json::to_vec(lease)?;
                        table.insert(name.as_str(), json.as_slice())?;
                    }
                    None => {
                        table.remove(name.as_str())?;
                    }
                }
            }
        }
        Ok(transaction.commit()?)
    }
}

fn private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unreadable {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;
    use crate::lab::{
        leases::{End, Phase, Terms},
        selector::Selector,
    };

    fn lease(name: &str, phase: Phase) -> Lease {
        Lease {
            name: name.to_owned(),
            client: "me".to_owned(),
            terms: Terms {
                selector: Selector::parse("board in (x, y),!z").unwrap(),
                duration: Duration::new(60, 1),
                begin: Some(Duration::new(1_800_000_000, 999_999_999)),
                tags: [("a".to_owned(), "b".to_owned())].into(),
                ..Terms::default()
            },
            order: 7,
            created: Duration::from_secs(1),
            changed: Duration::from_secs(2),
            phase,
            released: false,
        }
    }

    #[test]
    fn what_was_saved_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let held = Phase::Held {
            exporter: "x".to_owned(),
            since: Duration::from_secs(3),
        };
        let ended = Phase::Ended {
            held: None,
            at: Duration::from_secs(4),
            why: End::Expired,
        };
        let [a, b, c] = [
            lease("a", held),
            lease("b", ended),
            lease("c", Phase::Waiting),
        ];
        let change = |lease: &Lease| (lease.name.clone(), Some(lease.clone()));
        {
            let store = Store::open(&path).unwrap();
            assert!(store.load().unwrap().is_empty());
            store.save(&[change(&a), change(&b), change(&c)]).unwrap();
            store.save(&[("b".to_owned(), None)]).unwrap();
            let second = Store::open(&path).unwrap_err();
            assert!(second.to_string().contains("another lab"), "{second}");
        }
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.load().unwrap(), [a, c]);
    }

    #[test]
    fn other_files_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let text = "not a database at all, but long enough to be looked at. ".repeat(100);
        std::fs::write(&path, &text).unwrap();
        let error = Store::open(&path).unwrap_err().to_string();
        assert!(error.contains("move it away"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

        let missing = folder.path().join("missing/state");
        let error = Store::open(&missing).unwrap_err().to_string();
        assert!(error.contains("cannot open"), "{error}");

        let newer = folder.path().join("newer");
        let store = Store::open(&newer).unwrap();
        let transaction = store.database.begin_write().unwrap();
        {
            let mut about = transaction.open_table(ABOUT).unwrap();
            about.insert("format", FORMAT + 1).unwrap();
        }
        transaction.commit().unwrap();
        drop(store);
        let error = Store::open(&newer).unwrap_err().to_string();
        assert!(error.contains("format 2, expected 1"), "{error}");
    }
}
