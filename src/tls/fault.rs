//! Says in a sentence what went wrong with TLS, from the side that connects, and what may help.

mod alert;
#[cfg(all(test, feature = "server"))]
mod tests;

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{AlertDescription, CertificateError, Error, ExtendedKeyPurpose, PeerIncompatible};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

pub(crate) use self::alert::alert_in;
use self::alert::{concerns_certificate, reason};
use super::der;
use crate::common::text::{joined, printable};

/// What went wrong, and what may help: nothing, or something that begins with a semicolon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub what: String,
    pub advice: &'static str,
}

const TRUST: &str = "; give its CA with --ca FILE (`tls.ca` in a configuration file)";
const TRUST_ITSELF: &str = "; if it is the right one, give the certificate itself with --ca FILE (`tls.ca` in a configuration file)";
const NAME: &str =
    "; connect to a name that the certificate has, or say which to expect with --server-name NAME";
const CLOCK: &str = "; have it renewed, or set this machine's clock if that is wrong";
const REFUSED: &str =
    "; show a certificate that it accepts: --client-certificate FILE --client-key FILE";

impl Fault {
    fn new(what: impl Into<String>, advice: &'static str) -> Self {
        let what = what.into();
        Self { what, advice }
    }

    /// Says it of a handshake that failed. `shown` is the certificate that was shown, if it came to that.
    pub(crate) fn of(error: &Error, shown: Option<&CertificateDer<'_>>) -> Self {
        match error {
            Error::InvalidCertificate(error) => certificate(error, shown),
            Error::AlertReceived(alert) => {
                let advice = match alert {
                    AlertDescription::NoApplicationProtocol => NO_HTTP2,
                    alert if concerns_certificate(*alert) => REFUSED,
                    _ => "",
                };
                let what = format!("it ended the TLS handshake: {}", reason(*alert));
                Self::new(what, advice)
            }
            Error::NoApplicationProtocol => {
                Self::new("it speaks TLS, but no HTTP/2 in it", NO_HTTP2)
            }
            Error::InvalidMessage(_) => Self::new(
                "what answers does not speak TLS",
                "; is the port right, or is this a router without TLS (--plaintext)?",
            ),
            Error::NoCertificatesPresented => Self::new("it showed no certificate", ""),
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::new(
                "it speaks neither TLS 1.2 nor 1.3, or not the one that is needed here",
                "",
            ),
            Error::PeerIncompatible(why) => {
                let why = words(&format!("{why:?}"));
                Self::new(
                    format!("its TLS and ours have too little in common: {why}"),
                    "",
                )
            }
            Error::PeerMisbehaved(why) => {
                let why = words(&format!("{why:?}"));
                Self::new(format!("it does not keep to TLS: {why}"), "")
            }
            other => Self::new(format!("TLS failed: {other}"), ""),
        }
    }
}

/// Says what is wrong with settings: of a certificate, a key, or those to trust.
pub(crate) fn setup(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => {
            "the private key does not belong to the certificate; give the two that were made together".to_owned()
        }
        Error::InvalidCertificate(CertificateError::BadEncoding) => "a certificate is damaged".to_owned(),
        Error::InvalidCertificate(error) => {
            format!("a certificate cannot be used: {}", words(&error.to_string()))
        }
        Error::General(why) => why.clone(),
        other => other.to_string(),
    }
}

/// Finds what TLS itself found wrong with a connection, in a sentence. `shown` is as for [`Fault::of`].
pub(crate) fn of_io<'e>(
    error: &'e std::io::Error,
    shown: Option<&CertificateDer<'_>>,
) -> Option<(Fault, &'e Error)> {
    let error = error.get_ref()?.downcast_ref()?;
    Some((Fault::of(error, shown), error))
}

/// What helps where something in between takes TLS away and gives no HTTP/2 on.
pub(crate) const NO_HTTP2: &str = "; is that a router? A load balancer that ends TLS must offer `h2` by ALPN, or pass TLS through";

fn certificate(error: &CertificateError, shown: Option<&CertificateDer<'_>>) -> Fault {
    let parties = shown.and_then(der::names);
    let subject = parties
        .as_ref()
        .and_then(|parties| parties.subject.as_deref());
    let named = subject.map_or_else(String::new, |name| format!(" {:?}", printable(name)));
    match error {
        CertificateError::ExpiredContext { time, not_after } => Fault::new(
            format!(
                "its certificate{named} expired at {}, {} ago by this machine's clock",
                date(*not_after),
                between(*not_after, *time)
            ),
            CLOCK,
        ),
        CertificateError::NotValidYetContext { time, not_before } => Fault::new(
            format!(
                "its certificate{named} is not valid before {}, {} from now by this machine's clock",
                date(*not_before),
                between(*time, *not_before)
            ),
            CLOCK,
        ),
        CertificateError::Expired => {
            Fault::new(format!("its certificate{named} has expired"), CLOCK)
        }
        CertificateError::NotValidYet => {
            Fault::new(format!("its certificate{named} is not valid yet"), CLOCK)
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => other_name(expected, presented, &named),
        CertificateError::NotValidForName => {
            Fault::new(format!("its certificate{named} is for another name"), NAME)
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match parties {
            Some(parties) if parties.same => Fault::new(
                format!("its certificate{named} is not trusted: it is signed by nobody but itself"),
                TRUST_ITSELF,
            ),
            Some(parties) => {
                let issuer = parties
                    .issuer
                    .as_deref()
                    .unwrap_or("an issuer without a name");
                let issuer = printable(issuer);
                Fault::new(
                    format!(
                        "its certificate{named} is not trusted: it is issued by {issuer:?}, which is unknown here"
                    ),
                    TRUST,
                )
            }
            None => Fault::new(
                "its certificate is not trusted: its issuer is unknown here",
                TRUST,
            ),
        },
        CertificateError::InvalidPurposeContext { presented, .. } => Fault::new(
            format!(
                "its certificate{named} is not for servers, but for: {}",
                joined(presented.iter().map(purpose), ", ")
            ),
            TRUST_ITSELF,
        ),
        CertificateError::Revoked => Fault::new(format!("its certificate{named} is revoked"), ""),
        CertificateError::BadEncoding => {
            Fault::new(format!("its certificate{named} is damaged"), "")
        }
        CertificateError::ApplicationVerificationFailure => Fault::new(
            format!("its certificate{named} is not the one that is expected"),
            "",
        ),
        other => unusual(&other.to_string(), &named),
    }
}

/// Says what the library has no sentence for. Of its own errors only the names are to be had.
fn unusual(error: &str, named: &str) -> Fault {
    if error.contains("CaUsedAsEndEntity") {
        return Fault::new(
            format!("its certificate{named} says that it is a CA's, not a server's"),
            TRUST_ITSELF,
        );
    }
    if error.contains("UnsupportedCertVersion") {
        return Fault::new(
            format!("its certificate{named} is of X.509 version 1, which has no names"),
            "; have one of version 3 made, with the router's name as subjectAltName",
        );
    }
    Fault::new(
        format!("its certificate{named} cannot be used: {}", words(error)),
        "",
    )
}

fn other_name(expected: &ServerName<'_>, presented: &[String], named: &str) -> Fault {
    let expected = expected.to_str();
    let mut others: Vec<_> = presented
        .iter()
        .filter_map(|name| presented_name(name))
        .collect();
    others.sort();
    others.dedup();
    let more = others.len().saturating_sub(8);
    others.truncate(8);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    if others.is_empty() {
        let what = format!("its certificate{named} has no names, so it is not for {expected:?}");
        let advice = "; have one made with the router's name as subjectAltName, or give the certificate itself with --ca FILE";
        return Fault::new(what, advice);
    }
    let others = joined(others.iter().map(|name| format!("{name:?}")), ", ");
    Fault::new(
        format!("its certificate is for {others}{rest}, not for {expected:?}"),
        NAME,
    )
}

/// Takes the name out of how the library shows it: `DnsName("localhost")`, `IpAddress(127.0.0.1)`.
fn presented_name(shown: &str) -> Option<String> {
    let (kind, name) = shown.strip_suffix(')')?.split_once('(')?;
    let name = printable(name.trim_matches('"'));
    match kind {
        "DnsName" => Some(name),
        "IpAddress" => Some(
            name.parse()
                .map_or(name, |address: IpAddr| address.to_string()),
        ),
        _ => None,
    }
}

fn purpose(purpose: &ExtendedKeyPurpose) -> String {
    match purpose {
        ExtendedKeyPurpose::ClientAuth => "clients".to_owned(),
        ExtendedKeyPurpose::ServerAuth => "servers".to_owned(),
        ExtendedKeyPurpose::Other(_) => purpose.to_string(),
    }
}

/// Makes words of a name such as `NoCipherSuitesInCommon`.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    let mut before = ' ';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            words.push(' ');
        }
        let lower = c.is_uppercase() && !before.is_uppercase();
        words.extend(if lower { c.to_ascii_lowercase() } else { c }.escape_debug());
        before = c;
    }
    words
}

fn date(time: UnixTime) -> String {
    // Beyond that year no such text can be written.
    const LAST: u64 = 253_402_300_799;
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(time.as_secs().min(LAST));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The time between two, in its two largest units.
fn between(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    let long = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    let units: Vec<_> = long.split(' ').take(2).collect();
    units.join(" ")
}
