//! Cross-checks: values that are each well formed but cannot work, or not work together.

use std::time::Duration;

use super::admin::{self, overlap};
use super::loading::Loading;
use super::problem::Origin;
use super::registry::keys;
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
    let origin = loading.origins.of(set);
    let lenient = upstream
        .iter()
        .any(|name| *origin == Origin::Env((*name).to_owned()));
    if !lenient {
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
    loading.warnings.push(
        "only one of EXTERNAL_CERT_PEM and EXTERNAL_KEY_PEM is set; using a self-signed certificate"
            .to_owned(),
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
        let text = "tls.allow_missing_alpn has no effect with tls.plaintext";
        loading.warnings.push(text.to_owned());
    }
    if tls.client_certificate_optional && tls.client_ca.is_none() {
        let text = "tls.client_certificate_optional has no effect without tls.client_ca";
        loading.warnings.push(text.to_owned());
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
        if let Some(text) = (key.beyond)(&loading.config) {
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
    admin::give_way(loading, &others);
    let admin = ("listen.admin_address", loading.config.listen.admin_address);
    let all = [others[0], others[1], others[2], admin];
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
    let config = &loading.config;
    let mut warnings = Vec::new();
    if config.tls.plaintext && config.tls.certificate.is_some() {
        warnings.push("tls.certificate is not used because tls.plaintext is true".to_owned());
    }
    if config.connections.max_age_grace.is_some() && config.connections.max_age.is_none() {
        warnings.push("connections.max_age_grace has no effect without max_age".to_owned());
    }
    let drain = &config.drain;
    let whole = drain.lame_duck.saturating_add(drain.timeout);
    if whole >= KUBERNETES_GRACE {
        let keys = if drain.lame_duck.is_zero() {
            "drain.timeout is"
        } else {
            "drain.lame_duck and drain.timeout are together"
        };
        warnings.push(format!(
            "{keys} {}; Kubernetes kills a pod after terminationGracePeriodSeconds, 30 \
             unless set higher",
            humantime::format_duration(whole)
        ));
    }
    loading.warnings.extend(warnings);
}
