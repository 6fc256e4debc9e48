//! Asks one router's admin API, and knows which process answers.

use std::{collections::BTreeSet, io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::time::timeout;

use super::{Answer, address::Address};
use crate::{
    admin::api::status::Process,
    cli::{exit::Failure, http::exchange},
    client::{ConnectError, Connector},
    common::text::{chain, joined, printable},
};

/// How long an answer may take, with all attempts to find the right process.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// No answer is longer, bytes: 20,000 streams make some 10 MB.
const MOST: usize = 256 * 1024 * 1024;

/// How often another process may answer at a shared address. Of two processes, each with half of the connections, the
/// wrong one answers so often once in four thousand million times.
const ATTEMPTS: usize = 32;

/// Names the process: in answers the one that answers, in requests the one that is meant.
pub(crate) const PROCESS_HEADER: &str = "x-router-process";

/// Says why the router could not be asked.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The address is not understood.
    #[error("--admin {0:?}: {1}")]
    Address(String, String),
    /// The file with the token cannot be read.
    #[error("{0}: {1}")]
    TokenFile(PathBuf, io::Error),
    /// The token does not fit a header.
    #[error("the admin token holds characters that no token has")]
    Token,
    /// What is to be trusted cannot be used.
    #[error("{0}")]
    Trust(String),
    /// There is no answer.
    #[error("{0}: {1}")]
    Unreachable(String, String),
    /// The answer is an error.
    #[error("the router answered {status}: {text}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// What it said.
        text: String,
    },
    /// Other processes answer at this address.
    #[error("router {wanted} does not answer at {endpoint}; {found}")]
    Elsewhere {
        /// The process that was meant.
        wanted: String,
        /// Where it was looked for.
        endpoint: String,
        /// Who answers there.
        found: String,
    },
    /// The answer is not what this version expects.
    #[error("the answer is not understood: {0}; is that another version, or no router?")]
    Unknown(serde_json::Error),
}

impl AdminError {
    /// Tells whether the router has nothing at that path: no such stream, or it is older than the path.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Self::broken(error)
    }
}

/// Which process is meant.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// Whichever answers first, and that one from then on.
    Any,
    /// The one whose name begins so.
    Like(String),
    /// The one with this name.
    Exactly(String),
}

impl Wanted {
    fn is(&self, name: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Like(start) => name.is_some_and(|name| name.starts_with(&**start)),
            Self::Exactly(wanted) => name == Some(wanted),
        }
    }
}

/// Asks one router's admin API.
#[derive(Debug)]
pub struct Client {
    pub(super) address: Address,
    pub(super) connector: Connector,
    pub(super) token: Option<HeaderValue>,
    pub(super) wanted: Wanted,
}

impl Client {
    /// Gives what `path` answers.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, AdminError> {
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        serde_json::from_slice(&answer).map_err(AdminError::Unknown)
    }

    /// Asks for something to be done.
    pub async fn post(&mut self, path: &str) -> Result<Value, AdminError> {
        let answer = self.ask(Method::POST, path, Bytes::new()).await?;
        serde_json::from_slice(&answer).map_err(AdminError::Unknown)
    }

    /// Puts a value in the place of another.
    pub async fn put(&mut self, path: &str, value: &Value) -> Result<Value, AdminError> {
        let content = value.to_string().into();
        let answer = self.ask(Method::PUT, path, content).await?;
        serde_json::from_slice(&answer).map_err(AdminError::Unknown)
    }

    /// Takes whichever process answers next.
    pub fn forget(&mut self) {
        self.wanted = Wanted::Any;
    }

    /// Asks until the process that is meant answers. It alone does what is asked: the others know from the request's header
    /// that it is not for them.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        content: Bytes,
    ) -> Result<Vec<u8>, AdminError> {
        let attempts = async {
            let mut others = BTreeSet::new();
            for _ in 0..ATTEMPTS {
                let answer = self.ask_once(method.clone(), path, content.clone()).await?;
                let name = name_in(&answer.headers);
                if !self.wanted.is(name.as_deref()) {
                    others.insert(name);
                    continue;
                }
                if let Some(name) = name {
                    self.wanted = Wanted::Exactly(name);
                }
                return body(answer);
            }
            Err(self.elsewhere(&others))
        };
        match timeout(PATIENCE, attempts).await {
            Ok(result) => result,
            Err(_) => Err(AdminError::Unreachable(
                self.address.endpoint.clone(),
                format!("no answer within {PATIENCE:?}"),
            )),
        }
    }

    async fn ask_once(
        &self,
        method: Method,
        path: &str,
        content: Bytes,
    ) -> Result<Answer, AdminError> {
        let unreachable = |why: String| AdminError::Unreachable(self.address.endpoint.clone(), why);
        let target = self.address.target(path);
        let target = target.map_err(|error| unreachable(error.to_string()))?;
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            // What changes something must be JSON, if empty.
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if let Wanted::Exactly(name) = &self.wanted {
            request = request.header(PROCESS_HEADER, name);
        }
        let io = self.connector.io().await;
        let io = io.map_err(|error| unreachable(no_connection(&error)))?;
        exchange(io, &self.address.host, request, content, MOST)
            .await
            .map_err(|error| {
                let hint = if self.address.is_https {
                    ""
                } else {
                    "; is that a router's admin address, and is it http:// and not https://?"
                };
                unreachable(format!("{}{hint}", chain(&*error)))
            })
    }

    fn elsewhere(&self, others: &BTreeSet<Option<String>>) -> AdminError {
        let (Wanted::Like(wanted) | Wanted::Exactly(wanted)) = &self.wanted else {
            unreachable!("any process will do");
        };
        let named: Vec<_> = others
            .iter()
            .flatten()
            .map(|name| printable(name))
            .collect();
        let found = if named.is_empty() {
            "who answers there does not name its process".to_owned()
        } else {
            format!("there is {}", joined(named, " and "))
        };
        AdminError::Elsewhere {
            wanted: wanted.clone(),
            endpoint: self.address.endpoint.clone(),
            found,
        }
    }
}

fn name_in(headers: &HeaderMap) -> Option<String> {
    let name = headers.get(PROCESS_HEADER)?.to_str().ok()?;
    Some(name.to_owned())
}

/// Gives the body of an answer that is a success.
fn body(answer: Answer) -> Result<Vec<u8>, AdminError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(answer.body);
    }
    let told: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let told = told.and_then(|told| told["error"].as_str().map(printable));
    let location = answer.headers.get(header::LOCATION);
    let location = location.and_then(|to| to.to_str().ok()).map(printable);
    let text =
        told.or_else(|| location.map(|to| format!("it points to {to}; give that as --admin")));
    let text = text.unwrap_or_else(|| "no more than that".to_owned());
    Err(AdminError::Refused { status, text })
}

/// Says why there is no connection, in terms of the options that there are.
fn no_connection(error: &ConnectError) -> String {
    let advice = error.advice();
    let advice = match &*advice {
        advice if advice.contains("--plaintext") => {
            "; what answers does not speak TLS: is it http:// and not https://?"
        }
        _ if matches!(error, ConnectError::Unreachable { .. }) => {
            "; is the router running, and is listen.admin_address there?"
        }
        advice => advice,
    };
    let text = chain(error);
    let bare = text.split_once(": ").map_or(&*text, |(start, rest)| {
        // The endpoint is named already.
        if start.starts_with("cannot connect") {
            rest
        } else {
            &text
        }
    });
    format!("{bare}{advice}")
}

/// Says which router answers. Older ones do not say.
pub(crate) fn named(process: &Process) -> String {
    if process.id.is_empty() {
        return "the router".to_owned();
    }
    let (id, host) = (printable(&process.id), printable(&process.host));
    format!("router {id} (pid {} on {host})", process.pid)
}
