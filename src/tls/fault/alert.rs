//! Says what alerts of TLS mean to the side that gets one.

use rustls::AlertDescription;

use super::words;

/// How rustls begins what it says of an alert.
const ALERT: &str = "received fatal alert: ";

/// Says what the alert means of which `error` tells in the library's words. HTTP/2 keeps these only.
pub(crate) fn alert_in(error: &str) -> Option<String> {
    let (_, name) = error.split_once(ALERT)?;
    let mut all = (0..=u8::MAX).map(AlertDescription::from);
    let named = |one: &AlertDescription| name.split(' ').next() == Some(&*format!("{one:?}"));
    Some(all.find(named).map_or_else(|| words(name), reason))
}

/// Says what an alert means: the reason of whoever sent it.
pub(super) fn reason(alert: AlertDescription) -> String {
    let known = match alert {
        AlertDescription::HandshakeFailure => "there is no method that both know",
        AlertDescription::ProtocolVersion => "it wants another version of TLS",
        AlertDescription::UnrecognisedName => "the name that it was asked for is unknown to it",
        AlertDescription::NoApplicationProtocol => "it speaks no HTTP/2 there",
        AlertDescription::CertificateRequired => "it asks for a certificate of this side's",
        AlertDescription::UnknownCA => "the issuer of this side's certificate is unknown to it",
        AlertDescription::CertificateExpired => "this side's certificate has expired",
        AlertDescription::CertificateRevoked => "this side's certificate is revoked",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => "it does not accept this side's certificate",
        AlertDescription::AccessDenied => "this side is not let in",
        AlertDescription::InternalError => "something is wrong with it",
        other => return format!("its reason is {:?}", words(&format!("{other:?}"))),
    };
    known.to_owned()
}

/// Tells whether it is about the certificate that this side shows.
pub(super) fn concerns_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
    )
}
