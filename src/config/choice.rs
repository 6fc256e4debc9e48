//! Values that are one of a few words.

use super::setting::{Setting, quoted};

/// Declares an enum whose variants are written as fixed words.
macro_rules! choice {
    ($(#[doc = $doc:literal])+ $name:ident, $expects:literal {
        $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal,)+
    }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $variant_doc])+ $variant,)+
        }

        impl Setting for $name {
            const EXPECTS: &'static str = $expects;

            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(String::new()),
                }
            }

            fn show(&self) -> Option<String> {
                Some(quoted(match self {
                    $(Self::$variant => $word,)+
                }))
            }
        }
    };
}

choice! {
    /// The cryptography behind TLS.
    TlsProvider, r#""auto", "aws-lc-rs" or "ring""# {
        /// Whatever suits the machine best.
        Auto = "auto",
        /// AWS-LC.
        AwsLcRs = "aws-lc-rs",
        /// ring.
        Ring = "ring",
    }
}

choice! {
    /// How log lines are written.
    LogFormat, r#""auto", "json" or "text""# {
        /// Text when stderr is a terminal, JSON otherwise.
        Auto = "auto",
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Text = "text",
    }
}
