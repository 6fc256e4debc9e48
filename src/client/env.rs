//! What the environment says of a router: where it is, whom to believe, and the token.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
};

use thiserror::Error;

use super::{
    connect::{ConnectError, Connector},
    token::Token,
    trust::{CertificatesError, Identity, Trust},
};

const ENDPOINT: &str = "JUMPSTARTER_ROUTER_ENDPOINT";
const CA: &str = "JUMPSTARTER_ROUTER_CA";
const INSECURE: &str = "JUMPSTARTER_ROUTER_INSECURE";
const PLAINTEXT: &str = "JUMPSTARTER_ROUTER_PLAINTEXT";
const CLIENT_CERTIFICATE: &str = "JUMPSTARTER_ROUTER_CLIENT_CERTIFICATE";
const CLIENT_KEY: &str = "JUMPSTARTER_ROUTER_CLIENT_KEY";
const TOKEN: &str = "JUMPSTARTER_ROUTER_TOKEN";
const TOKEN_FILE: &str = "JUMPSTARTER_ROUTER_TOKEN_FILE";

/// Why the environment is of no use.
#[derive(Debug, Error)]
pub enum EnvError {
    /// A variable that is needed is not set, or empty.
    #[error("{0} is not set; expected {1}")]
    Missing(&'static str, &'static str),
    /// A variable holds something that cannot be read.
    #[error("{variable} is {found:?}; expected {expected}")]
    Value {
        /// Its name.
        variable: &'static str,
        /// What it holds.
        found: OsString,
        /// What it should hold.
        expected: &'static str,
    },
    /// The certificates to trust cannot be used.
    #[error("{CA}: {0}")]
    Certificates(CertificatesError),
    /// The token's file cannot be read.
    #[error("{TOKEN_FILE}: {0}")]
    Token(io::Error),
    /// No connection can be made so.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl Connector {
    /// Finds the router by environment variables, whose names begin with `JUMPSTARTER_ROUTER_`:
    ///
    /// | name | what it holds |
    /// |---|---|
    /// | `ENDPOINT` | host:port of the router |
    /// | `CA` | PEM file with the certificates to trust, instead of those the system trusts |
    /// | `INSECURE` | `true`: trust any certificate |
    /// | `PLAINTEXT` | `true`: no TLS |
    /// | `CLIENT_CERTIFICATE`, `CLIENT_KEY` | PEM files to show to a router that asks for a certificate |
    ///
    /// Only the first is needed.
    pub fn from_env() -> Result<Self, EnvError> {
        connector(set)
    }
}

impl Token {
    /// Takes the token from `JUMPSTARTER_ROUTER_TOKEN`, or from the file that `JUMPSTARTER_ROUTER_TOKEN_FILE` names.
    pub fn from_env() -> Result<Self, EnvError> {
        token(set)
    }
}

/// The variable's value, unless it is empty.
fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn connector(set: impl Fn(&str) -> Option<OsString>) -> Result<Connector, EnvError> {
    let needed = |name, what| set(name).ok_or(EnvError::Missing(name, what));
    let endpoint = text(ENDPOINT, needed(ENDPOINT, "host:port of the router")?)?;
    let trust = if switch(PLAINTEXT, set(PLAINTEXT))? {
        Trust::Plaintext
    } else if switch(INSECURE, set(INSECURE))? {
        Trust::Insecure
    } else {
        match set(CA) {
            Some(file) => Trust::from_pem_file(file).map_err(EnvError::Certificates)?,
            None => Trust::System,
        }
    };
    let identity = match set(CLIENT_CERTIFICATE) {
        Some(certificate) => {
            let key = needed(CLIENT_KEY, "a PEM file with the certificate's private key")?;
            Some(Identity::from_files(certificate, key)?)
        }
        None => None,
    };
    Ok(Connector::with_identity(&endpoint, trust, identity)?)
}

fn token(set: impl Fn(&str) -> Option<OsString>) -> Result<Token, EnvError> {
    match (set(TOKEN), set(TOKEN_FILE)) {
        (Some(token), _) => match token.to_str() {
            Some(token) => Ok(Token::new(token)),
            // What it holds is a secret.
            None => Err(EnvError::Missing(TOKEN, "a token, which is plain text")),
        },
        (None, Some(file)) => Token::from_file(file).map_err(EnvError::Token),
        (None, None) => Err(EnvError::Missing(
            TOKEN,
            "a token, or a file with it in JUMPSTARTER_ROUTER_TOKEN_FILE",
        )),
    }
}

fn text(variable: &'static str, value: OsString) -> Result<String, EnvError> {
    value.into_string().map_err(|found| EnvError::Value {
        variable,
        found,
        expected: "plain text",
    })
}

fn switch(variable: &'static str, value: Option<OsString>) -> Result<bool, EnvError> {
    match value.as_deref().map(OsStr::to_str) {
        None | Some(Some("false")) => Ok(false),
        Some(Some("true")) => Ok(true),
        Some(_) => Err(EnvError::Value {
            variable,
            found: value.unwrap_or_default(),
            expected: "true or false",
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn find(variables: &[(&str, &str)], name: &str) -> Option<OsString> {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn a_router_is_found() {
        let connector = |variables: &[_]| connector(|name| find(variables, name));
        let endpoint = (ENDPOINT, "router.example.com:443");
        let found = connector(&[endpoint, (PLAINTEXT, "true"), (CA, "/nowhere")]).unwrap();
        assert_eq!(found.endpoint(), endpoint.1);
        assert!(!found.is_tls());
        assert!(connector(&[endpoint, (INSECURE, "true")]).unwrap().is_tls());

        for (variables, said) in [
            (&[][..], "JUMPSTARTER_ROUTER_ENDPOINT is not set"),
            (&[endpoint, (INSECURE, "yes")], "expected true or false"),
            (
                &[endpoint, (CA, "/nowhere/ca.pem")],
                "JUMPSTARTER_ROUTER_CA: /nowhere/ca.pem: ",
            ),
            (
                &[endpoint, (PLAINTEXT, "true"), (CLIENT_CERTIFICATE, "c")],
                "JUMPSTARTER_ROUTER_CLIENT_KEY is not set",
            ),
            (&[(ENDPOINT, "router"), (PLAINTEXT, "true")], "host:port"),
        ] {
            let error = connector(variables).unwrap_err().to_string();
            assert!(error.contains(said), "{said:?} in {error:?}");
        }
    }

    #[test]
    fn a_token_is_found() {
        let token = |variables: &[_]| token(|name| find(variables, name));
        let given = token(&[(TOKEN, "sesame"), (TOKEN_FILE, "/nowhere")]);
        assert_eq!(given.unwrap().as_str(), "sesame");
        let error = token(&[(TOKEN_FILE, "/nowhere")]).unwrap_err().to_string();
        assert!(error.starts_with("JUMPSTARTER_ROUTER_TOKEN_FILE: cannot read"));
        let error = token(&[]).unwrap_err().to_string();
        assert!(error.starts_with("JUMPSTARTER_ROUTER_TOKEN is not set"));
    }
}
