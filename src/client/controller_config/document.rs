//! What is written in a configuration file, or would be, were it not in the environment.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{
    ControllerConfig, ControllerConfigError, Role,
    variables::{Metadata, Variables},
};
use crate::client::{
    env::{POST_QUANTUM, is_off},
    proxy::Proxies,
    token::Token,
    trust::Trust,
};

const API_VERSION: &str = "jumpstarter.dev/v1alpha1";

/// Is the port that stock peers use where the endpoint names none.
const USUAL_PORT: &str = "443";

/// Holds what such files have in common. What is not needed here is not looked at.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Option<Metadata>,
    endpoint: Option<String>,
    tls: Option<Tls>,
    token: Option<String>,
    grpc_options: Option<GrpcOptions>,
}

#[derive(Default, Deserialize)]
struct Tls {
    ca: Option<String>,
    insecure: Option<bool>,
}

/// Options of gRPC that say how to get somewhere.
#[derive(Default, Deserialize)]
struct GrpcOptions {
    #[serde(rename = "grpc.ssl_target_name_override")]
    server_name: Option<String>,
    #[serde(rename = "grpc.enable_http_proxy")]
    with_proxy: Option<i64>,
    #[serde(rename = "grpc.http_proxy")]
    proxy: Option<String>,
}

/// Where a configuration is from.
pub(super) enum Source<'p> {
    File(&'p Path),
    Environment,
}

impl Source<'_> {
    fn wrong(&self, what: String) -> ControllerConfigError {
        match self {
            Self::File(path) => ControllerConfigError::Content {
                path: (*path).to_owned(),
                what,
            },
            Self::Environment => ControllerConfigError::Environment(what),
        }
    }

    fn missing(&self, key: &str, variable: &str) -> ControllerConfigError {
        match self {
            Self::File(_) => self.wrong(format!("{key:?} is missing")),
            Self::Environment => self.wrong(format!("{variable} is missing")),
        }
    }

    /// Makes a configuration of a document and what the environment adds to it. As with `jmp`, what is written in a file
    /// comes first.
    pub(super) fn config(
        &self,
        document: Document,
        role: Role,
        env: Variables<'_>,
    ) -> Result<ControllerConfig, ControllerConfigError> {
        let is = |key: &str, found: Option<String>, expected: &str| match found {
            Some(found) if found != expected => {
                Err(self.wrong(format!("{key} is {found:?}, expected {expected:?}")))
            }
            _ => Ok(()),
        };
        is("apiVersion", document.api_version, API_VERSION)?;
        is("kind", document.kind, &format!("{}Config", role.name()))?;
        let mut tls = document.tls.unwrap_or_default();
        let (mut endpoint, mut token) = (document.endpoint, document.token);
        let metadata = match role {
            Role::Client => {
                endpoint = endpoint.or_else(|| env.text("JMP_ENDPOINT"));
                token = token.or_else(|| env.text("JMP_TOKEN"));
                let other: Tls = env.json("JMP_TLS")?;
                tls.ca = tls.ca.or(other.ca);
                tls.insecure = tls.insecure.or(other.insecure);
                let written = document.metadata.unwrap_or_default();
                let other: Metadata = env.json("JMP_METADATA")?;
                Metadata {
                    namespace: written.namespace.or(other.namespace),
                    name: written.name.or(other.name),
                }
            }
            Role::Exporter => {
                let missing = || self.missing("metadata", "JMP_NAME");
                document.metadata.ok_or_else(missing)?
            }
        };
        let metadata = env.fill(metadata);
        let filled = |value: Option<String>| value.filter(|value| !value.is_empty());
        let missing = |key, variable| move || self.missing(key, variable);
        let trust = match (tls.insecure, tls.ca.as_deref()) {
            _ if env.is_insecure() => Trust::Insecure,
            (Some(true), _) => Trust::Insecure,
            (_, None | Some("")) => Trust::System,
            (_, Some(ca)) => certificates(ca).map_err(|what| self.wrong(what))?,
        };
        let options = document.grpc_options.unwrap_or_default();
        let proxies = match (options.with_proxy, options.proxy) {
            (Some(0), _) => Proxies::default(),
            (_, proxy) => Proxies::of(env.0).or_named(proxy),
        };
        let name = metadata.name;
        let name = name.ok_or_else(missing("metadata.name", "JMP_NAME"))?;
        let endpoint = filled(endpoint).ok_or_else(missing("endpoint", "JMP_ENDPOINT"))?;
        let token = filled(token).ok_or_else(missing("token", "JMP_TOKEN"))?;
        Ok(ControllerConfig {
            role,
            namespace: metadata.namespace.unwrap_or_default(),
            name,
            endpoint: with_port(&endpoint),
            trust,
            token: Token::new(token),
            server_name: filled(options.server_name),
            proxies,
            post_quantum: !env.exactly(POST_QUANTUM).is_some_and(|value| is_off(value)),
        })
    }
}

/// `tls.ca`: PEM in base64. Line breaks in it do not matter.
fn certificates(ca: &str) -> Result<Trust, String> {
    let packed: String = ca.split_ascii_whitespace().collect();
    let pem = STANDARD
        .decode(packed)
        .map_err(|error| format!("tls.ca: expected a PEM file in base64: {error}"))?;
    Trust::from_pem(&pem).map_err(|error| format!("tls.ca: expected certificates in PEM: {error}"))
}

pub(super) fn with_port(endpoint: &str) -> String {
    let host_ends = endpoint.rfind(']').unwrap_or(0);
    if endpoint[host_ends..].contains(':') {
        endpoint.to_owned()
    } else {
        format!("{endpoint}:{USUAL_PORT}")
    }
}
