//! One call of `RouterService/Stream`.
//!
//! [`admission`] decides whether it is let in, [`stream`] serves it; [`peer`] is a peer's HTTP/2 stream as the splice sees it.
//! When this router stops, [`successor`] finds a partner at the one that takes over, [`forward`] then stands in for the
//! partner, and [`voucher`] says whether the other one is a router.

pub mod admission;
pub mod forward;
pub mod peer;
pub mod stream;
pub mod successor;
pub(crate) mod voucher;
