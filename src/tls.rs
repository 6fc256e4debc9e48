//! What both ends of a TLS connection need: [`pem`] reads certificates and keys, [`trust`] says which certificates are
//! believed, [`provider`] is the library that encrypts, and [`der`] finds a certificate's key.

pub(crate) mod der;
pub(crate) mod pem;
pub(crate) mod provider;
pub(crate) mod trust;
