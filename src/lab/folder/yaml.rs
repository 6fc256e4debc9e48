//! Single lines of a YAML file, found and changed without touching the rest. Enough for files that the lab or `jmp` has
//! written: a key per line, its value a plain or quoted word.

/// Finds the value at a place, one key or two.
pub(super) fn get<'a>(text: &'a str, place: &[&str]) -> Option<&'a str> {
    let (start, end) = find(text, place)?;
    Some(unquoted(&text[start..end])).filter(|value| !value.is_empty())
}

/// Gives the text with another value there; `None` if there is no such line.
pub(super) fn set(text: &str, place: &[&str], value: &str) -> Option<String> {
    let (start, end) = find(text, place)?;
    if unquoted(&text[start..end]) == value {
        return Some(text.to_owned());
    }
    Some(format!("{} \"{value}\"{}", &text[..start], &text[end..]))
}

/// Finds where the value is: what comes after the colon, to the end of the line.
fn find(text: &str, place: &[&str]) -> Option<(usize, usize)> {
    let mut section = "";
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        let indent = line.len() - line.trim_start_matches(' ').len();
        let Some((key, _)) = line[indent..].split_once(':') else {
            continue;
        };
        if indent == 0 {
            section = key;
        }
        let found = match place {
            [only] => indent == 0 && key == *only,
            [first, second] => indent > 0 && section == *first && key == *second,
            _ => false,
        };
        if found {
            return Some((start + indent + key.len() + 1, start + line.len()));
        }
    }
    None
}

/// Gives the value without its quotes and without a comment behind it.
fn unquoted(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some((inside, _)) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.split_once(quote))
        {
            return inside;
        }
    }
    value
        .split_once(" #")
        .map_or(value, |(value, _)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# token: none\nkind: X\nmetadata:\n  token: no\ntls:\n  # a comment\n  ca: abc # old\n  \
                        insecure: false\ntoken: 'a.b'\nempty:\n";

    #[test]
    fn lines_are_found_and_changed() {
        assert_eq!(get(TEXT, &["token"]), Some("a.b"));
        assert_eq!(get(TEXT, &["tls", "ca"]), Some("abc"));
        assert_eq!(get(TEXT, &["metadata", "token"]), Some("no"));
        for place in [&["ca"][..], &["tls", "token"], &["none"], &["empty"]] {
            assert_eq!(get(TEXT, place), None, "{place:?}");
        }
        assert_eq!(set(TEXT, &["token"], "a.b").as_deref(), Some(TEXT));
        let changed = set(TEXT, &["tls", "ca"], "def").unwrap_or_default();
        assert_eq!(changed, TEXT.replace("abc # old", "\"def\""));
        assert_eq!(set(TEXT, &["none"], "x"), None);
        let filled = set(TEXT, &["empty"], "x").unwrap_or_default();
        assert!(filled.ends_with("empty: \"x\"\n"), "{filled}");
    }
}
