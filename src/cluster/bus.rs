//! What carries announcements between routers, as the rest of the room sees it.

use std::{fmt, net::IpAddr};

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

/// Carries announcements. A message reaches all routers that are connected, at most once.
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

/// Says where the bus is, and how this router is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// URLs, as `nats://host:4222` or `tls://host:4222`.
    pub servers: Vec<String>,
    /// What the file of credentials holds.
    pub credentials: Option<Credentials>,
    /// Certificates to trust instead of the system's, in PEM.
    pub ca: Option<Vec<u8>>,
    /// All subjects begin with it.
    pub prefix: String,
}

/// How a router is let in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// A user's JWT and its seed, as `nsc` writes them.
    File(String),
    /// A user and a password.
    User(String, String),
    /// A token.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File(_) => "a user's JWT and seed",
            Self::User(..) => "user and password",
            Self::Token(_) => "token",
        })
    }
}

impl Credentials {
    /// Reads a file of credentials: what `nsc` writes, or one line that is `user:password` or a token.
    pub(crate) fn read(text: &str) -> Self {
        if text.contains("-----BEGIN ") {
            return Self::File(text.to_owned());
        }
        match text.trim().split_once(':') {
            Some((user, password)) => Self::User(user.to_owned(), password.to_owned()),
            None => Self::Token(text.trim().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_told_apart() {
        let file = "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n";
        assert_eq!(Credentials::read(file), Credentials::File(file.to_owned()));
        let user = Credentials::User("router".to_owned(), "a:b".to_owned());
        assert_eq!(Credentials::read("router:a:b\n"), user);
        assert_eq!(
            Credentials::read("s3cret\n"),
            Credentials::Token("s3cret".to_owned())
        );
        assert!(
            !format!("{user:?}").contains("a:b"),
            "a secret is not shown"
        );
    }
}
