//! Certificates and private keys from PEM files, with words for what is wrong with a file.

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use thiserror::Error;

use super::der::Element;

/// 1.2.840.113549.1.1.1, rsaEncryption (RFC 8017, appendix A.1).
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// What is wrong with a file that should be PEM.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PemError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// The same in binary.
    #[error("it is DER, not PEM; convert it: openssl {command} -inform DER -in FILE -out FILE.pem")]
    Der {
        /// The part of OpenSSL that does it.
        command: &'static str,
    },
    /// Key and certificate in one binary file.
    #[error("it is PKCS #12, not PEM; convert it: openssl pkcs12 -in FILE -nodes -out FILE.pem")]
    Pkcs12,
    /// Anything else.
    #[error("it is not PEM, which has lines such as -----BEGIN {expected}-----")]
    NotPem {
        /// The label that was looked for.
        expected: &'static str,
    },
    /// It is PEM, of something else.
    #[error("it holds no {expected}, but: {found}")]
    Other {
        /// What was looked for.
        expected: &'static str,
        /// The labels that were found.
        found: String,
    },
    /// The key can be read with a passphrase only.
    #[error(
        "it is encrypted, and nobody is there to be asked for the passphrase; decrypt it: openssl pkey -in FILE -out \
         FILE.plain"
    )]
    Encrypted,
    /// It ends too early.
    #[error("it is cut off: a line -----BEGIN {label}----- has no line -----END {label}-----")]
    Torn {
        /// The label.
        label: String,
    },
    /// What stands between the lines is wrong.
    #[error("its PEM is damaged: {0}")]
    Damaged(&'static str),
}

/// All certificates, of which there is at least one.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong(text, &pem::Error::NoItemsFound, "CERTIFICATE")),
        Err(error) => Err(wrong(text, &error, "CERTIFICATE")),
    }
}

/// Finds the first private key.
pub(crate) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        // Headers are what the older form of encryption looks like, and no other key has any.
        let headers = b"Proc-Type: 4,ENCRYPTED";
        let encrypted = text.windows(headers.len()).any(|part| part == headers)
            || labels(text).any(|label| label == "ENCRYPTED PRIVATE KEY");
        if encrypted {
            PemError::Encrypted
        } else {
            wrong(text, &error, "PRIVATE KEY")
        }
    })
}

/// What is wrong with a private key that was read and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum KeyError {
    /// It is too easily broken, or too slow.
    #[error(
        "it is an RSA key of {bits} bits; expected 2048 to 8192: make another key, and have its certificate signed"
    )]
    RsaBits {
        /// Its length.
        bits: usize,
    },
    /// It is for another algorithm, or damaged.
    #[error(
        "it is damaged, or of a kind that is not supported; expected ECDSA on P-256, P-384 or P-521, Ed25519, or RSA"
    )]
    Kind,
}

impl KeyError {
    /// What is wrong with this key, as far as it can be told.
    pub(crate) fn of(key: &PrivateKeyDer<'_>) -> Self {
        match rsa_bits(key) {
            Some(bits) if !(2048..=8192).contains(&bits) => Self::RsaBits { bits },
            _ => Self::Kind,
        }
    }
}

/// The length of an RSA key.
fn rsa_bits(key: &PrivateKeyDer<'_>) -> Option<usize> {
    let key = match key {
        PrivateKeyDer::Pkcs1(key) => key.secret_pkcs1_der(),
        PrivateKeyDer::Pkcs8(key) => {
            // RFC 5958, section 2: version, algorithm with its identifier first, and the key.
            let version = Element::first(Element::first(key.secret_pkcs8_der())?.content)?;
            let algorithm = Element::first(version.rest)?;
            if Element::first(algorithm.content)?.content != RSA {
                return None;
            }
            Element::first(algorithm.rest)?.content
        }
        _ => return None,
    };
    // RFC 8017, appendix A.1.2: version, and then the modulus.
    let version = Element::first(Element::first(key)?.content)?;
    let modulus = Element::first(version.rest)?.content;
    let first = modulus.iter().position(|byte| *byte != 0)?;
    let leading = modulus[first].leading_zeros() as usize;
    Some((modulus.len() - first) * 8 - leading)
}

fn wrong(text: &[u8], error: &pem::Error, expected: &'static str) -> PemError {
    let found: Vec<_> = labels(text).take(MOST_LABELS).collect();
    match error {
        pem::Error::MissingSectionEnd { .. } => PemError::Torn {
            label: found.last().map_or(expected, String::as_str).to_owned(),
        },
        pem::Error::Base64Decode(_) => PemError::Damaged("there is something else than base64"),
        pem::Error::IllegalSectionStart { .. } => {
            PemError::Damaged("a line -----BEGIN ... does not end in -----")
        }
        pem::Error::SectionTooLarge => PemError::Damaged("it is too large"),
        _ if !found.is_empty() => PemError::Other {
            expected,
            found: found.join(", "),
        },
        _ => no_pem(text, expected),
    }
}

/// What a file without a single PEM label is.
fn no_pem(text: &[u8], expected: &'static str) -> PemError {
    // DER of all that is in question is a sequence with a length of two bytes (X.690, 8.1.3). PKCS #12 goes on with
    // its version, 3 (RFC 7292, section 4).
    match text {
        _ if text.trim_ascii().is_empty() => PemError::Empty,
        [0x30, 0x82, _, _, 0x02, 0x01, 0x03, ..] => PemError::Pkcs12,
        [0x30, 0x80..=0x84, ..] | [0x30, 0x20..=0x7f, 0x02 | 0x30, ..] => PemError::Der {
            command: match expected {
                "CERTIFICATE" => "x509",
                _ => "pkey",
            },
        },
        _ => PemError::NotPem { expected },
    }
}

/// More say no more.
const MOST_LABELS: usize = 4;

/// What the sections of a PEM file are said to be.
fn labels(text: &[u8]) -> impl Iterator<Item = String> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let label = line
            .trim_ascii()
            .strip_prefix(b"-----BEGIN ")?
            .strip_suffix(b"-----")?;
        // Anything may stand there, and this goes into messages.
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b' ';
        let label = str::from_utf8(label).ok()?;
        (label.len() <= 40 && label.bytes().all(|byte| plain(&byte))).then(|| label.to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const BODY: &str = "aGVsbG8gaGVsbG8=";

    fn section(label: &str) -> String {
        format!("-----BEGIN {label}-----\n{BODY}\n-----END {label}-----\n")
    }

    fn certificate_error(text: impl AsRef<[u8]>) -> String {
        certificates(text.as_ref()).unwrap_err().to_string()
    }

    fn key_error(text: impl AsRef<[u8]>) -> String {
        private_key(text.as_ref()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_pem_is_read() {
        let chain = section("CERTIFICATE") + "words between\n" + &section("CERTIFICATE");
        assert_eq!(certificates(chain.as_bytes()).unwrap().len(), 2);
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            // As `openssl ecparam -genkey` writes it.
            let text = section("EC PARAMETERS") + &section(label);
            assert!(private_key(text.as_bytes()).is_ok(), "{label}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let (certificate, key) = (section("CERTIFICATE"), section("PRIVATE KEY"));
        let der = [0x30, 0x82, 0x01, 0x20, 0x30, 0x81, 0x90];
        let p12 = [0x30, 0x82, 0x09, 0x20, 0x02, 0x01, 0x03, 0x30];
        for (said, expected) in [
            (certificate_error(""), "empty"),
            (certificate_error("hello"), "-----BEGIN CERTIFICATE-----"),
            (certificate_error(&key), "no CERTIFICATE, but: PRIVATE KEY"),
            (certificate_error(der), "openssl x509 -inform DER"),
            (certificate_error(p12), "openssl pkcs12"),
            (certificate_error(&certificate[..40]), "cut off"),
            (
                certificate_error(certificate.replace('a', "\u{1}")),
                "base64",
            ),
            (
                certificate_error(certificate.replace("E-----\na", "E---\na")),
                "-----",
            ),
            (key_error("\n"), "empty"),
            (key_error("hello"), "-----BEGIN PRIVATE KEY-----"),
            (key_error(&certificate), "no PRIVATE KEY, but: CERTIFICATE"),
            (key_error(der), "openssl pkey -inform DER"),
            (key_error(p12), "openssl pkcs12"),
            (key_error(&key[..40]), "cut off"),
            (
                key_error(section("ENCRYPTED PRIVATE KEY")),
                "openssl pkey -in",
            ),
            (
                key_error(section("RSA PRIVATE KEY").replace(
                    BODY,
                    &format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n{BODY}"),
                )),
                "is encrypted",
            ),
        ] {
            assert!(said.contains(expected), "{expected:?} in {said:?}");
            // Bytes are no words.
            assert!(!said.contains('['), "{said:?}");
        }
    }

    #[test]
    fn the_length_of_an_rsa_key_is_found_in_both_forms() {
        let text = include_bytes!("../../tests/certificates/rsa1024.key");
        let key = private_key(text).unwrap();
        let short = KeyError::RsaBits { bits: 1024 };
        assert_eq!(KeyError::of(&key), short);
        let whole = Element::first(key.secret_der()).unwrap();
        let version = Element::first(whole.content).unwrap();
        let algorithm = Element::first(version.rest).unwrap();
        let inner = Element::first(algorithm.rest).unwrap().content;
        let pkcs1 = PrivateKeyDer::Pkcs1(inner.to_vec().into());
        assert_eq!(KeyError::of(&pkcs1), short);
        let other = private_key(include_bytes!("../../tests/certificates/v1.key")).unwrap();
        assert_eq!(KeyError::of(&other), KeyError::Kind);
    }
}
