#![allow(clippy::unwrap_used)]

use super::*;

fn of(error: impl Into<Error>) -> String {
    let fault = Fault::of(&error.into(), None);
    fault.what + fault.advice
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[test]
fn certificates_are_said_with_names_and_dates() {
    let (time, not_after) = (at(1_000_000_000), at(999_000_000));
    let expired = of(CertificateError::ExpiredContext { time, not_after });
    assert!(
        expired
            .starts_with("its certificate expired at 2001-08-28T12:00:00Z, 11days 13h ago by this"),
        "{expired}"
    );
    let not_before = at(1_000_086_400);
    let early = of(CertificateError::NotValidYetContext { time, not_before });
    assert!(
        early.contains("is not valid before 2001-09-10T01:46:40Z, 1day from now"),
        "{early}"
    );
    let expected = ServerName::try_from("router.test").unwrap();
    let presented = [
        "DnsName(\"localhost\")",
        "IpAddress(127.0.0.1)",
        "DnsName(\"localhost\")",
    ];
    let presented = presented.map(str::to_owned).to_vec();
    let other = of(CertificateError::NotValidForNameContext {
        expected: expected.clone(),
        presented,
    });
    assert!(
        other.starts_with(
            "its certificate is for \"127.0.0.1\", \"localhost\", not for \"router.test\"; connect"
        ),
        "{other}"
    );
    let none = of(CertificateError::NotValidForNameContext {
        expected,
        presented: vec![],
    });
    assert!(
        none.contains("has no names, so it is not for \"router.test\""),
        "{none}"
    );
}

#[test]
fn who_issued_an_unknown_certificate_is_said() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let error = CertificateError::UnknownIssuer.into();
    let fault = Fault::of(&error, Some(signed.cert.der()));
    assert!(
        fault.what.contains("signed by nobody but itself"),
        "{}",
        fault.what
    );
    assert_eq!(fault.advice, TRUST_ITSELF);
    let pair = issued("the lab's CA");
    let fault = Fault::of(&error, Some(&pair));
    assert!(
        fault
            .what
            .contains("is issued by \"the lab's CA\", which is unknown here"),
        "{}",
        fault.what
    );
    assert_eq!(fault.advice, TRUST);
}

/// A certificate of an authority with this name.
fn issued(name: &str) -> CertificateDer<'static> {
    let (key, own) = (
        rcgen::KeyPair::generate().unwrap(),
        rcgen::KeyPair::generate().unwrap(),
    );
    let mut ca = rcgen::CertificateParams::default();
    ca.distinguished_name.push(rcgen::DnType::CommonName, name);
    let issuer = rcgen::Issuer::new(ca, key);
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.signed_by(&own, &issuer).unwrap().der().clone()
}

/// The library's own texts are names of its types.
#[test]
fn nothing_is_said_in_the_words_of_a_program() {
    let errors: Vec<Error> = vec![
        Error::AlertReceived(AlertDescription::HandshakeFailure),
        Error::AlertReceived(AlertDescription::RecordOverflow),
        Error::AlertReceived(AlertDescription::CertificateRequired),
        Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
        Error::NoApplicationProtocol,
        Error::NoCertificatesPresented,
        PeerIncompatible::NoCipherSuitesInCommon.into(),
        PeerIncompatible::ServerDoesNotSupportTls12Or13.into(),
        rustls::PeerMisbehaved::IllegalMiddleboxChangeCipherSpec.into(),
        CertificateError::UnhandledCriticalExtension.into(),
        CertificateError::BadEncoding.into(),
        CertificateError::ApplicationVerificationFailure.into(),
    ];
    for error in errors {
        let text = of(error);
        let camel = text
            .as_bytes()
            .windows(2)
            .any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
        assert!(
            !camel && !text.contains(['{', '(']) || text.contains("(--plaintext)"),
            "{text}"
        );
    }
    assert_eq!(
        words("NoCipherSuitesInCommon"),
        "no cipher suites in common"
    );
}
