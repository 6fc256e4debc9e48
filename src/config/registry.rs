//! What the table of keys is written with: the macro, its defaults and ranges, and names in the environment.

use std::ops::{Bound, RangeBounds};

use toml::de::DeValue;

use super::setting::Setting;

/// Every environment variable of the router starts with this.
pub const ENV_PREFIX: &str = "JUMPSTARTER_ROUTER_";

/// Names the configuration file.
pub(crate) const CONFIG_FILE_ENV: &str = "JUMPSTARTER_ROUTER_CONFIG";

/// Holds a token for the commands that use a router.
pub(crate) const TOKEN_ENV: &str = "JUMPSTARTER_ROUTER_TOKEN";

/// The variables with the prefix that are no keys: most say to clients where the router is, and how to get there.
pub(super) const OTHER_ENV: [&str; 7] = [
    CONFIG_FILE_ENV,
    TOKEN_ENV,
    "JUMPSTARTER_ROUTER_TOKEN_FILE",
    "JUMPSTARTER_ROUTER_ENDPOINT",
    "JUMPSTARTER_ROUTER_TRUST",
    "JUMPSTARTER_ROUTER_SERVER_NAME",
    "JUMPSTARTER_ROUTER_POST_QUANTUM",
];

/// Names under which upstream's deployments already set some keys.
pub(super) const UPSTREAM_ENV: &[(&str, &str)] = &[
    ("ROUTER_KEY", "auth.key"),
    ("GRPC_ROUTER_ENDPOINT", "listen.endpoint"),
    ("EXTERNAL_CERT_PEM", "tls.certificate"),
    ("EXTERNAL_KEY_PEM", "tls.key"),
];

/// Stands in the table in place of a default.
pub(super) const UNSET: &str = "unset";

/// Reads a default of the table.
pub(super) fn default_value<T: Setting>(text: &'static str) -> T {
    if text == UNSET {
        return T::unset().expect("a key without a default has a type that can be unset");
    }
    let item = DeValue::parse(text).expect("a default in the table is TOML");
    T::from_toml(&item).expect("a default in the table fits its type")
}

/// Writes the structs, `Config`, its defaults and `SECTIONS` from one table. The struct of a section that is marked
/// `from` another room is written there.
macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $type:ident $(from $room:ident)? {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $value:ty = $default:tt $(in $range:expr)? $(; $mark:ident)?,
            )+
        }
    )+) => {
        $(
            section_struct! {
                { $($room)? }
                $(#[doc = $section_doc])+
                $type {
                    $($(#[doc = $doc])+ $key: $value,)+
                }
            }

            impl Default for $type {
                fn default() -> Self {
                    Self {
                        $($key: default_value::<$value>(stringify!($default)),)+
                    }
                }
            }
        )+

        /// Everything that can be configured, a field per section.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            $($(#[doc = $section_doc])+ pub $section: $type,)+
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
                live: <[&str]>::is_empty(&[$(stringify!($mark))?]),
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
                beyond: &[$(|config| beyond(config.$section.$key, &($range)))?],
            },)+],
        },)+];
    };
}
pub(super) use sections;

/// Writes the struct of a section, unless another room has it.
macro_rules! section_struct {
    ({ $room:ident } $($rest:tt)+) => {};
    ({} $(#[doc = $section_doc:literal])+ $type:ident {
        $($(#[doc = $doc:literal])+ $key:ident: $value:ty,)+
    }) => {
        $(#[doc = $section_doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $type {
            $($(#[doc = $doc])+ pub $key: $value,)+
        }
    };
}
pub(super) use section_struct;

/// Says what is wrong with a value that is out of its range. No limit is within every range.
pub(super) fn beyond<T, V>(value: V, range: &impl RangeBounds<T>) -> Option<String>
where
    T: Setting + PartialOrd,
    V: Setting + Into<Option<T>>,
{
    let text = |value: &T| {
        let shown = value.show().unwrap_or_default();
        shown.trim_matches('"').to_owned()
    };
    let end = |bound| match bound {
        Bound::Included(end) | Bound::Excluded(end) => Some(text(end)),
        Bound::Unbounded => None,
    };
    let value = value.into().filter(|value| !range.contains(value))?;
    let (found, least) = (text(&value), end(range.start_bound()).unwrap_or_default());
    Some(match end(range.end_bound()) {
        Some(most) => format!("found {found}, expected {} from {least} to {most}", T::KIND),
        None => format!("found {found}, expected at least {least}{}", V::OR_OFF),
    })
}

/// Finds the name among `known` that `wrong` was most likely meant to be, if any is near.
pub(super) fn nearest<'n>(wrong: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
