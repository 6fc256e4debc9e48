//! Cross-checks: values that are each well formed but cannot work, or not work together.

use std::time::Duration;

use super::admin::{self, overlap};
use super::loading::Loading;
use super::problem::Origin;
use super::sections::keys;
use super::signing_keys;
use crate::transport::settings::Size;

/// The time Kubernetes grants a pod to stop unless told otherwise.
const KUBERNETES_GRACE: Duration = Duration::from_secs(30);

/// Runs all checks. A check is left out when a value it needs already has a problem.
pub(super) fn validate(loading: &mut Loading) {
    certificate(loading);
    client_certificates(loading);
    signing_keys::validate(loading);
    tokens(loading);
    ranges(loading);
    rates(loading);
    addresses(loading);
    successor(loading);
    cluster(loading);
    admin::validate(loading);
    advice(loading);
}

fn certificate(loading: &mut Loading) {
    let tls = &loading.config.tls;
    let (set, missing) = match (&tls.certificate, &tls.key) {
        (Some(_), None) => ("tls.certificate", "tls.key"),
        (None, Some(_)) => ("tls.key", "tls.certificate"),
        _ => return,
    };
    let upstream = ["EXTERNAL_CERT_PEM", "EXTERNAL_KEY_PEM"];
    let lenient =
        |origin: &Origin| matches!(origin, Origin::Env(name) if upstream.contains(&&**name));
    if !lenient(loading.origins.of(set)) {
        // The file may hold the other half, if it could not be read.
        if !loading.unreadable {
            let text = format!("set without {missing}; set both, or neither for a self-signed one");
            loading.fail(&[set, missing], text);
        }
        return;
    }
    // Upstream starts with a self-signed certificate then, and so must a replacement for it.
    loading.config.tls.certificate = None;
    loading.config.tls.key = None;
    loading.origins.set(set, Origin::Default);
    loading.warn(
        "only one of EXTERNAL_CERT_PEM and EXTERNAL_KEY_PEM is set; using a self-signed certificate",
    );
}

/// Checks that whoever asks for certificates is not left without them unawares.
fn client_certificates(loading: &mut Loading) {
    let tls = &loading.config.tls;
    if tls.plaintext && tls.client_ca.is_some() {
        let text = "set together with tls.plaintext, without TLS there are no certificates; set one of them";
        loading.fail(&["tls.client_ca", "tls.plaintext"], text);
    }
    let tls = &loading.config.tls;
    if tls.allow_missing_alpn && tls.plaintext {
        loading.warn("tls.allow_missing_alpn has no effect with tls.plaintext");
    }
    let tls = &loading.config.tls;
    if tls.client_certificate_optional && tls.client_ca.is_none() {
        loading.warn("tls.client_certificate_optional has no effect without tls.client_ca");
    }
}

fn tokens(loading: &mut Loading) {
    let token = loading.config.auth.max_token_size;
    let headers = loading.config.connections.max_header_size;
    if token >= headers {
        let text = format!(
            "a token of auth.max_token_size ({token}) does not fit the headers, for which \
             connections.max_header_size allows {headers}"
        );
        loading.fail(
            &["auth.max_token_size", "connections.max_header_size"],
            text,
        );
    }
}

fn ranges(loading: &mut Loading) {
    for key in keys() {
        let text = key.beyond.iter().find_map(|beyond| beyond(&loading.config));
        if let Some(text) = text {
            loading.fail(&[key.path], text);
        }
    }
}

fn successor(loading: &mut Loading) {
    let drain = &loading.config.drain;
    if drain.forward_insecure && drain.forward_ca.is_some() {
        let text = "any certificate is believed, and drain.forward_ca names some; set one of them";
        loading.fail(&["drain.forward_insecure", "drain.forward_ca"], text);
    }
}

/// Refuses what several routers cannot hold together.
fn cluster(loading: &mut Loading) {
    let config = &loading.config;
    if config.cluster.servers.is_empty() {
        return;
    }
    let prefix = &config.cluster.prefix;
    let is_token = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !part.is_empty() && part.chars().all(allowed)
    };
    let fits = prefix.split('.').all(is_token);
    let single_use = config.auth.single_use;
    let both = config.drain.forward_to.is_some();
    if !fits {
        let text = format!(
            "found {prefix:?}, expected words of letters, digits, \"-\" and \"_\", with dots between them"
        );
        loading.fail(&["cluster.prefix"], text);
    }
    if single_use {
        let text = "set together with cluster.servers, each router would let a subject pair once; set one of them";
        loading.fail(&["auth.single_use", "cluster.servers"], text);
    }
    if both {
        loading.warn(
            "drain.forward_to is used only while the bus of cluster.servers is not connected: with it, streams that wait \
             are met from other routers",
        );
    }
}

/// Refuses rates that are too low. Credit goes back in steps of a third of the window: at such a rate a peer would wait long for each.
fn rates(loading: &mut Loading) {
    let streams = &loading.config.streams;
    let least = Size::new(streams.initial_window.bytes() / 8);
    let rates = [
        ("streams.bytes_per_second", streams.bytes_per_second),
        (
            "streams.bytes_per_second_per_address",
            streams.bytes_per_second_per_address,
        ),
    ];
    for (key, rate) in rates {
        if rate.bytes() > 0 && rate < least {
            let text = format!(
                "found {rate}, expected 0 or at least {least}, an eighth of streams.initial_window"
            );
            loading.fail(&[key, "streams.initial_window"], text);
        }
    }
}

fn addresses(loading: &mut Loading) {
    let listen = &loading.config.listen;
    let others = [
        ("listen.address", Some(listen.address)),
        ("listen.health_address", listen.health_address),
        ("listen.metrics_address", listen.metrics_address),
    ];
    let cluster = &loading.config.cluster;
    let cluster = (
        "cluster.address",
        Some(cluster.address).filter(|_| !cluster.servers.is_empty()),
    );
    admin::give_way(loading, &others);
    let admin = ("listen.admin_address", loading.config.listen.admin_address);
    let all = [others[0], others[1], others[2], admin, cluster];
    for (index, (first, one)) in all.iter().enumerate() {
        for (second, other) in &all[index + 1..] {
            if let (Some(one), Some(other)) = (one, other)
                && overlap(*one, *other)
            {
                // The later key is the more likely mistake.
                let text = format!("{other} is already taken by {first}");
                loading.fail(&[second, first], text);
            }
        }
    }
}

/// Warns of what is allowed, but hardly meant.
fn advice(loading: &mut Loading) {
    let tls = &loading.config.tls;
    if tls.plaintext && tls.certificate.is_some() {
        loading.warn("tls.certificate is not used because tls.plaintext is true");
    }
    let connections = &loading.config.connections;
    if connections.max_age_grace.is_some() && connections.max_age.is_none() {
        loading.warn("connections.max_age_grace has no effect without max_age");
    }
    let drain = &loading.config.drain;
    let lame_duck = drain.lame_duck;
    let whole = lame_duck.saturating_add(drain.timeout);
    if whole >= KUBERNETES_GRACE {
        let keys = if lame_duck.is_zero() {
            "drain.timeout is"
        } else {
            "drain.lame_duck and drain.timeout are together"
        };
        loading.warn(format!(
            "{keys} {}; Kubernetes kills a pod after terminationGracePeriodSeconds, 30 \
             unless set higher",
            humantime::format_duration(whole)
        ));
    }
}
