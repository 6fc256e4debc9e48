//! What both ends of a TLS connection need: [`pem`] reads certificates and keys, [`trust`] says which certificates are
//! believed, [`fault`] says in a sentence what is wrong, [`provider`] is the library that encrypts, and [`der`] finds a
//! certificate's key and names.

pub(crate) mod der;
pub(crate) mod fault;
pub(crate) mod pem;
pub(crate) mod provider;
pub(crate) mod trust;
