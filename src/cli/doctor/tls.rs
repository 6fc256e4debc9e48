//! TLS on one way: what is shown there, and whether the options believe it.

use std::time::SystemTime;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{
    finding::Report,
    http2::{self, greeting},
    way::Way,
};
use crate::{
    cli::exit::Exit,
    client::{ConnectError, connect::HandshakeError},
    common::{since_epoch, text::joined},
    tls::described::Described,
};

/// Certificates with fewer days left are worth a word.
const FEW_DAYS: i64 = 14;

/// Looks at TLS, and says whether HTTP/2 can follow.
pub(super) async fn examine(way: &Way, report: &mut Report) -> bool {
    // Whoever believes anything sees what is shown.
    match way.credulous.tls().await {
        Ok(stream) => {
            session(&stream, way, report);
            let good = certificates(&stream, way, report);
            trusted(way, good, report).await
        }
        Err(error) => {
            why_not(way, &error, report).await;
            false
        }
    }
}

/// Says what was agreed upon.
fn session(stream: &TlsStream<TcpStream>, way: &Way, report: &mut Report) {
    let (_, session) = stream.get_ref();
    let version = session
        .protocol_version()
        .and_then(|version| version.as_str());
    let suite = session.negotiated_cipher_suite();
    let suite = suite.and_then(|suite| suite.suite().as_str());
    let group = session.negotiated_key_exchange_group();
    let group = group.and_then(|group| group.name().as_str());
    let parts = joined([version, suite, group].into_iter().flatten(), ", ");
    let parts = parts.replace("TLSv1_", "TLSv1.");
    report.good(
        "tls",
        format_args!("{}: {parts}, HTTP/2 by ALPN", way.label),
    );
}

/// Says what was shown. Gives false if it is expired or not yet good.
fn certificates(stream: &TlsStream<TcpStream>, way: &Way, report: &mut Report) -> bool {
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let chain: Vec<_> = chain.iter().filter_map(Described::of).collect();
    let Some(first) = chain.first() else {
        report.warning("cert", format_args!("{}: it cannot be read", way.label), "");
        return true;
    };
    let by = if first.subject == first.issuer {
        "signed by itself".to_owned()
    } else {
        let issuers = joined(chain.iter().map(|one| &one.issuer), "; ");
        format!("signed by {issuers}")
    };
    let names = match &first.names[..] {
        [] => "no names at all".to_owned(),
        names => joined(names, ", "),
    };
    let now = since_epoch(SystemTime::now()).as_secs().cast_signed();
    let days = (first.not_after - now).div_euclid(86_400);
    let early = first.not_before > now;
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
    } else if early {
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
    days >= 0 && !early
}

/// Says whether the options given believe it. `good`: nothing worse is known already.
async fn trusted(way: &Way, good: bool, report: &mut Report) -> bool {
    let label = &way.label;
    let Some(by) = &way.believed_by else {
        report.warning(
            "trust",
            format_args!("{label}: any certificate is believed (--insecure)"),
            "name the certificate or its CA with --ca FILE, or anybody between can read along",
        );
        return true;
    };
    match way.connector.tls().await {
        Ok(_) => {
            report.good("trust", format_args!("{label}: trusted by {by}"));
            true
        }
        Err(error) => {
            // An expired one was said already.
            if good {
                let advice = error.advice();
                let advice = advice.trim_start_matches("; ");
                report.failed(
                    "trust",
                    Exit::Unreachable,
                    format_args!("{error}, not trusted by {by}"),
                    advice,
                );
            }
            false
        }
    }
}

/// Finds out why there is no handshake.
async fn why_not(way: &Way, error: &ConnectError, report: &mut Report) {
    let ConnectError::Handshake { error: cause, .. } = error else {
        report.failed("tls", Exit::Unreachable, error, error.advice());
        return;
    };
    let cause = &**cause;
    let nothing_came = matches!(
        cause,
        HandshakeError::Silent { .. } | HandshakeError::Cut { .. }
    );
    if nothing_came && way.short.tls().await.is_ok() {
        let advice =
            "something between cuts long first messages of TLS: mend it, or use --no-post-quantum";
        let text = format!("{error}; with a short ClientHello it works");
        report.failed("tls", Exit::Unreachable, text, advice);
        return;
    }
    let found = match cause {
        HandshakeError::NotTls(answer) => Some(answer.clone()),
        _ if nothing_came => greeting(&way.credulous).await,
        _ => None,
    };
    let advice = match cause {
        HandshakeError::NoHttp2 => {
            "gRPC needs HTTP/2: what ends TLS there is no router, or a proxy or ingress in front of it, which must pass TLS through or speak HTTP/2"
        }
        _ => http2::advice(found.as_ref(), true),
    };
    report.failed("tls", Exit::Unreachable, error, advice);
}
