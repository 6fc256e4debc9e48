//! TLS on one address: what is shown there, and whether these options believe it.

use std::time::{Duration, SystemTime};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::client::TlsStream;

use super::{certificate::Certificate, finding::Report, http2::greeting, way::Way};
use crate::{
    cli::{
        exit::{Exit, Failure},
        join::credentials::RouterArgs,
    },
    common::text::joined,
    tls::trust::ALPN_H2,
};

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// Certificates with fewer days left are worth a word.
const FEW_DAYS: i64 = 14;

/// Looks at TLS, and says whether HTTP/2 can follow.
pub(super) async fn examine(args: &RouterArgs, way: &Way, report: &mut Report) -> bool {
    // Whoever believes anything sees what is shown.
    let credulous = RouterArgs {
        insecure: true,
        ca: None,
        ..args.clone()
    };
    match handshake(&credulous, way).await {
        Ok(stream) => {
            let speaks = session(&stream, way, report);
            let good = certificates(&stream, way, report);
            trusted(args, way, good, report).await && speaks
        }
        Err(failure) => {
            why_not(&credulous, way, &failure, report).await;
            false
        }
    }
}

async fn handshake(args: &RouterArgs, way: &Way) -> Result<TlsStream<TcpStream>, Failure> {
    let connector = args.connector()?;
    let connector = way.along(connector);
    match timeout(PATIENCE, connector.tls()).await {
        Ok(stream) => Ok(stream?),
        Err(_) => {
            let time = humantime::format_duration(PATIENCE);
            Err(Failure::new(
                Exit::Unreachable,
                format_args!("no answer to the TLS handshake within {time}"),
            ))
        }
    }
}

/// Says what was agreed upon, and whether it is HTTP/2.
fn session(stream: &TlsStream<TcpStream>, way: &Way, report: &mut Report) -> bool {
    let (_, session) = stream.get_ref();
    let version = session
        .protocol_version()
        .and_then(|version| version.as_str());
    let suite = session
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str());
    let group = session
        .negotiated_key_exchange_group()
        .and_then(|group| group.name().as_str());
    let parts = joined([version, suite, group].into_iter().flatten(), ", ");
    let text = format!("{}: {}", way.label, parts.replace("TLSv1_", "TLSv1."));
    if session.alpn_protocol() == Some(ALPN_H2) {
        report.good("tls", format_args!("{text}, HTTP/2 by ALPN"));
        return true;
    }
    report.failed(
        "tls",
        Exit::Unreachable,
        format_args!("{text}, but no HTTP/2: ALPN gave none"),
        "gRPC needs HTTP/2: what ends TLS there is no router, or a proxy or ingress in front of it that must pass TLS through or speak HTTP/2",
    );
    false
}

/// Says what was shown. Gives false if it is expired or not yet good.
fn certificates(stream: &TlsStream<TcpStream>, way: &Way, report: &mut Report) -> bool {
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let chain: Vec<_> = chain.iter().filter_map(Certificate::read).collect();
    let Some(first) = chain.first() else {
        report.warning("cert", format_args!("{}: it cannot be read", way.label), "");
        return true;
    };
    let by = if first.is_self_signed() {
        "signed by itself".to_owned()
    } else {
        let issuers = joined(chain.iter().map(|one| &one.issuer), "; ");
        format!("signed by {issuers}")
    };
    let names = match &first.names[..] {
        [] => "no names at all".to_owned(),
        names => joined(names, ", "),
    };
    let now = SystemTime::now();
    let days = first.days_left(now);
    let text = format!(
        "{}: {} for {names}, {by}, {days} days left",
        way.label, first.subject
    );
    if days < 0 {
        let advice = "renew it (docs/renew-certificates.md); or is this machine's clock wrong?";
        report.failed(
            "cert",
            Exit::Unreachable,
            format_args!("{text}: it has expired"),
            advice,
        );
    } else if first.is_early(now) {
        let advice = "is this machine's clock behind, or the one of who made it ahead?";
        report.failed(
            "cert",
            Exit::Unreachable,
            format_args!("{text}: it is not yet good"),
            advice,
        );
    } else if days < FEW_DAYS {
        report.warning("cert", text, "renew it: docs/renew-certificates.md");
    } else {
        report.good("cert", text);
    }
    days >= 0 && !first.is_early(now)
}

/// Says whether the options given believe it. `good`: nothing worse is known already.
async fn trusted(args: &RouterArgs, way: &Way, good: bool, report: &mut Report) -> bool {
    if args.insecure {
        report.warning(
            "trust",
            format_args!("{}: any certificate is believed (--insecure)", way.label),
            "name the certificate or its CA with --ca FILE, or anybody between can read along",
        );
        return true;
    }
    match handshake(args, way).await {
        Ok(_) => {
            let by = match &args.ca {
                Some(file) => format!("--ca {}", file.display()),
                None => "what this system trusts".to_owned(),
            };
            report.good("trust", format_args!("{}: trusted by {by}", way.label));
            true
        }
        Err(failure) => {
            // An expired one was said already.
            if good {
                let advice = "to see what is shown there: openssl s_client -connect HOST:PORT -showcerts </dev/null; if it is the router's, save it and name it with --ca FILE";
                report.failed("trust", failure.exit, &failure, advice);
            }
            false
        }
    }
}

/// Finds out why there is no handshake.
async fn why_not(args: &RouterArgs, way: &Way, failure: &Failure, report: &mut Report) {
    let old = RouterArgs {
        no_post_quantum: true,
        ..args.clone()
    };
    let (label, exit) = (&way.label, Exit::Unreachable);
    if handshake(&old, way).await.is_ok() {
        let advice =
            "something between cuts long first messages of TLS: mend it, or use --no-post-quantum";
        let text = format!("{label}: {failure}; with a short ClientHello it works");
        report.failed("tls", exit, text, advice);
        return;
    }
    let (what, advice) = match greeting(&way.connector).await {
        Some(found) if found.is_http2() => (
            "what answers is HTTP/2 without TLS",
            "use --plaintext, or give the router a certificate",
        ),
        Some(found) if !found.is_tls() => (found.name(), found.advice()),
        _ => (
            "what answers does not finish TLS",
            "is that the router's gRPC port? Does something between block TLS to it?",
        ),
    };
    report.failed(
        "tls",
        exit,
        format_args!("{label}: {failure}; {what}"),
        advice,
    );
}
