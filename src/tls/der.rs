//! As much of DER as it takes to find a key: rustls reads no certificates of version 1, which peers may well know.

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

/// The public key of a certificate of any version. `None` if it cannot be read.
pub(crate) fn public_key(
    certificate: &CertificateDer<'_>,
) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let to_be_signed = Element::first(Element::first(certificate)?.content)?;
    let mut field = Element::first(to_be_signed.content)?;
    if field.tag == VERSION {
        field = Element::first(field.rest)?;
    }
    // Serial number, algorithm of the signature, issuer, validity, subject, and then the key.
    for _ in 0..5 {
        field = Element::first(field.rest)?;
    }
    (field.tag == SEQUENCE).then(|| field.whole.to_vec().into())
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

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = public_key(&bytes.into());
        }
    }
}
