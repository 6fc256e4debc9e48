//! The systemd unit, read as far as the test needs it.

use std::time::Duration;

pub struct Unit(Vec<(String, String)>);

impl Unit {
    pub fn parse(text: &str) -> Self {
        let mut settings = Vec::new();
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = name;
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
            settings.push((format!("{section}.{key}"), value.to_owned()));
        }
        Self(settings)
    }

    pub fn all(&self, key: &str) -> Vec<&str> {
        let found = self.0.iter().filter(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).collect()
    }

    pub fn one(&self, key: &str) -> &str {
        let found = self.all(key);
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        found[0]
    }

    pub fn time(&self, key: &str) -> Duration {
        humantime::parse_duration(self.one(key)).unwrap()
    }
}
