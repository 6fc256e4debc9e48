//! The declarative table behind every key: what a `Key` knows, and the macro that writes the table.

use toml::de::DeValue;

use super::Config;
use super::setting::{Invalid, Item, Setting};

/// Every environment variable of the router starts with this.
pub const ENV_PREFIX: &str = "JUMPSTARTER_ROUTER_";

/// Names the configuration file.
pub const CONFIG_FILE_ENV: &str = "JUMPSTARTER_ROUTER_CONFIG";

/// Holds a token for the commands that use a router.
pub const TOKEN_ENV: &str = "JUMPSTARTER_ROUTER_TOKEN";

/// The variables with the prefix that are no keys: the last three say to clients where the router is.
pub(super) const OTHER_ENV: [&str; 5] = [
    CONFIG_FILE_ENV,
    TOKEN_ENV,
    "JUMPSTARTER_ROUTER_TOKEN_FILE",
    "JUMPSTARTER_ROUTER_ENDPOINT",
    "JUMPSTARTER_ROUTER_TRUST",
];

/// Names under which upstream's deployments already set some keys.
pub const UPSTREAM_ENV: &[(&str, &str)] = &[
    ("ROUTER_KEY", "auth.key"),
    ("GRPC_ROUTER_ENDPOINT", "listen.endpoint"),
    ("EXTERNAL_CERT_PEM", "tls.certificate"),
    ("EXTERNAL_KEY_PEM", "tls.key"),
];

/// A group of keys.
#[derive(Debug)]
pub struct Section {
    /// Its name in the file, without brackets.
    pub name: &'static str,
    /// What it is about, a line each.
    pub doc: &'static [&'static str],
    /// Its keys, in the order of the example.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// "section.key".
    pub path: &'static str,
    /// The part after the point.
    pub name: &'static str,
    /// What it does, a line each.
    pub doc: &'static [&'static str],
    /// Completes "expected ...".
    pub expects: &'static str,
    /// Whether its values must never be printed.
    pub secret: bool,
    /// Whether a change takes effect while the router runs; otherwise at the next start.
    pub live: bool,
    /// Whether two configurations have the same value, that of files it names included.
    pub(super) same: fn(&Config, &Config) -> bool,
    pub(super) default: &'static str,
    pub(super) set_toml: fn(&mut Config, &Item<'_>) -> Result<(), Invalid>,
    pub(super) set_text: fn(&mut Config, &str) -> Result<(), String>,
    pub(super) show: fn(&Config) -> Option<String>,
}

impl Key {
    /// The default as TOML, `None` when the key has none.
    pub fn default(&self) -> Option<&'static str> {
        Some(self.default).filter(|text| *text != UNSET)
    }

    /// The environment variable that sets this key.
    pub fn env(&self) -> String {
        let name = self.path.replace('.', "_").to_uppercase();
        format!("{ENV_PREFIX}{name}")
    }

    /// The variable that sets this key in upstream's deployments.
    pub fn upstream_env(&self) -> Option<&'static str> {
        let alias = UPSTREAM_ENV.iter().find(|(_, path)| *path == self.path);
        alias.map(|(name, _)| *name)
    }
}

/// Written in the table in place of a default.
const UNSET: &str = "unset";

/// The value behind a default in the table.
pub(super) fn default_value<T: Setting>(text: &'static str) -> T {
    if text == UNSET {
        return T::unset().expect("a key without a default has a type that can be unset");
    }
    let item = DeValue::parse(text).expect("a default in the table is TOML");
    T::from_toml(&item).expect("a default in the table fits its type")
}

/// Writes the structs, `Config`, its defaults and `SECTIONS` from one table.
macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $type:ident {
            $($(#[doc = $doc:literal])+ $key:ident: $value:ty = $default:tt $(; $mark:ident)?,)+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $type {
                $($(#[doc = $doc])+ pub $key: $value,)+
            }
        )+

        /// Everything that can be configured, a field per section.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(#[doc = $section_doc])+ pub $section: $type,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($section: $type {
                        $($key: default_value::<$value>(stringify!($default)),)+
                    },)+
                }
            }
        }

        /// All sections with their keys.
        pub static SECTIONS: &[Section] = &[$(Section {
            name: stringify!($section),
            doc: &[$($section_doc),+],
            keys: &[$(Key {
                path: concat!(stringify!($section), ".", stringify!($key)),
                name: stringify!($key),
                doc: &[$($doc),+],
                expects: <$value as Setting>::EXPECTS,
                secret: <$value as Setting>::SECRET,
                live: takes_effect!($($mark)?),
                same: |one, other| one.$section.$key == other.$section.$key,
                default: stringify!($default),
                set_toml: |config, item| {
                    config.$section.$key = <$value as Setting>::from_toml(item)?;
                    Ok(())
                },
                set_text: |config, text| {
                    config.$section.$key = <$value as Setting>::from_text(text)?;
                    Ok(())
                },
                show: |config| config.$section.$key.show(),
            },)+],
        },)+];
    };
}
pub(super) use sections;

/// Whether a key without or with the mark `restart` takes effect while the router runs.
macro_rules! takes_effect {
    () => {
        true
    };
    (restart) => {
        false
    };
}
pub(super) use takes_effect;

/// All keys of all sections.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    super::SECTIONS.iter().flat_map(|section| section.keys)
}

/// The keys whose values differ.
pub fn changed<'c>(
    one: &'c Config,
    other: &'c Config,
) -> impl Iterator<Item = &'static Key> + use<'c> {
    keys().filter(|key| !(key.same)(one, other))
}

/// The key called "section.key".
pub fn find(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}

/// The name among `known` that `wrong` was most likely meant to be, if any is near.
pub(super) fn nearest<'n>(wrong: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
