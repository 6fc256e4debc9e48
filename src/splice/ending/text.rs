//! An ending as text, in which a router tells a peer, or another router, what happened.

use std::time::Duration;

use super::{Cause, Ending};
use crate::splice::scanner::Fault;

impl Ending {
    /// Writes it as one line of ASCII, for [`Ending::from_text`].
    pub fn to_text(self) -> String {
        let (word, numbers) = self.cause.written();
        let mut text = format!("{} {word}", if self.other { "other" } else { "this" });
        for number in numbers {
            text.push(' ');
            text.push_str(&number.to_string());
        }
        text
    }

    /// Reads what [`Ending::to_text`] wrote of a stream that broke off.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let other = match words.next()? {
            "this" => false,
            "other" => true,
            _ => return None,
        };
        let word = words.next()?;
        let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let cause = Cause::read(word, &numbers)?;
        (cause != Cause::Completed).then_some(Self { cause, other })
    }
}

/// Reads and writes what a cause carries.
pub(super) trait Detail: Sized {
    /// Shows it to people.
    fn shown(self) -> String;

    /// Gives the cause as a word and numbers. `name`: the cause's own.
    fn written(self, name: &'static str) -> (&'static str, Vec<u64>);

    /// Reads what [`Detail::written`] gave of the cause `name`.
    fn read(name: &'static str, word: &str, numbers: &[u64]) -> Option<Self>;

    #[cfg(test)]
    fn samples() -> Vec<Self>;
}

impl Detail for () {
    fn shown(self) -> String {
        String::new()
    }

    fn written(self, name: &'static str) -> (&'static str, Vec<u64>) {
        (name, vec![])
    }

    fn read(name: &'static str, word: &str, numbers: &[u64]) -> Option<Self> {
        (word == name && numbers.is_empty()).then_some(())
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![()]
    }
}

/// Writes whole milliseconds.
impl Detail for Duration {
    fn shown(self) -> String {
        humantime::format_duration(self).to_string()
    }

    fn written(self, name: &'static str) -> (&'static str, Vec<u64>) {
        (
            name,
            vec![u64::try_from(self.as_millis()).unwrap_or(u64::MAX)],
        )
    }

    fn read(name: &'static str, word: &str, numbers: &[u64]) -> Option<Self> {
        let &[millis] = numbers else { return None };
        (word == name).then(|| Self::from_millis(millis))
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![Self::from_secs(1)]
    }
}

/// Each kind of fault has a word of its own.
macro_rules! faults {
    ($($name:ident { $($number:ident),* } = $word:literal;)+) => {
        impl Detail for Fault {
            fn shown(self) -> String {
                self.to_string()
            }

            fn written(self, _: &'static str) -> (&'static str, Vec<u64>) {
                match self {
                    $(Self::$name { $($number),* } => ($word, vec![$($number.into()),*]),)+
                }
            }

            fn read(_: &'static str, word: &str, numbers: &[u64]) -> Option<Self> {
                Some(match (word, numbers) {
                    $(($word, &[$($number),*]) => Self::$name { $($number: $number.try_into().ok()?),* },)+
                    _ => return None,
                })
            }

            #[cfg(test)]
            fn samples() -> Vec<Self> {
                vec![$(Self::$name { $($number: 255),* }),+]
            }
        }
    };
}

faults! {
    TooLarge { size, limit } = "too_large";
    UndeclaredCompression {} = "undeclared_compression";
    UnknownFlag { flag } = "unknown_flag";
    Truncated { missing } = "truncated";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_but_a_good_one_is_understood() {
        for cause in Cause::samples() {
            for ending in [Ending::from(cause), Ending::from(cause).for_other()] {
                let text = ending.to_text();
                let expected = Some(ending).filter(|_| cause != Cause::Completed);
                assert_eq!(Ending::from_text(&text), expected, "{text}");
            }
        }
    }

    #[test]
    fn routers_of_other_versions_know_the_words() {
        let fault = Fault::TooLarge { size: 2, limit: 1 };
        for (cause, text) in [
            (Cause::Lost, "this lost"),
            (Cause::Fault(fault), "this too_large 2 1"),
            (
                Cause::Fault(Fault::UndeclaredCompression),
                "this undeclared_compression",
            ),
            (Cause::Idle(Duration::from_secs(60)), "this idle 60000"),
            (Cause::MemoryIdle, "this memory_idle"),
        ] {
            assert_eq!(Ending::from(cause).to_text(), text);
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
            "this fault",
            "this unknown_flag 256",
            "this  lost",
            "it lost",
            "this eaten",
            "this peer_lost",
            "other completed",
        ] {
            assert_eq!(Ending::from_text(text), None, "{text:?}");
        }
    }
}
