//! The tokens of clients and exporters, which are not those of streams.
//!
//! A token is a JWT signed with the lab's own key, so that it needs no list and holds over restarts. It names its
//! holder, and its generation: changing a token makes the next generation. Of each holder the newest generation is
//! accepted and the one before, so that what runs with the old token can finish; changing it twice shuts that out.
//! Instead, lab.toml may give a token.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tonic::metadata::MetadataMap;

use super::{names, refusal::Refusal};
use crate::{
    auth::{self, Claims, Key, KeyRing, Rules},
    common::{lock, since_epoch},
};

/// How long a token is good.
pub(crate) const LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// A token that ends sooner is replaced when the lab starts.
const RENEW: Duration = Duration::from_secs(30 * 86_400);

/// The issuer and audience of these tokens. `.invalid` is nobody's (RFC 2606), should a client look for it.
const ISSUER: &str = "https://lab.invalid";

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Asks for leases.
    Client,
    /// Offers hardware.
    Exporter,
}

impl Kind {
    /// Names the kind as resource names, `lab.toml` and the lab's directory do.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Client => "clients",
            Self::Exporter => "exporters",
        }
    }

    /// Names the kind as the metadata of a call does.
    fn name(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Exporter => "Exporter",
        }
    }

    fn with_article(self) -> &'static str {
        match self {
            Self::Client => "a client",
            Self::Exporter => "an exporter",
        }
    }
}

/// Somebody who has a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Holder {
    /// Means somebody of this kind and name.
    pub fn new(kind: Kind, name: &str) -> Self {
        let name = name.to_owned();
        Self { kind, name }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&names::resource(self.kind.plural(), &self.name))
    }
}

/// What is known of a holder's token.
enum Entry {
    /// It is this one, from lab.toml.
    Given(String),
    /// The newest is of this generation.
    Made(u64),
}

/// Who is in the lab, and by which tokens they are known.
pub(crate) struct Tokens {
    key: Vec<u8>,
    rules: Rules,
    holders: Mutex<BTreeMap<Holder, Entry>>,
}

impl Tokens {
    /// Makes tokens signed with `key`, for nobody yet.
    ///
    /// # Errors
    ///
    /// The key is empty.
    pub(crate) fn new(key: Vec<u8>) -> Result<Self, auth::KeyRingError> {
        let rules = Rules {
            issuer: ISSUER.to_owned(),
            audience: ISSUER.to_owned(),
            ..Rules::new(KeyRing::new([Key::new("the lab's", key.as_slice())])?)
        };
        Ok(Self {
            key,
            rules,
            holders: Mutex::default(),
        })
    }

    /// Lets somebody in, and says by which token: the given one, else the one it has had if that will be good for a
    /// while, else a new one.
    pub(crate) fn admit(
        &self,
        holder: Holder,
        given: Option<&str>,
        had: Option<&str>,
        now: SystemTime,
    ) -> String {
        let (token, entry) = if let Some(given) = given {
            (given.to_owned(), Entry::Given(given.to_owned()))
        } else {
            let kept = had.and_then(|token| {
                let (found, generation) = self.read(token, now + RENEW).ok()?;
                (found == holder).then(|| (token.to_owned(), Entry::Made(generation)))
            });
            kept.unwrap_or_else(|| (self.mint(&holder, 1, now), Entry::Made(1)))
        };
        lock(&self.holders).insert(holder, entry);
        token
    }

    /// Makes the next token of a holder.
    ///
    /// # Errors
    ///
    /// Its token is given in lab.toml.
    pub(crate) fn rotate(&self, holder: &Holder, now: SystemTime) -> Result<String, Refusal> {
        match lock(&self.holders).get_mut(holder) {
            Some(Entry::Made(generation)) => {
                *generation += 1;
                Ok(self.mint(holder, *generation, now))
            }
            _ => Err(Refusal::Terms(
                "this token is set in lab.toml; change it there and start the lab again".to_owned(),
            )),
        }
    }

    /// Tells whether this client is in the lab.
    pub(crate) fn knows_client(&self, name: &str) -> bool {
        let client = Holder::new(Kind::Client, name);
        lock(&self.holders).contains_key(&client)
    }

    /// Finds out who calls. The metadata may repeat who that is, and must not say otherwise.
    pub(crate) fn check(
        &self,
        metadata: &MetadataMap,
        needed: Kind,
        now: SystemTime,
    ) -> Result<String, Refusal> {
        let holder = self.caller(metadata, now)?;
        if holder.kind != needed {
            let needed = needed.with_article();
            return Err(Refusal::WrongKind { needed });
        }
        Ok(holder.name)
    }

    /// Finds out who calls, client or exporter.
    pub(crate) fn caller(
        &self,
        metadata: &MetadataMap,
        now: SystemTime,
    ) -> Result<Holder, Refusal> {
        let holder = self.holder(bearer(metadata)?, now)?;
        let expected = [
            ("jumpstarter-kind", holder.kind.name()),
            ("jumpstarter-namespace", names::NAMESPACE),
            ("jumpstarter-name", &holder.name),
        ];
        for (key, expected) in expected {
            let found = metadata.get(key).map(|value| value.to_str().unwrap_or("?"));
            if let Some(found) = found.filter(|found| *found != expected) {
                return Err(Refusal::WrongName {
                    named: format!("{key} {found:?}"),
                    holder: holder.to_string(),
                });
            }
        }
        Ok(holder)
    }

    fn holder(&self, token: &str, now: SystemTime) -> Result<Holder, Refusal> {
        let bad = |why: &str| Refusal::BadToken(why.to_owned());
        let holders = lock(&self.holders);
        // All are compared, so that the time it takes tells nothing.
        let mut given = None;
        for (holder, entry) in holders.iter() {
            if let Entry::Given(own) = entry
                && verify_slices_are_equal(own.as_bytes(), token.as_bytes()).is_ok()
            {
                given = Some(holder.clone());
            }
        }
        if let Some(holder) = given {
            return Ok(holder);
        }
        let (holder, generation) = self.read(token, now)?;
        match holders.get(&holder) {
            None => Err(bad(&format!("{holder} is not in lab.toml"))),
            Some(Entry::Given(_)) => Err(bad("lab.toml sets another token")),
            Some(Entry::Made(newest)) if generation + 1 < *newest => {
                Err(bad("it was replaced by a newer one"))
            }
            Some(Entry::Made(_)) => Ok(holder),
        }
    }

    /// Reads whose token this is by its own account, which only the lab's key can have written.
    fn read(&self, token: &str, now: SystemTime) -> Result<(Holder, u64), Refusal> {
        let not_ours = || {
            let text = "it is not of this lab; use a configuration file from the lab's directory";
            Refusal::BadToken(text.to_owned())
        };
        let checked = self.rules.check_token(token, now);
        let admission = checked.map_err(|refusal| match refusal {
            auth::Refusal::Expired { .. } => Refusal::BadToken(
                "its year is over; start the lab again, which writes a new one".to_owned(),
            ),
            _ => not_ours(),
        })?;
        let (resource, generation) = admission.subject.rsplit_once('#').ok_or_else(not_ours)?;
        let generation = generation.parse().map_err(|_| not_ours())?;
        for kind in [Kind::Client, Kind::Exporter] {
            if let Ok(name) = names::parse(resource, kind.plural()) {
                return Ok((Holder::new(kind, name), generation));
            }
        }
        Err(not_ours())
    }

    fn mint(&self, holder: &Holder, generation: u64, now: SystemTime) -> String {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: vec![ISSUER.to_owned()],
            exp: expiry(now).as_secs(),
            ..Claims::new(format!("{holder}#{generation}"), now)
        };
        auth::mint(&self.key, &claims)
    }
}

/// Says when a token made now ends, in whole seconds from the Unix epoch.
pub(crate) fn expiry(now: SystemTime) -> Duration {
    let seconds = (since_epoch(now) + LIFETIME).as_secs();
    Duration::from_secs(seconds)
}

fn bearer(metadata: &MetadataMap) -> Result<&str, Refusal> {
    auth::bearer(metadata.as_ref()).map_err(|refusal| {
        Refusal::NoToken(match refusal {
            auth::Refusal::MissingHeader => "missing authorization header",
            auth::Refusal::SeveralHeaders => "multiple authorization headers",
            _ => "malformed authorization header",
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const KEY: &[u8] = b"the key of a lab under test, 32 bytes";

    fn tokens() -> Tokens {
        Tokens::new(KEY.to_vec()).unwrap()
    }

    fn client(name: &str) -> Holder {
        Holder::new(Kind::Client, name)
    }

    fn metadata(pairs: &[(&'static str, &str)]) -> MetadataMap {
        let mut map = MetadataMap::new();
        for (key, value) in pairs {
            map.append(*key, value.parse().unwrap());
        }
        map
    }

    fn with(token: &str) -> MetadataMap {
        metadata(&[("authorization", &format!("Bearer {token}"))])
    }

    fn refused(result: Result<String, Refusal>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn each_is_known_by_its_token() {
        let (tokens, now) = (tokens(), SystemTime::now());
        let me = tokens.admit(client("me"), None, None, now);
        let x = tokens.admit(Holder::new(Kind::Exporter, "x"), Some("secret"), None, now);
        assert_eq!(x, "secret");
        assert_eq!(
            tokens.check(&with(&me), Kind::Client, now),
            Ok("me".to_owned())
        );
        assert_eq!(
            tokens.check(&with("secret"), Kind::Exporter, now),
            Ok("x".to_owned())
        );
        let wrong = tokens.check(&with(&me), Kind::Exporter, now);
        assert!(refused(wrong).contains("token of an exporter"));
        assert!(tokens.knows_client("me") && !tokens.knows_client("x"));
    }

    #[test]
    fn metadata_must_not_say_otherwise() {
        let (tokens, now) = (tokens(), SystemTime::now());
        let bearer = format!("bearer {}", tokens.admit(client("me"), None, None, now));
        let good = [
            ("authorization", bearer.as_str()),
            ("jumpstarter-kind", "Client"),
            ("jumpstarter-namespace", "default"),
            ("jumpstarter-name", "me"),
        ];
        assert!(tokens.check(&metadata(&good), Kind::Client, now).is_ok());
        for at in 1..4 {
            let mut bad = good;
            bad[at].1 = "you";
            let result = tokens.check(&metadata(&bad), Kind::Client, now);
            assert!(
                matches!(result, Err(Refusal::WrongName { .. })),
                "{result:?}"
            );
        }
    }

    #[test]
    fn other_tokens_are_refused() {
        let (tokens, now) = (tokens(), SystemTime::now());
        let me = tokens.admit(client("me"), None, None, now);
        let stranger = Tokens::new(b"another key, also of 32 bytes and more".to_vec()).unwrap();
        let theirs = stranger.admit(client("me"), None, None, now);
        let (_, signature) = theirs.rsplit_once('.').unwrap();
        let patched = format!("{}.{signature}", me.rsplit_once('.').unwrap().0);
        for token in [&theirs, &patched, "", "a.b.c", "x y"] {
            let result = tokens.check(&with(token), Kind::Client, now);
            assert!(refused(result).contains("not of this lab"), "{token}");
        }
        let late = now + LIFETIME + Duration::from_secs(1);
        let result = refused(tokens.check(&with(&me), Kind::Client, late));
        // The stock client would log in anew.
        assert!(!result.contains("expired"), "{result}");
        let gone = Tokens::new(KEY.to_vec()).unwrap();
        let result = refused(gone.check(&with(&me), Kind::Client, now));
        assert!(result.contains("clients/me is not in lab.toml"), "{result}");
        // A token for a stream is signed with another key in any case, and would not do with this one.
        let stream = auth::mint(KEY, &Claims::new("namespaces/default/clients/me#1", now));
        assert!(tokens.check(&with(&stream), Kind::Client, now).is_err());
        for bad in [
            metadata(&[]),
            metadata(&[("authorization", "Basic x")]),
            metadata(&[("authorization", "Bearer")]),
            metadata(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]),
        ] {
            let result = tokens.check(&bad, Kind::Client, now);
            assert!(matches!(result, Err(Refusal::NoToken(_))), "{result:?}");
        }
    }

    #[test]
    fn a_changed_token_holds_and_the_last_one_for_a_while() {
        let (tokens, now) = (tokens(), SystemTime::now());
        let first = tokens.admit(client("me"), None, None, now);
        let second = tokens.rotate(&client("me"), now).unwrap();
        let good = |token: &str| tokens.check(&with(token), Kind::Client, now).is_ok();
        assert!(good(&first) && good(&second));
        let third = tokens.rotate(&client("me"), now).unwrap();
        assert!(!good(&first) && good(&second) && good(&third));

        // A later run has it from the file.
        let later = self::tokens();
        assert_eq!(later.admit(client("me"), None, Some(&third), now), third);
        let good = |token: &str| later.check(&with(token), Kind::Client, now).is_ok();
        assert!(!good(&first) && good(&second) && good(&third));

        tokens.admit(client("fixed"), Some("given"), None, now);
        assert!(tokens.rotate(&client("fixed"), now).is_err());
        assert!(tokens.rotate(&client("nobody"), now).is_err());
    }

    #[test]
    fn a_token_that_will_not_last_or_is_not_theirs_is_replaced() {
        let (tokens, now) = (tokens(), SystemTime::now());
        let old = tokens.admit(client("me"), None, None, now - LIFETIME + RENEW / 2);
        let new = tokens.admit(client("me"), None, Some(&old), now);
        assert_ne!(old, new);
        assert_eq!(tokens.admit(client("me"), None, Some(&new), now), new);
        assert_ne!(tokens.admit(client("you"), None, Some(&new), now), new);
        assert_ne!(
            tokens.admit(client("me"), None, Some("garbage"), now),
            "garbage"
        );
    }
}
