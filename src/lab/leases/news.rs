//! What people want to read about leases, in sentences: who got which exporter, who waits for whom, and how it ended.

use std::fmt;

use super::{End, Lease, Leases, Time};
use crate::common::text::joined;

/// So many exporters are named to whoever waits for them.
const NAMED: usize = 4;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A client got an exporter.
    Got {
        /// The client.
        client: String,
        /// Its exporter.
        exporter: String,
        /// The lease.
        lease: String,
    },
    /// A client waits.
    Waits {
        /// The client.
        client: String,
        /// What for, and who has that.
        what: String,
        /// The lease.
        lease: String,
    },
    /// A lease is over.
    Ended {
        /// Whose it was.
        client: String,
        /// The exporter that the client had.
        exporter: Option<String>,
        /// The lease.
        lease: String,
        /// Why.
        why: End,
    },
}

impl fmt::Display for News {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Got {
                client,
                exporter,
                lease,
            } => write!(out, "{client} has got exporter {exporter} (lease {lease})"),
            Self::Waits {
                client,
                what,
                lease,
            } => write!(out, "{client} waits for {what} (lease {lease})"),
            Self::Ended {
                client,
                exporter,
                lease,
                why,
            } => {
                let ended = match why {
                    End::Released => "it was released",
                    End::Expired => "its time was up",
                    End::Unsatisfiable { message, .. } => message,
                };
                match exporter {
                    Some(exporter) => write!(
                        out,
                        "{client} no longer has exporter {exporter} (lease {lease}): {ended}"
                    ),
                    None => write!(out, "{client} no longer waits (lease {lease}): {ended}"),
                }
            }
        }
    }
}

impl Leases {
    /// Gives what has happened since this was last asked, in its order.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Tells of a lease that ends.
    pub(super) fn tell_of_end(&mut self, lease: &str, exporter: Option<String>, why: End) {
        self.told.remove(lease);
        let Some(lease) = self.all.get(lease) else {
            return;
        };
        self.news.push(News::Ended {
            client: lease.client.clone(),
            exporter,
            lease: lease.name.clone(),
            why,
        });
    }

    /// Tells of a lease that has its exporter.
    pub(super) fn tell_of_begin(&mut self, lease: &str, exporter: &str) {
        self.told.remove(lease);
        let Some(lease) = self.all.get(lease) else {
            return;
        };
        self.news.push(News::Got {
            client: lease.client.clone(),
            exporter: exporter.to_owned(),
            lease: lease.name.clone(),
        });
    }

    /// Tells who waits for whom, once, and again when that is somebody else.
    pub(super) fn tell_of_waiting(&mut self, now: Time) {
        let waiting = self.all.values().filter(|lease| {
            let waits = !lease.ended() && lease.holds().is_none();
            waits && lease.due() <= now
        });
        let mut more = Vec::new();
        for lease in waiting {
            let told = self.told.get(&lease.name);
            let (what, is_passing) = self.obstacle(lease);
            if told.is_none_or(|told| *told != what && !is_passing) {
                more.push((lease.name.clone(), lease.client.clone(), what));
            }
        }
        for (lease, client, what) in more {
            self.told.insert(lease.clone(), what.clone());
            self.news.push(News::Waits {
                client,
                what,
                lease,
            });
        }
    }

    /// Says what a lease waits for, and whether that is over in a moment.
    fn obstacle(&self, lease: &Lease) -> (String, bool) {
        let mut is_passing = false;
        let mut named = Vec::new();
        let mut more = 0;
        for (name, exporter) in self.matching(&lease.terms) {
            let holder = exporter.lease.as_ref().and_then(|held| self.all.get(held));
            is_passing |= exporter.online() && holder.is_none();
            if named.len() == NAMED {
                more += 1;
                continue;
            }
            named.push(match holder {
                Some(holder) => format!("{name}, which {} has", holder.client),
                None if !exporter.online() => format!("{name}, which is not running"),
                None => format!("{name}, which is not ready"),
            });
        }
        let what = match &*named {
            [only] => format!("exporter {only}"),
            several => {
                let more = if more > 0 {
                    format!("; or {more} more")
                } else {
                    String::new()
                };
                format!("an exporter: {}{more}", joined(several, "; or "))
            }
        };
        (what, is_passing)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::{
        lab::{
            leases::{Exporter, Terms, Times},
            selector::{Labels, Selector},
        },
        protocol::v1::ExporterStatus,
    };

    const NOW: Time = Duration::from_secs(1_800_000_000);

    fn news(lab: &mut Leases) -> Vec<String> {
        lab.take_news().iter().map(ToString::to_string).collect()
    }

    fn wish() -> Terms {
        Terms {
            selector: Selector::parse("board=x").unwrap(),
            duration: Duration::from_secs(60),
            ..Terms::default()
        }
    }

    #[test]
    fn it_is_said_who_has_and_who_waits_by_name() {
        let labels = Labels::from([("board".to_owned(), "x".to_owned())]);
        let exporter = |name: &str| {
            let made = Exporter::new(labels.clone(), true, "uuid".to_owned());
            (name.to_owned(), made)
        };
        let mut lab = Leases::new([exporter("one")].into());
        lab.request("amy", "l1", wish(), NOW).unwrap();
        assert_eq!(
            news(&mut lab),
            ["amy waits for exporter one, which is not running (lease l1)"]
        );
        lab.connect("one", NOW).unwrap();
        assert_eq!(news(&mut lab), ["amy has got exporter one (lease l1)"]);
        lab.report("one", ExporterStatus::LeaseReady, String::new(), NOW)
            .unwrap();
        lab.request("zoe", "l2", wish(), NOW).unwrap();
        assert_eq!(
            news(&mut lab),
            ["zoe waits for exporter one, which amy has (lease l2)"]
        );
        lab.settle(NOW);
        assert!(news(&mut lab).is_empty(), "it is said once");
        lab.amend("amy", "l1", Times::default(), Some("bob"), NOW)
            .unwrap();
        assert_eq!(
            news(&mut lab),
            ["zoe waits for exporter one, which bob has (lease l2)"]
        );
        lab.settle(NOW + Duration::from_secs(60));
        assert_eq!(
            news(&mut lab),
            ["bob no longer has exporter one (lease l1): its time was up"]
        );
        lab.report("one", ExporterStatus::Available, String::new(), NOW)
            .unwrap();
        assert_eq!(news(&mut lab), ["zoe has got exporter one (lease l2)"]);
        lab.release("l2", NOW).unwrap();
        assert_eq!(
            news(&mut lab),
            ["zoe no longer has exporter one (lease l2): it was released"]
        );
        let none = Terms {
            exporter: Some("two".to_owned()),
            ..wish()
        };
        lab.request("amy", "l3", none, NOW).unwrap();
        let said = news(&mut lab).concat();
        assert!(
            said.starts_with(
                "amy no longer waits (lease l3): Requested exporter two was not found"
            ),
            "{said}"
        );

        let mut lab = Leases::new(["a", "b", "c", "d", "e"].map(exporter).into());
        lab.request("amy", "l1", wish(), NOW).unwrap();
        let said = news(&mut lab).concat();
        assert!(
            said.contains("for an exporter: a, which is not running; or b, "),
            "{said}"
        );
        assert!(said.contains("; or 1 more (lease l1)"), "{said}");
    }
}
