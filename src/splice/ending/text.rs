//! An ending as text, in which one router tells another what happened to a peer.

use std::time::Duration;

use super::{Cause, Ending};
use crate::splice::scanner::Fault;

impl Ending {
    /// As one line of ASCII, for [`Ending::from_text`].
    pub fn to_text(self) -> String {
        let millis = |long: Duration| u64::try_from(long.as_millis()).unwrap_or(u64::MAX);
        let (what, numbers): (&str, &[u64]) = match self.cause {
            Cause::Completed => ("completed", &[]),
            Cause::Cancelled => ("cancelled", &[]),
            Cause::Lost => ("lost", &[]),
            Cause::Fault(Fault::TooLarge { size, limit }) => ("too_large", &[size, limit]),
            Cause::Fault(Fault::UndeclaredCompression) => ("undeclared_compression", &[]),
            Cause::Fault(Fault::UnknownFlag { flag }) => ("unknown_flag", &[flag.into()]),
            Cause::Fault(Fault::Truncated { missing }) => ("truncated", &[missing]),
            Cause::Deadline => ("deadline", &[]),
            Cause::Panicked => ("panicked", &[]),
            Cause::Unpaired(long) => ("unpaired", &[millis(long)]),
            Cause::Encoding => ("encoding", &[]),
            Cause::Draining => ("draining", &[]),
            Cause::Administrator => ("administrator", &[]),
            Cause::Memory => ("memory", &[]),
            Cause::MemoryIdle => ("memory_idle", &[]),
            Cause::Idle(long) => ("idle", &[millis(long)]),
            Cause::Stalled(long) => ("stalled", &[millis(long)]),
            Cause::Unfinished(long) => ("unfinished", &[millis(long)]),
            Cause::TooOld(long) => ("too_old", &[millis(long)]),
            Cause::ConnectionTooOld(long) => ("connection_too_old", &[millis(long)]),
        };
        let mut text = format!("{} {what}", if self.other { "other" } else { "this" });
        for number in numbers {
            text.push(' ');
            text.push_str(&number.to_string());
        }
        text
    }

    /// What [`Ending::to_text`] wrote. `None` if it is nothing that a router says of a stream that broke off.
    ///
    /// Least of all that the peer of this side is gone: that one has to get what was accepted for it.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let other = match words.next()? {
            "this" => false,
            "other" => true,
            _ => return None,
        };
        let what = words.next()?;
        let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let millis = Duration::from_millis;
        let cause = match (what, &*numbers) {
            ("cancelled", []) => Cause::Cancelled,
            ("lost", []) => Cause::Lost,
            ("too_large", &[size, limit]) => Cause::Fault(Fault::TooLarge { size, limit }),
            ("undeclared_compression", []) => Cause::Fault(Fault::UndeclaredCompression),
            ("unknown_flag", &[flag]) => Cause::Fault(Fault::UnknownFlag {
                flag: flag.try_into().ok()?,
            }),
            ("truncated", &[missing]) => Cause::Fault(Fault::Truncated { missing }),
            ("deadline", []) => Cause::Deadline,
            ("panicked", []) => Cause::Panicked,
            ("unpaired", &[long]) => Cause::Unpaired(millis(long)),
            ("encoding", []) => Cause::Encoding,
            ("draining", []) => Cause::Draining,
            ("administrator", []) => Cause::Administrator,
            ("memory", []) => Cause::Memory,
            ("memory_idle", []) => Cause::MemoryIdle,
            ("idle", &[long]) => Cause::Idle(millis(long)),
            ("stalled", &[long]) => Cause::Stalled(millis(long)),
            ("unfinished", &[long]) => Cause::Unfinished(millis(long)),
            ("too_old", &[long]) => Cause::TooOld(millis(long)),
            ("connection_too_old", &[long]) => Cause::ConnectionTooOld(millis(long)),
            _ => return None,
        };
        Some(Self { cause, other }).filter(|ending| ending.for_other().can_be_told())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_but_a_good_one_is_understood() {
        let faults = [
            Fault::TooLarge { size: 2, limit: 1 },
            Fault::UndeclaredCompression,
            Fault::UnknownFlag { flag: 255 },
            Fault::Truncated { missing: u64::MAX },
        ];
        let causes = super::super::tests::CAUSES.iter().copied();
        for cause in causes.chain(faults.map(Cause::Fault)) {
            for ending in [Ending::from(cause), Ending::from(cause).for_other()] {
                let text = ending.to_text();
                let can_be = cause != Cause::Completed && ending.for_other().can_be_told();
                let expected = Some(ending).filter(|_| can_be);
                assert_eq!(Ending::from_text(&text), expected, "{text}");
            }
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "this",
            "lost",
            "this lost 1",
            "this idle",
            "this idle x",
            "this idle -1",
            "this unknown_flag 256",
            "this  lost",
            "it lost",
            "this eaten",
            "other memory",
            "other lost",
            "other cancelled",
        ] {
            assert_eq!(Ending::from_text(text), None, "{text:?}");
        }
    }
}
