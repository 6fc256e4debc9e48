//! Asks a router's admin API, for `top` and `streams`.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header, uri::Scheme};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::time::timeout;

use super::{exit::Failure, http::exchange, variable_os};
use crate::{
    admin::api::{status::Status, streams::Listing},
    common::{address, text::chain},
    config::Config,
};

const ADDRESS_ENV: &str = "JUMPSTARTER_ROUTER_LISTEN_ADMIN_ADDRESS";
const TOKEN_ENV: &str = "JUMPSTARTER_ROUTER_ADMIN_TOKEN";
const TOKEN_FILE_ENV: &str = "JUMPSTARTER_ROUTER_ADMIN_TOKEN_FILE";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// No answer is longer, bytes: 20,000 streams make some 10 MB.
const MOST: usize = 256 * 1024 * 1024;

/// Says why the router could not be asked.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The URL is not understood.
    #[error(
        "--admin {0:?}: expected http://host:port; for a router behind TLS use a tunnel, such as kubectl port-forward"
    )]
    Url(String),
    /// The file with the token cannot be read.
    #[error("{0}: {1}")]
    TokenFile(PathBuf, io::Error),
    /// The token does not fit a header.
    #[error("the admin token holds characters that no token has")]
    Token,
    /// There is no answer.
    #[error("{0}: {1}; is the router running, and is listen.admin_address there?")]
    Unreachable(String, String),
    /// The answer is an error.
    #[error("the router answered {status}: {text}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// What it said.
        text: String,
    },
    /// The answer is not what this version expects.
    #[error("the answer is not understood: {0}; is that another version, or no router?")]
    Unknown(serde_json::Error),
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Self::broken(error)
    }
}

/// Say where the admin API is, and who asks.
#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// Where the router's admin API is
    #[arg(
        long,
        value_name = "URL",
        help = "Where the router's admin API is [default: the port of JUMPSTARTER_ROUTER_LISTEN_ADMIN_ADDRESS, \
                or http://127.0.0.1:8082]"
    )]
    pub admin: Option<String>,
    /// File with the admin token [env: JUMPSTARTER_ROUTER_ADMIN_TOKEN_FILE, or the token itself in
    /// JUMPSTARTER_ROUTER_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl AdminArgs {
    /// Makes a client. What the options leave open is taken from the variables that also configure the router.
    pub fn client(&self, env: &[(String, OsString)]) -> Result<Client, AdminError> {
        let variable = |wanted: &str| variable_os(wanted, env);
        let default = || default_url(variable(ADDRESS_ENV).and_then(OsStr::to_str));
        let given = self.admin.as_ref();
        let url = given.map(|url| address::host_port(url).unwrap_or_else(|_| url.clone()));
        let url = url.unwrap_or_else(default);
        let uri = url.parse().map_err(|_| AdminError::Url(url.clone()))?;
        let authority = authority(&uri).ok_or(AdminError::Url(url))?;
        let named = || variable(TOKEN_FILE_ENV).map(PathBuf::from);
        let token = match self.token_file.clone().or_else(named) {
            Some(file) => match std::fs::read_to_string(&file) {
                Ok(token) => Some(token),
                Err(error) => return Err(AdminError::TokenFile(file, error)),
            },
            None => variable(TOKEN_ENV).map(|token| token.to_str().unwrap_or_default().to_owned()),
        };
        let bearer = |token: String| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim_end()))
                .map_err(|_| AdminError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        };
        let token = token.map(bearer).transpose()?;
        Ok(Client { authority, token })
    }
}

/// Holds what was seen at one look.
#[derive(Debug, Deserialize, Serialize)]
pub struct Look {
    /// The router.
    pub status: Status,
    /// Its streams.
    pub streams: Listing,
}

/// Asks one router's admin API.
#[derive(Debug)]
pub struct Client {
    authority: String,
    token: Option<HeaderValue>,
}

impl Client {
    /// Looks at the router and the streams that `path` asks for.
    pub async fn look(&self, path: &str) -> Result<Look, AdminError> {
        Ok(Look {
            status: self.get("/api/status").await?,
            streams: self.get(path).await?,
        })
    }

    /// Gives what `path` answers.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        self.ask(Method::GET, path).await
    }

    /// Asks for something to be done.
    pub async fn post(&self, path: &str) -> Result<(), AdminError> {
        let _: serde_json::Value = self.ask(Method::POST, path).await?;
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, AdminError> {
        let unreachable = |why: String| AdminError::Unreachable(self.authority.clone(), why);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            // What changes something must be JSON, if empty.
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let (status, body) = timeout(PATIENCE, exchange(&self.authority, request, MOST))
            .await
            .map_err(|_| unreachable(format!("no answer within {PATIENCE:?}")))?
            .map_err(|error| unreachable(chain(&*error)))?;
        if !status.is_success() {
            let answer: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
            let text = answer.and_then(|answer| answer["error"].as_str().map(ToOwned::to_owned));
            let text = text.unwrap_or_else(|| "no more than that".to_owned());
            return Err(AdminError::Refused { status, text });
        }
        serde_json::from_slice(&body).map_err(AdminError::Unknown)
    }
}

/// Tells where a router with this address can be reached from its own machine.
fn default_url(address: Option<&str>) -> String {
    let usual = Config::default().listen.admin_address;
    let usual = usual.map_or_else(String::new, |address| address.to_string());
    let address = match address {
        None | Some("0") => usual,
        Some(address) => match address.parse::<std::net::SocketAddr>() {
            Ok(at) if at.ip().is_unspecified() => format!("127.0.0.1:{}", at.port()),
            Ok(at) => at.to_string(),
            // The short form for all interfaces.
            Err(_) => address::host_port(address).unwrap_or_else(|_| address.to_owned()),
        },
    };
    format!("http://{address}")
}

fn authority(uri: &Uri) -> Option<String> {
    let plain = uri.scheme().is_none_or(|scheme| *scheme == Scheme::HTTP);
    let authority = uri.authority()?;
    if !plain || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return None;
    }
    Some(match authority.port() {
        Some(_) => authority.to_string(),
        None => format!("{authority}:80"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn client(url: Option<&str>, env: &[(&str, &str)]) -> Result<Client, AdminError> {
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        let (admin, token_file) = (url.map(ToOwned::to_owned), None);
        AdminArgs { admin, token_file }.client(&env)
    }

    #[test]
    fn the_address_comes_from_the_option_or_the_routers_own_variable() {
        let at = |url, env: &[(&str, &str)]| client(url, env).unwrap().authority;
        assert_eq!(at(None, &[]), "127.0.0.1:8082");
        assert_eq!(at(None, &[(ADDRESS_ENV, ":99")]), "127.0.0.1:99");
        assert_eq!(at(None, &[(ADDRESS_ENV, "0.0.0.0:99")]), "127.0.0.1:99");
        assert_eq!(at(None, &[(ADDRESS_ENV, "[::1]:99")]), "[::1]:99");
        assert_eq!(at(Some("http://r:1/"), &[(ADDRESS_ENV, ":99")]), "r:1");
        assert_eq!(at(Some("r:1"), &[]), "r:1");
        for port in ["99", ":99"] {
            assert_eq!(at(Some(port), &[]), "127.0.0.1:99");
            assert_eq!(at(None, &[(ADDRESS_ENV, port)]), "127.0.0.1:99");
        }
        assert_eq!(at(Some("http://r"), &[]), "r:80");
        for wrong in ["https://r:1", "http://r:1/api", "", "http://"] {
            assert!(
                matches!(client(Some(wrong), &[]), Err(AdminError::Url(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_token_is_sent_as_it_is_and_never_shown() {
        let client = client(None, &[(TOKEN_ENV, "sesame")]).unwrap();
        assert_eq!(client.token.as_ref().unwrap(), "Bearer sesame");
        assert!(!format!("{client:?}").contains("sesame"));
    }
}
