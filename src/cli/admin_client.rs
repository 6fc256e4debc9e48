//! Asks a router's admin API, for `top` and `streams`.

mod address;
mod client;

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use http::HeaderValue;

use self::{address::Address, client::Wanted};
use super::{http::Answer, variable_os};
use crate::{
    client::{Connector, Trust},
    common::{self, text::chain},
    config::Config,
};

pub(crate) use self::client::{AdminError, Client, named};

const ADDRESS_ENV: &str = "JUMPSTARTER_ROUTER_LISTEN_ADMIN_ADDRESS";
const TOKEN_ENV: &str = "JUMPSTARTER_ROUTER_ADMIN_TOKEN";
const TOKEN_FILE_ENV: &str = "JUMPSTARTER_ROUTER_ADMIN_TOKEN_FILE";

/// Say where the admin API is, and who asks.
#[derive(Args, Clone, Debug, Default)]
pub struct AdminArgs {
    /// Where the router's admin API is
    #[arg(
        long,
        value_name = "ADDRESS",
        help = "Where the router's admin API is: a port, host:port, or a URL with http or https and perhaps a path \
                [default: the port of JUMPSTARTER_ROUTER_LISTEN_ADMIN_ADDRESS, or http://127.0.0.1:8082]"
    )]
    pub admin: Option<String>,
    /// File with the admin token, the full one or that which only reads [env: JUMPSTARTER_ROUTER_ADMIN_TOKEN_FILE, or
    /// the token itself in JUMPSTARTER_ROUTER_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM file with the certificates to trust at an https:// address, instead of those the system trusts
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Trust any certificate at an https:// address; whoever stands between could read along, the token too
    #[arg(long)]
    pub insecure: bool,
    /// Speak with this process only, where several answer at one address; the start of its name is enough
    #[arg(long, value_name = "NAME")]
    pub process: Option<String>,
}

impl AdminArgs {
    /// Makes a client. What the options leave open is taken from the variables that also configure the router.
    pub fn client(&self, env: &[(String, OsString)]) -> Result<Client, AdminError> {
        let variable = |wanted: &str| variable_os(wanted, env);
        let default = || default_url(variable(ADDRESS_ENV).and_then(OsStr::to_str));
        let text = self.admin.clone().unwrap_or_else(default);
        let address = Address::parse(&text);
        let address = address.map_err(|why| AdminError::Address(text, why))?;
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
        Ok(Client {
            connector: self.connector(&address)?,
            token: token.map(bearer).transpose()?,
            wanted: self.process.clone().map_or(Wanted::Any, Wanted::Like),
            address,
        })
    }

    /// Makes what opens connections to `address`.
    fn connector(&self, address: &Address) -> Result<Connector, AdminError> {
        let trust = match &self.ca {
            _ if !address.is_https => Trust::Plaintext,
            _ if self.insecure => Trust::Insecure,
            Some(path) => Trust::from_pem_file(path)
                .map_err(|error| AdminError::Trust(format!("--ca {error}")))?,
            None => Trust::System,
        };
        let is_given = self.ca.is_some() || self.insecure;
        if is_given && !address.is_https {
            let why = "--ca and --insecure are for an https:// address, and this is none";
            return Err(AdminError::Trust(format!("{}: {why}", address.endpoint)));
        }
        let connector = Connector::new(&address.endpoint, trust);
        let mut connector = connector.map_err(|error| AdminError::Trust(chain(&error)))?;
        // Which addresses were tried is said before the whole question is given up.
        connector.timeout = client::PATIENCE.saturating_sub(Duration::from_secs(1));
        Ok(connector.http1())
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
            Err(_) => common::address::host_port(address).unwrap_or_else(|_| address.to_owned()),
        },
    };
    format!("http://{address}")
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
        let admin = url.map(ToOwned::to_owned);
        let args = AdminArgs {
            admin,
            ..AdminArgs::default()
        };
        args.client(&env)
    }

    #[test]
    fn the_address_comes_from_the_option_or_the_routers_own_variable() {
        let at = |url, env: &[(&str, &str)]| client(url, env).unwrap().address.endpoint;
        assert_eq!(at(None, &[]), "127.0.0.1:8082");
        assert_eq!(at(None, &[(ADDRESS_ENV, ":99")]), "127.0.0.1:99");
        assert_eq!(at(None, &[(ADDRESS_ENV, "0.0.0.0:99")]), "127.0.0.1:99");
        assert_eq!(at(None, &[(ADDRESS_ENV, "[::1]:99")]), "[::1]:99");
        assert_eq!(at(Some("http://r:1/"), &[(ADDRESS_ENV, ":99")]), "r:1");
        let error = client(Some("ftp://r"), &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("--admin \"ftp://r\": expected"),
            "{error}"
        );
    }

    #[test]
    fn trust_is_asked_for_where_there_is_tls() {
        let insecure = |admin: &str| AdminArgs {
            admin: Some(admin.to_owned()),
            insecure: true,
            ..AdminArgs::default()
        };
        let client = insecure("https://r").client(&[]).unwrap();
        assert!(client.connector.is_tls());
        let error = insecure("r:1").client(&[]).unwrap_err();
        assert!(error.to_string().contains("https://"), "{error}");
    }

    #[test]
    fn a_token_is_sent_as_it_is_and_never_shown() {
        let client = client(None, &[(TOKEN_ENV, "sesame")]).unwrap();
        assert_eq!(client.token.as_ref().unwrap(), "Bearer sesame");
        assert!(!format!("{client:?}").contains("sesame"));
    }
}
