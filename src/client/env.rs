//! Finds router and token by what the environment says.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
};

use thiserror::Error;

use super::{
    connect::{ConnectError, ConnectOptions, Connector},
    proxy::Proxies,
    token::Token,
    trust::{CertificatesError, Trust},
};

const ENDPOINT: &str = "JUMPSTARTER_ROUTER_ENDPOINT";
const TRUST: &str = "JUMPSTARTER_ROUTER_TRUST";
const TOKEN: &str = "JUMPSTARTER_ROUTER_TOKEN";
const TOKEN_FILE: &str = "JUMPSTARTER_ROUTER_TOKEN_FILE";
const SERVER_NAME: &str = "JUMPSTARTER_ROUTER_SERVER_NAME";
pub(crate) const POST_QUANTUM: &str = "JUMPSTARTER_ROUTER_POST_QUANTUM";

/// Says why the environment is of no use.
#[derive(Debug, Error)]
pub enum EnvError {
    /// The variable for the router is not set, or empty.
    #[error("{ENDPOINT} is not set; expected host:port of the router")]
    NoEndpoint,
    /// Neither of the variables for the token is set.
    #[error("{TOKEN} is not set; expected a token, or a file with it in {TOKEN_FILE}")]
    NoToken,
    /// The certificates to trust cannot be used.
    #[error("{TRUST}: {0}; expected a file with certificates, insecure, or plaintext")]
    Trust(CertificatesError),
    /// The token's file cannot be read.
    #[error("{TOKEN_FILE}: {0}")]
    Token(io::Error),
    /// No connection can be made so.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl Connector {
    /// Finds the router: `JUMPSTARTER_ROUTER_ENDPOINT` is its host:port. `JUMPSTARTER_ROUTER_TRUST` names a PEM file with
    /// the certificates to trust; it may also be `insecure`, for any certificate, or `plaintext`. Without it those are
    /// trusted that the system trusts. `JUMPSTARTER_ROUTER_SERVER_NAME` is what the certificate must be for if not the
    /// endpoint's host, and `JUMPSTARTER_ROUTER_POST_QUANTUM=off` makes the first message of TLS a short one. A proxy is
    /// used as [`Proxies::from_env`] says.
    pub fn from_env() -> Result<Self, EnvError> {
        connector(|name| env::var_os(name))
    }
}

impl Token {
    /// Takes the token from `JUMPSTARTER_ROUTER_TOKEN`, or from the file that `JUMPSTARTER_ROUTER_TOKEN_FILE` names.
    pub fn from_env() -> Result<Self, EnvError> {
        token(|name| env::var_os(name))
    }
}

/// Tells whether this is the value of a variable that turns something off.
pub(crate) fn is_off(value: &OsStr) -> bool {
    ["off", "0", "no", "false"]
        .iter()
        .any(|off| value.eq_ignore_ascii_case(off))
}

fn connector(environment: impl Fn(&str) -> Option<OsString>) -> Result<Connector, EnvError> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    let endpoint = variable(ENDPOINT).ok_or(EnvError::NoEndpoint)?;
    let trust = match variable(TRUST) {
        None => Trust::System,
        Some(kind) if kind == "insecure" => Trust::Insecure,
        Some(kind) if kind == "plaintext" => Trust::Plaintext,
        Some(file) => Trust::from_pem_file(file).map_err(EnvError::Trust)?,
    };
    let options = ConnectOptions {
        server_name: variable(SERVER_NAME).map(|name| name.to_string_lossy().into_owned()),
        proxies: Proxies::find(&environment),
        post_quantum: !variable(POST_QUANTUM).is_some_and(|value| is_off(&value)),
        ..ConnectOptions::default()
    };
    let endpoint = endpoint.to_string_lossy();
    Ok(Connector::with_options(&endpoint, trust, options)?)
}

fn token(environment: impl Fn(&str) -> Option<OsString>) -> Result<Token, EnvError> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    if let Some(token) = variable(TOKEN) {
        return Ok(Token::new(token.to_string_lossy()));
    }
    let file = variable(TOKEN_FILE).ok_or(EnvError::NoToken)?;
    Token::from_file(file).map_err(EnvError::Token)
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
        let found = connector(&[endpoint, (TRUST, "plaintext")]).unwrap();
        assert_eq!(found.endpoint(), endpoint.1);
        assert!(!found.is_tls());
        assert!(
            connector(&[endpoint, (TRUST, "insecure")])
                .unwrap()
                .is_tls()
        );

        let named = [
            endpoint,
            (TRUST, "insecure"),
            (SERVER_NAME, "other.test"),
            ("https_proxy", "http://p.test:1"),
        ];
        let named = connector(&named).unwrap();
        assert_eq!(named.authority(), "other.test");
        assert_eq!(named.proxy().unwrap().address(), "p.test:1");

        for (variables, said) in [
            (&[][..], "JUMPSTARTER_ROUTER_ENDPOINT is not set"),
            (
                &[endpoint, (TRUST, "/nowhere/ca.pem")],
                "JUMPSTARTER_ROUTER_TRUST: /nowhere/ca.pem: ",
            ),
            (&[(ENDPOINT, "router"), (TRUST, "plaintext")], "host:port"),
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
