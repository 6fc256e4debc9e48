//! What carries announcements between routers, as the rest of the room sees it.

use std::net::IpAddr;

use super::meet::Topic;

/// Something that happened on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is connected: what is published from now on is heard. This machine is `own` on the way there, if that is known.
    Connected { own: Option<IpAddr> },
    /// It is not.
    Disconnected,
    /// Somebody announces a half.
    Heard(Topic, Vec<u8>),
}

/// Carries announcements. A message reaches all routers that are connected, at most once, the sender too.
pub(crate) trait Bus: Send {
    /// Publishes an announcement. It may wait for room, but for no answer. An error is logged; the announcement comes again.
    fn publish(
        &mut self,
        topic: Topic,
        announcement: Vec<u8>,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Waits for what happens next. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Event> + Send;
}
