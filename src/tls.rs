//! What both ends of a TLS connection need: [`pem`] reads certificates and keys, [`trust`] says which certificates are
//! believed, [`fault`] says in a sentence what is wrong, [`provider`] is the library that encrypts, [`der`] finds a
//! certificate's key and names, and `described` is what people are told of one.

pub(crate) mod der;
#[cfg(feature = "server")]
pub(crate) mod described;
pub(crate) mod fault;
pub(crate) mod pem;
pub(crate) mod provider;
pub(crate) mod trust;
