//! As much of DER as it takes to find a certificate's key and names: rustls reads no certificates of version 1, which peers
//! may well know, and names nobody.

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

/// The tag of a sequence, and of the version that begins a certificate of version 2 or 3 (RFC 5280, section 4.1).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// An element at the beginning of some bytes (X.690, section 8.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'d> {
    /// Says what it is.
    pub tag: u8,
    /// Has tag and length in front of the content.
    pub whole: &'d [u8],
    /// Is what the element holds.
    pub content: &'d [u8],
    /// Follows the element.
    pub rest: &'d [u8],
}

impl<'d> Element<'d> {
    /// Reads the first element. `None` if it is not all there, or longer than 16 MiB.
    pub(crate) fn first(der: &'d [u8]) -> Option<Self> {
        let [tag, length, ..] = *der else {
            return None;
        };
        let (header, length) = match length {
            0..=0x7f => (2, usize::from(length)),
            0x81..=0x83 => {
                let header = 2 + usize::from(length & 0x7f);
                let bytes = der.get(2..header)?.iter();
                (
                    header,
                    bytes.fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
                )
            }
            _ => return None,
        };
        let (whole, rest) = der.split_at_checked(header + length)?;
        let content = &whole[header..];
        Some(Self {
            tag,
            whole,
            content,
            rest,
        })
    }
}

/// Fields of a certificate of any version, counted from its serial number.
const ISSUER: usize = 2;
const SUBJECT: usize = 4;
const KEY: usize = 5;

/// 2.5.4.3, commonName (RFC 5280, appendix A.1), as an element.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];

/// A certificate's field. `None` if it cannot be read.
fn field<'d>(certificate: &'d CertificateDer<'_>, number: usize) -> Option<Element<'d>> {
    let to_be_signed = Element::first(Element::first(certificate)?.content)?;
    let mut field = Element::first(to_be_signed.content)?;
    if field.tag == VERSION {
        field = Element::first(field.rest)?;
    }
    for _ in 0..number {
        field = Element::first(field.rest)?;
    }
    (field.tag == SEQUENCE).then_some(field)
}

/// The public key of a certificate of any version. `None` if it cannot be read.
pub(crate) fn public_key(
    certificate: &CertificateDer<'_>,
) -> Option<SubjectPublicKeyInfoDer<'static>> {
    Some(field(certificate, KEY)?.whole.to_vec().into())
}

/// Whom a certificate is for, and who issued it, each by a name for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub subject: Option<String>,
    pub issuer: Option<String>,
    /// Says that both are the same: as a rule it has signed itself.
    pub same: bool,
}

/// The names of a certificate's subject and issuer. `None` if they cannot be read.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Option<Names> {
    let (subject, issuer) = (field(certificate, SUBJECT)?, field(certificate, ISSUER)?);
    Some(Names {
        subject: name(subject.content),
        issuer: name(issuer.content),
        same: subject.whole == issuer.whole,
    })
}

/// Finds the common name in a name, which is a sequence of sets of attributes; without one, the value of the last
/// attribute.
fn name(mut sets: &[u8]) -> Option<String> {
    let mut last = None;
    while let Some(set) = Element::first(sets) {
        let attribute = Element::first(set.content)?;
        let kind = Element::first(attribute.content)?;
        let value = Element::first(kind.rest)?;
        last = Some(String::from_utf8_lossy(value.content).into_owned());
        if kind.whole == COMMON_NAME {
            break;
        }
        sets = set.rest;
    }
    last.filter(|name| !name.is_empty())
}

#[cfg(all(test, feature = "server"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use rustls::server::ParsedCertificate;

    use super::*;
    use crate::tls::pem;

    #[test]
    fn the_key_is_the_one_that_other_readers_find() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der();
        let parsed = ParsedCertificate::try_from(certificate).unwrap();
        let expected = parsed.subject_public_key_info().into_owned();
        assert_eq!(public_key(certificate), Some(expected));

        let text = include_bytes!("../../tests/certificates/v1.crt");
        let first = &pem::certificates(text).unwrap()[0];
        let (_, read) = x509_parser::parse_x509_certificate(first).unwrap();
        assert_eq!(public_key(first).unwrap().as_ref(), read.public_key().raw);
    }

    #[test]
    fn names_are_the_common_names() {
        let text = include_bytes!("../../tests/certificates/v1.crt");
        let first = &pem::certificates(text).unwrap()[0];
        let (_, read) = x509_parser::parse_x509_certificate(first).unwrap();
        let expected = read
            .subject()
            .iter_common_name()
            .next()
            .unwrap()
            .as_str()
            .unwrap();
        let names = names(first).unwrap();
        assert_eq!(names.subject.as_deref(), Some(expected));
        assert_eq!(
            names.same,
            read.subject().as_raw() == read.issuer().as_raw()
        );
        let organization = [
            0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x0a, 0x0c, 0x02, b'a', b'b',
        ];
        assert_eq!(name(&organization).as_deref(), Some("ab"));
        assert_eq!(name(&[]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let certificate = bytes.into();
            let _ = (public_key(&certificate), names(&certificate));
        }
    }
}
