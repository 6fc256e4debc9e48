//! What can be wrong with a configuration file of Jumpstarter.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a configuration file is of no use.
#[derive(Debug, Error)]
pub enum ControllerConfigError {
    /// It cannot be read.
    #[error("cannot read {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// It is not YAML, or not of the form such files have.
    #[error("{path} is no configuration file of Jumpstarter: {error}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        error: String,
    },
    /// Something is missing or wrong.
    #[error("{path}: {what}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected, and what was found.
        what: String,
    },
    /// A client is named in the environment, and something is missing or wrong there.
    #[error(
        "the client is the one that JMP_NAMESPACE and JMP_NAME name, and {0}; set it, or name another with --client NAME or \
         --client-config FILE"
    )]
    Environment(String),
    /// There is no such file where Jumpstarter keeps them.
    #[error("there is no {role} named {name:?}: looked for {}; name a file with --{role}-config", tried(.places))]
    Unknown {
        /// `client` or `exporter`.
        role: &'static str,
        /// What was asked for.
        name: String,
        /// Where it could be.
        places: Vec<PathBuf>,
    },
    /// A name with a `/` in it, or none.
    #[error("{0:?} is no name of a configuration; for a file use --{1}-config")]
    Name(String, &'static str),
    /// No name was given, and none is set as the current one.
    #[error("no {role} was named, and {why}; use --{role} NAME or --{role}-config FILE{}", others(.role))]
    NoneNamed {
        /// `client` or `exporter`.
        role: &'static str,
        /// Why there is no current one.
        why: String,
    },
}

/// What also names a client.
fn others(role: &str) -> &'static str {
    match role {
        "client" => ", or set JMP_NAMESPACE, JMP_NAME, JMP_ENDPOINT and JMP_TOKEN",
        _ => "",
    }
}

fn tried(places: &[PathBuf]) -> String {
    let places: Vec<_> = places
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    places.join(" and ")
}
