//! Several routers behind one address: halves of a tunnel find each other wherever they wait.
//!
//! [`meet`] decides what is announced and who calls whom, [`announcement`] is how that looks on the wire, [`bus`] carries it
//! between routers, and [`halves`] joins the three with the streams that wait. The call itself, from router to router, is
//! `transport::call`'s: bytes never pass through the bus. Without a bus nothing of this runs.

pub(crate) mod announcement;
pub(crate) mod bus;
pub(crate) mod halves;
pub(crate) mod meet;
#[cfg(feature = "cluster")]
pub(crate) mod nats;
