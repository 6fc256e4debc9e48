//! Values that are one of a few words.

use super::setting::{Setting, quoted};
use crate::observe::log::LogFormat;
use crate::tls::provider::Provider;

/// Makes a setting of an enum whose values are written as fixed words.
macro_rules! choice {
    ($name:ident, $expects:literal { $($variant:ident = $word:literal,)+ }) => {
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
    Provider, r#""auto", "aws-lc-rs" or "ring""# {
        Auto = "auto",
        AwsLcRs = "aws-lc-rs",
        Ring = "ring",
    }
}

choice! {
    LogFormat, r#""auto", "json" or "text""# {
        Auto = "auto",
        Json = "json",
        Text = "text",
    }
}
