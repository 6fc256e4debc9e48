//! Options: the router, the certificates to trust, the token or the key that signs one.

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, builder::NonEmptyStringValueParser};
use serde_json::Value;

use super::told;
use crate::{
    auth::without_newline,
    cli::{exit::Failure, variable, variable_os},
    client::{ConnectOptions, Connector, Identity, Proxies, Token, Trust, env},
    common::address,
    config::TOKEN_ENV,
};

/// So many bytes of a stream may be on their way: enough for a fast path of some length.
const WINDOW: u32 = 8 * 1024 * 1024;

/// The key is in this variable of the environment, as for the router.
pub(crate) const KEY_ENV: &str = "ROUTER_KEY";

/// No token and no key is longer than so many bytes.
const MOST: u64 = 64 * 1024;

/// The help of `--no-post-quantum`.
pub(super) const SHORT: &str = "Begin TLS with a short message, for networks that lose long ones, and without protection \
    against quantum computers [env: JUMPSTARTER_ROUTER_POST_QUANTUM=off]";

/// Where the router is, and what is trusted.
#[derive(Args, Clone, Debug)]
pub struct RouterArgs {
    /// The router: host:port, or a port of this machine
    #[arg(long, value_name = "HOST:PORT", value_parser = address::host_port)]
    pub router: String,
    /// PEM file with the certificates to trust, instead of those the system trusts
    #[arg(long, value_name = "FILE", conflicts_with_all = ["insecure", "plaintext"])]
    pub ca: Option<PathBuf>,
    /// Trust any certificate; whoever stands between could read along
    #[arg(long, conflicts_with = "plaintext")]
    pub insecure: bool,
    /// No TLS
    #[arg(long)]
    pub plaintext: bool,
    /// The name that the router's certificate must have [default: the host of --router]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["insecure", "plaintext"])]
    pub server_name: Option<String>,
    /// Begin TLS with a short message.
    #[arg(long, conflicts_with = "plaintext", help = SHORT)]
    pub no_post_quantum: bool,
    /// PEM file with the certificate chain to show to a router that asks for one
    #[arg(
        long,
        value_name = "FILE",
        requires = "client_key",
        conflicts_with = "plaintext"
    )]
    pub client_certificate: Option<PathBuf>,
    /// PEM file with its private key
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
}

impl RouterArgs {
    /// Makes the connector that these options describe. The environment says what is reached through a proxy.
    pub fn connector(&self, variables: &[(String, OsString)]) -> Result<Connector, Failure> {
        let trust = match &self.ca {
            _ if self.plaintext => Trust::Plaintext,
            _ if self.insecure => Trust::Insecure,
            Some(path) => Trust::from_pem_file(path)
                .map_err(|error| Failure::config(format_args!("--ca {error}")))?,
            None => Trust::System,
        };
        let files = self
            .client_certificate
            .as_ref()
            .zip(self.client_key.as_ref());
        let identity = files
            .map(|(certificate, key)| Identity::from_files(certificate, key))
            .transpose()?;
        let off = variable_os(env::POST_QUANTUM, variables).is_some_and(env::is_off);
        let options = ConnectOptions {
            identity,
            server_name: self.server_name.clone(),
            proxies: Proxies::of(variables),
            post_quantum: !self.no_post_quantum && !off,
        };
        let mut connector = Connector::with_options(&self.router, trust, options)?;
        connector.window = WINDOW;
        Ok(connector)
    }
}

// No `Debug`: these are secrets.
/// A token, or what is needed to make one.
#[derive(Args, Clone)]
pub struct TokenArgs {
    /// The token [env: JUMPSTARTER_ROUTER_TOKEN]; others on this machine can see options, so better use a file or the
    /// environment
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub token: Option<String>,
    /// File with the token, - for standard input
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Sign tokens for this subject, with the router's key in --key-file or ROUTER_KEY; the other side names the same
    /// subject
    #[arg(
        long,
        value_name = "TEXT",
        value_parser = NonEmptyStringValueParser::new(),
        conflicts_with_all = ["token", "token_file"]
    )]
    pub subject: Option<String>,
    /// File with the router's key [env: the key itself in ROUTER_KEY]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "token_file"])]
    pub key_file: Option<PathBuf>,
}

/// Where tokens come from.
#[derive(Clone)]
pub enum Tokens {
    /// Always this one, until it expires.
    Given(Token),
    /// A fresh one each time.
    Signed {
        /// The router's key.
        key: Vec<u8>,
        /// Whom the other side shares.
        subject: String,
    },
}

impl Tokens {
    /// Gives the token for the next stream.
    pub fn next(&self) -> Token {
        match self {
            Self::Given(token) => token.clone(),
            Self::Signed { key, subject } => Token::mint(key, subject),
        }
    }

    /// Tells whether a router whose clock is right takes none of them any more.
    pub fn have_expired(&self) -> bool {
        let Self::Given(token) = self else {
            return false;
        };
        let claims = token.as_str().split('.').nth(1);
        let claims = claims.and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims = claims.and_then(|claims| serde_json::from_slice::<Value>(&claims).ok());
        let expires = claims.and_then(|claims| claims.get("exp")?.as_f64());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        expires.is_some_and(|expires| now.unwrap_or_default().as_secs_f64() >= expires)
    }
}

impl TokenArgs {
    /// Takes what the options say, or else the environment.
    pub fn tokens(&self, env: &[(String, OsString)]) -> Result<Tokens, Failure> {
        if let Some(subject) = &self.subject {
            tracing::debug!(subject, "signing a token for each stream");
            return Ok(Tokens::Signed {
                key: key(self.key_file.as_deref(), env)?,
                subject: subject.clone(),
            });
        }
        if self.key_file.is_some() {
            return Err(Failure::config(
                "--key-file needs --subject TEXT, which both sides share",
            ));
        }
        let text = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => Some(read(path, "--token-file")?),
            (None, None) => variable(TOKEN_ENV, env),
        };
        let token = text.map(Token::new).ok_or_else(|| {
            Failure::config(format_args!(
                    "no token: use --token-file FILE, set {TOKEN_ENV}, or have one signed with --subject TEXT and \
                     the router's key"
                ),
            )
        })?;
        if token.as_str().is_empty() {
            return Err(Failure::config("the token is empty"));
        }
        told::token(&token);
        Ok(Tokens::Given(token))
    }

    /// As [`tokens`](Self::tokens), but with a key alone, fresh tokens for a subject that nobody shares.
    pub fn tokens_of_our_own(&self, env: &[(String, OsString)]) -> Result<Tokens, Failure> {
        let named = self.token.is_some() || self.token_file.is_some() || self.subject.is_some();
        let has_token = self.key_file.is_none() && variable(TOKEN_ENV, env).is_some();
        if named || has_token {
            return self.tokens(env);
        }
        Ok(Tokens::Signed {
            key: key(self.key_file.as_deref(), env)?,
            subject: format!("probe-{}", uuid::Uuid::new_v4()),
        })
    }
}

/// The router's key: from this file, else from the environment. A newline at its end makes no difference to whoever signs
/// or checks with it.
pub(crate) fn key(file: Option<&Path>, env: &[(String, OsString)]) -> Result<Vec<u8>, Failure> {
    let key = match file {
        Some(path) => Some(read_bytes(path, "--key-file")?),
        None => variable(KEY_ENV, env).map(String::into_bytes),
    };
    key.filter(|key| !without_newline(key).is_empty())
        .ok_or_else(|| {
            Failure::config(format_args!(
                "no key: use --key-file FILE, or set {KEY_ENV} to the router's key"
            ))
        })
}

/// Reads a small text file, or standard input.
pub(crate) fn read(path: &Path, option: &str) -> Result<String, Failure> {
    String::from_utf8(read_bytes(path, option)?)
        .map_err(|_| unusable(path, option, &"it is not text"))
}

/// Reads a small file or standard input, which must hold something.
fn read_bytes(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let read = || {
        let from: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path)?)
        };
        let mut bytes = Vec::new();
        from.take(MOST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST {
            return Err(io::Error::other(format!("longer than {} KiB", MOST / 1024)));
        }
        if bytes.trim_ascii().is_empty() {
            return Err(io::Error::other("it is empty"));
        }
        Ok(bytes)
    };
    read().map_err(|error| unusable(path, option, &error))
}

fn unusable(path: &Path, option: &str, why: &dyn fmt::Display) -> Failure {
    if path == Path::new("-") {
        return Failure::config(format_args!("{option}: standard input: {why}"));
    }
    Failure::config(format_args!("{option} {}: {why}", path.display()))
}
