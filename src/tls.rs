//! What both ends of a TLS connection need: [`pem`] reads certificates and keys, [`trust`] says which certificates are
//! believed, [`provider`] is the library that encrypts, and [`der`] finds a certificate's key.

pub mod der;
pub mod pem;
pub mod provider;
pub mod trust;
