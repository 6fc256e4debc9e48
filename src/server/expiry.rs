//! Watches how long the certificate is still good, and says so before it is too late.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

use crate::{observe::metrics::Metrics, transport::tls::current::CurrentTls};

const DAY: Duration = Duration::from_secs(86_400);

/// How often the clock is compared.
const LOOK: Duration = Duration::from_secs(3600);

/// How urgent a new certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// It is good for at least 14 days.
    None,
    /// Less than 14 days.
    Soon,
    /// Less than a day.
    Now,
    /// It has expired.
    Late,
}

impl Urgency {
    fn of(expires: SystemTime, now: SystemTime) -> Self {
        match expires.duration_since(now) {
            Ok(left) if left >= 14 * DAY => Self::None,
            Ok(left) if left >= DAY => Self::Soon,
            Ok(left) if !left.is_zero() => Self::Now,
            _ => Self::Late,
        }
    }
}

/// Says it once a day, and at once when it gets more urgent.
#[derive(Debug)]
struct Reminder {
    said: Option<(Urgency, SystemTime)>,
}

impl Reminder {
    /// Whether it has to be said now.
    fn due(&mut self, urgency: Urgency, now: SystemTime) -> bool {
        if urgency == Urgency::None {
            self.said = None;
            return false;
        }
        let due = self.said.is_none_or(|(before, at)| {
            // A clock that was set back must not silence it.
            urgency > before || now.duration_since(at).is_ok_and(|past| past >= DAY) || at > now
        });
        if due {
            self.said = Some((urgency, now));
        }
        due
    }
}

/// Watches for as long as it is polled.
pub(super) async fn watch(certificate: Arc<CurrentTls>, metrics: Arc<Metrics>) {
    let mut reminder = Reminder { said: None };
    loop {
        let now = SystemTime::now();
        match certificate.expires_at() {
            Some(expires) => {
                metrics.set_certificate_expiry(expires);
                let urgency = Urgency::of(expires, now);
                if reminder.due(urgency, now) {
                    say(urgency, expires, now);
                }
            }
            None => tracing::warn!("cannot read when the certificate expires"),
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = certificate.replaced() => reminder.said = None,
        }
    }
}

fn say(urgency: Urgency, expires: SystemTime, now: SystemTime) {
    let Some(text) = remark(expires, now) else {
        return;
    };
    let expires = humantime::format_rfc3339_seconds(expires);
    match urgency {
        Urgency::None => {}
        Urgency::Soon => tracing::warn!(%expires, "{text}"),
        Urgency::Now | Urgency::Late => tracing::error!(%expires, "{text}"),
    }
}

/// What is to be said of a certificate that expires then, if anything.
pub(super) fn remark(expires: SystemTime, now: SystemTime) -> Option<String> {
    let hours = expires.duration_since(now).unwrap_or_default().as_secs() / 3600;
    let when = match Urgency::of(expires, now) {
        Urgency::None => return None,
        Urgency::Soon => format!("expires in {} days", hours / 24),
        Urgency::Now => format!("expires in {hours} hours"),
        Urgency::Late => "has expired".to_owned(),
    };
    Some(format!(
        "the certificate {when}; replace it (tls.certificate)"
    ))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn urgency_rises_as_the_end_comes_near() {
        let now = UNIX_EPOCH + 1000 * DAY;
        let second = Duration::from_secs(1);
        for (expires, urgency) in [
            (now + 14 * DAY, Urgency::None),
            (now + 14 * DAY - second, Urgency::Soon),
            (now + DAY, Urgency::Soon),
            (now + DAY - second, Urgency::Now),
            (now + second, Urgency::Now),
            (now, Urgency::Late),
            (UNIX_EPOCH, Urgency::Late),
        ] {
            assert_eq!(Urgency::of(expires, now), urgency);
        }
    }

    #[test]
    fn said_daily_and_when_it_gets_more_urgent() {
        let mut reminder = Reminder { said: None };
        let start = UNIX_EPOCH + 1000 * DAY;
        let hours = |count: u32| start + count * Duration::from_secs(3600);
        for (hour, urgency, due) in [
            (0, Urgency::None, false),
            (1, Urgency::Soon, true),
            (2, Urgency::Soon, false),
            (24, Urgency::Soon, false),
            (25, Urgency::Soon, true),
            (26, Urgency::Now, true),
            (27, Urgency::Now, false),
            (28, Urgency::Late, true),
            (52, Urgency::Late, true),
            (53, Urgency::None, false),
            (54, Urgency::Soon, true),
            // The clock was set back.
            (10, Urgency::Soon, true),
        ] {
            assert_eq!(reminder.due(urgency, hours(hour)), due, "hour {hour}");
        }
    }
}
