//! Cross-checks: values that are each well formed but cannot work, or not work together.

use std::net::SocketAddr;
use std::time::Duration;

use super::SigningKey;
use super::admin;
use super::loading::Loading;
use super::problem::Origin;
use super::types::{Secret, Size};

/// Keys shorter than this are easier to guess than the signature they make.
const SAFE_KEY: usize = 32;

/// More keys than a change of keys needs.
const MOST_KEYS: usize = 64;

/// The time Kubernetes grants a pod to stop unless told otherwise.
const KUBERNETES_GRACE: Duration = Duration::from_secs(30);

/// Looking at files more often would only burn the processor.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Runs all checks. A check is left out when a value it needs already has a problem.
pub(super) fn validate(loading: &mut Loading) {
    certificate(loading);
    client_certificates(loading);
    keys(loading);
    tokens(loading);
    sizes(loading);
    counts(loading);
    durations(loading);
    interval(loading);
    rates(loading);
    addresses(loading);
    successor(loading);
    admin::validate(loading);
    advice(loading);
}

/// Reports a problem about `keys`, placed at the first of them that was set anywhere.
pub(super) fn fail(loading: &mut Loading, keys: &[&'static str], text: impl Into<String>) {
    if keys.iter().any(|key| loading.is_bad(key)) {
        return;
    }
    let set = |key: &&&'static str| *loading.origins.of(key) != Origin::Default;
    let key = keys.iter().find(set).unwrap_or(&keys[0]);
    let origin = loading.origins.of(key).clone();
    loading.problem(origin, Some(key), text);
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
            fail(loading, &[set, missing], text);
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

/// Whoever asks for certificates must not be left without them unawares.
fn client_certificates(loading: &mut Loading) {
    let tls = &loading.config.tls;
    if tls.plaintext && tls.client_ca.is_some() {
        let text = "set together with tls.plaintext, without TLS there are no certificates; set one of them";
        fail(loading, &["tls.client_ca", "tls.plaintext"], text);
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

fn keys(loading: &mut Loading) {
    const SETTINGS: [&str; 4] = [
        "auth.key",
        "auth.extra_keys",
        "auth.key_files",
        "auth.key_directory",
    ];
    let config = loading.config.clone();
    let keys = config.signing_keys();
    let bad = SETTINGS.iter().any(|key| loading.is_bad(key));
    if keys.is_empty() && !bad && !loading.unreadable {
        let text =
            "no signing key: set ROUTER_KEY, or auth.key, or auth.key_files, or auth.key_directory";
        loading.problem(Origin::Default, None, text);
    }
    if keys.len() > MOST_KEYS {
        // Every one is tried on a forged token.
        let text = format!("found {} keys, expected at most {MOST_KEYS}", keys.len());
        fail(loading, &SETTINGS, text);
    }
    for (index, key) in keys.iter().enumerate() {
        one_key(loading, key);
        let same = |other: &&SigningKey<'_>| other.secret == key.secret;
        if let Some(twin) = keys[..index].iter().find(same) {
            let text = format!("{} is the same key as {}", key.name, twin.name);
            loading.warnings.push(text);
        }
    }
}

fn one_key(loading: &mut Loading, key: &SigningKey<'_>) {
    let secret = key.secret.expose();
    let wrong = if secret.is_empty() {
        "the key is empty, so anyone could sign tokens"
    } else if secret == Secret::HIDDEN.as_bytes() {
        "this stands for a hidden key and is none itself"
    } else {
        if secret.len() < SAFE_KEY {
            loading.warnings.push(format!(
                "{} is shorter than {SAFE_KEY} bytes; use at least {SAFE_KEY} random bytes",
                key.name
            ));
        }
        return;
    };
    // The problem names the setting itself.
    let which = key.name.strip_prefix(key.setting).unwrap_or(&key.name);
    let text = match which {
        "" => wrong.to_owned(),
        which => format!("{which}: {wrong}"),
    };
    fail(loading, &[key.setting], text);
}

fn tokens(loading: &mut Loading) {
    let token = loading.config.auth.max_token_size;
    let headers = loading.config.connections.max_header_size;
    if token >= headers {
        let text = format!(
            "a token of auth.max_token_size ({token}) does not fit the headers, for which \
             connections.max_header_size allows {headers}"
        );
        fail(
            loading,
            &["auth.max_token_size", "connections.max_header_size"],
            text,
        );
    }
}

fn sizes(loading: &mut Loading) {
    const KIB: usize = 1 << 10;
    // HTTP/2 windows end at 2^31-1 and gRPC message lengths at 2^32-1.
    const WINDOW: usize = (1 << 31) - 1;
    const MESSAGE: usize = u32::MAX as usize;
    let config = &loading.config;
    let ranges = [
        (
            "streams.max_message_size",
            config.streams.max_message_size,
            1,
            MESSAGE,
        ),
        (
            "streams.initial_window",
            config.streams.initial_window,
            128 * KIB,
            WINDOW,
        ),
        (
            "streams.max_window",
            config.streams.max_window,
            128 * KIB,
            WINDOW,
        ),
        (
            "streams.send_buffer",
            config.streams.send_buffer,
            KIB,
            WINDOW,
        ),
        ("auth.max_token_size", config.auth.max_token_size, 1, WINDOW),
        (
            "connections.max_header_size",
            config.connections.max_header_size,
            KIB,
            WINDOW,
        ),
    ];
    for (key, size, least, most) in ranges {
        if !(least..=most).contains(&size.bytes()) {
            let (least, most) = (Size::new(least), Size::new(most));
            let text = format!("found {size}, expected a size from {least} to {most}");
            fail(loading, &[key], text);
        }
    }
}

fn counts(loading: &mut Loading) {
    let config = &loading.config;
    let ranges = [
        ("listen.backlog", config.listen.backlog, 1, 65535),
        ("tls.session_cache", config.tls.session_cache, 0, 10_000_000),
        (
            "streams.max_per_connection",
            config.streams.max_per_connection,
            1,
            1 << 31,
        ),
        ("connections.max", config.connections.max, 1, 10_000_000),
        // Less than a pair would let nobody in; 0 is no limit.
        ("streams.max", config.streams.max.unwrap_or(2), 2, u32::MAX),
        (
            "runtime.worker_threads",
            config.runtime.worker_threads.unwrap_or(0),
            0,
            1024,
        ),
    ];
    for (key, count, least, most) in ranges {
        if !(least..=most).contains(&count) {
            let text = format!("found {count}, expected a whole number from {least} to {most}");
            fail(loading, &[key], text);
        }
    }
}

/// Durations that cannot be switched off, since 0 would end everything at once. The kernel counts
/// in milliseconds, so less would become 0 as well.
fn durations(loading: &mut Loading) {
    let connections = &loading.config.connections;
    let needed = [
        (
            "listen.proxy_protocol_timeout",
            loading.config.listen.proxy_protocol_timeout,
        ),
        ("pairing.timeout", loading.config.pairing.timeout),
        (
            "drain.forward_timeout",
            loading.config.drain.forward_timeout,
        ),
        (
            "connections.tls_handshake_timeout",
            connections.tls_handshake_timeout,
        ),
        ("connections.preface_timeout", connections.preface_timeout),
        (
            "connections.first_stream_timeout",
            connections.first_stream_timeout,
        ),
        (
            "connections.keepalive_interval",
            connections.keepalive_interval,
        ),
        (
            "connections.keepalive_timeout",
            connections.keepalive_timeout,
        ),
        ("connections.tcp_user_timeout", connections.tcp_user_timeout),
        (
            "connections.write_stall_timeout",
            connections.write_stall_timeout,
        ),
    ];
    for (key, duration) in needed {
        if duration < Duration::from_millis(1) {
            let found = humantime::format_duration(duration);
            fail(
                loading,
                &[key],
                format!("found {found}, expected at least 1ms"),
            );
        }
    }
}

fn successor(loading: &mut Loading) {
    let drain = &loading.config.drain;
    if drain.forward_insecure && drain.forward_ca.is_some() {
        let text = "any certificate is believed, and drain.forward_ca names some; set one of them";
        fail(
            loading,
            &["drain.forward_insecure", "drain.forward_ca"],
            text,
        );
    }
}

fn interval(loading: &mut Loading) {
    let interval = loading.config.reload.interval;
    if let Some(found) = interval.filter(|interval| *interval < SHORTEST_INTERVAL) {
        let (found, least) = (
            humantime::format_duration(found),
            humantime::format_duration(SHORTEST_INTERVAL),
        );
        let text = format!("found {found}, expected at least {least}, or 0s");
        fail(loading, &["reload.interval"], text);
    }
}

/// Credit goes back in steps of a third of the window: at too low a rate a peer would wait long for each.
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
            fail(loading, &[key, "streams.initial_window"], text);
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
                fail(loading, &[second, first], text);
            }
        }
    }
}

/// Whether the second of two listeners could not be opened. Port 0 is a fresh port each time.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_host =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_host
}

/// Allowed, but hardly meant.
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
