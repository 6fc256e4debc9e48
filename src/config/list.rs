//! Values that may be missing, and lists of values.

use toml::de::DeValue;

use super::setting::{Invalid, Item, Setting};

/// A type whose values are written as one string, and may stand in lists or be missing.
pub(super) trait Element: Setting {}

impl<T: Element> Setting for Option<T> {
    const EXPECTS: &'static str = T::EXPECTS;
    const SECRET: bool = T::SECRET;

    fn unset() -> Option<Self> {
        Some(None)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        // It takes a value away that was set elsewhere. An empty key must be refused by name, not taken for "no key".
        if text.is_empty() && !T::SECRET {
            return Ok(None);
        }
        T::from_text(text).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

impl Element for String {}

/// A list; as plain text its items are separated by commas, or it is a TOML list.
impl<T: Element> Setting for Vec<T> {
    const EXPECTS: &'static str = "a list of strings such as [\"a\", \"b\"] (in the environment and \
                                   on the command line also \"a,b\")";
    const SECRET: bool = T::SECRET;

    fn from_text(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with('[') {
            let value = DeValue::parse(text).map_err(|_| "not a TOML list".to_owned())?;
            return Self::from_toml(&value).map_err(|invalid| invalid.why);
        }
        if text.is_empty() {
            return Ok(Self::new());
        }
        text.split(',')
            .map(|item| T::from_text(item.trim()))
            .collect()
    }

    fn from_toml(item: &Item<'_>) -> Result<Self, Invalid> {
        match item.get_ref() {
            DeValue::Array(items) => items.iter().map(T::from_toml).collect(),
            _ => Err(Invalid::new(item, Self::SECRET, "")),
        }
    }

    fn show(&self) -> Option<String> {
        let items: Option<Vec<_>> = self.iter().map(T::show).collect();
        Some(format!("[{}]", items?.join(", ")))
    }
}
