//! Lists as values.

use toml::de::DeValue;

use super::setting::{Invalid, Item, Setting};

/// What a list may hold: what can be made from a string.
pub trait Element {
    /// Whether the items must never be printed.
    const SECRET: bool;
    /// Makes an item from its text. The error says why not.
    fn from_item(text: &str) -> Result<Self, String>
    where
        Self: Sized;
    /// The item as TOML.
    fn show_item(&self) -> String;
}

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
            .map(|item| T::from_item(item.trim()))
            .collect()
    }

    fn from_toml(item: &Item<'_>) -> Result<Self, Invalid> {
        let DeValue::Array(items) = item.get_ref() else {
            return Err(Invalid::new(item, Self::SECRET, ""));
        };
        items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => {
                    T::from_item(text).map_err(|why| Invalid::new(item, Self::SECRET, why))
                }
                _ => Err(Invalid::new(item, Self::SECRET, "")),
            })
            .collect()
    }

    fn show(&self) -> Option<String> {
        let items: Vec<_> = self.iter().map(T::show_item).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}
