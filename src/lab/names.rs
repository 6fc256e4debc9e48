//! What Kubernetes allows as names and labels, and the resource names of the protocol.

use super::refusal::Refusal;

/// The one namespace of a lab.
pub(crate) const NAMESPACE: &str = "default";

/// Checks that `name` can name an object: a DNS subdomain (RFC 1123) in lower case.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn object(name: &str) -> Result<(), String> {
    let expected = "expected lower case letters, digits, - and ., beginning and ending with a letter or digit, at most \
                    253 of them";
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(inner)
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(());
    }
    Err(format!("{name:?} cannot be a name: {expected}"))
}

/// Checks that `key` can be the key of a label: a name, after a DNS subdomain and a slash or not.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_none_or(|prefix| object(prefix).is_ok()) && !name.is_empty() && word(name) {
        return Ok(());
    }
    Err(format!(
        "{key:?} cannot be the key of a label: expected letters, digits, -, _ and ., at most 63 of them, beginning and \
         ending with a letter or digit; a DNS name and a / may come before"
    ))
}

/// Checks that `value` can be the value of a label.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn label_value(value: &str) -> Result<(), String> {
    if word(value) {
        return Ok(());
    }
    Err(format!(
        "{value:?} cannot be the value of a label: expected nothing, or letters, digits, -, _ and ., at most 63 of them, \
         beginning and ending with a letter or digit"
    ))
}

/// Tells whether this is nothing, or what a label's value may be.
fn word(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().copied().all(inner)
}

/// Reads `namespaces/<namespace>`, which has to be this lab's.
pub(crate) fn parse_parent(parent: &str) -> Result<(), Refusal> {
    match *parent.split('/').collect::<Vec<_>>() {
        ["namespaces", namespace] => same_namespace(namespace),
        _ => Err(Refusal::BadName {
            name: parent.to_owned(),
            expected: "namespaces/<namespace>".to_owned(),
        }),
    }
}

/// Reads `namespaces/<namespace>/<kind>/<name>` and gives the name.
pub(crate) fn parse<'a>(resource: &'a str, kind: &str) -> Result<&'a str, Refusal> {
    match *resource.split('/').collect::<Vec<_>>() {
        ["namespaces", namespace, found, name] if found == kind => {
            same_namespace(namespace)?;
            Ok(name)
        }
        _ => Err(Refusal::BadName {
            name: resource.to_owned(),
            expected: format!("namespaces/<namespace>/{kind}/<name>"),
        }),
    }
}

/// Writes `namespaces/<namespace>/<kind>/<name>`.
pub(crate) fn resource(kind: &str, name: &str) -> String {
    format!("namespaces/{NAMESPACE}/{kind}/{name}")
}

fn same_namespace(namespace: &str) -> Result<(), Refusal> {
    if namespace == NAMESPACE {
        return Ok(());
    }
    Err(Refusal::Namespace {
        found: namespace.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "a",
            "board-1",
            "a.b-c.d1",
            "0198c5d1-0000-7000-8000-000000000000",
        ] {
            assert_eq!(object(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "A",
            "-a",
            "a-",
            "a..b",
            "a_b",
            "a/b",
            "ü",
            &"a".repeat(254),
        ] {
            assert!(object(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels() {
        for good in [
            "board",
            "Board_1.x",
            "jumpstarter.dev/name",
            &"k".repeat(63),
        ] {
            assert_eq!(label_key(good), Ok(()), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "-a", "a b", &"k".repeat(64)] {
            assert!(label_key(bad).is_err(), "{bad}");
        }
        for good in ["", "x", "1.0_b-C"] {
            assert_eq!(label_value(good), Ok(()), "{good}");
        }
        for bad in ["-", "a,b", "a/b", " ", &"v".repeat(64)] {
            assert!(label_value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resources() {
        assert_eq!(
            parse("namespaces/default/leases/a", "leases").ok(),
            Some("a")
        );
        assert_eq!(resource("leases", "a"), "namespaces/default/leases/a");
        assert!(parse("namespaces/default/exporters/a", "leases").is_err());
        assert!(parse("a", "leases").is_err());
        assert!(parse("namespaces/other/leases/a", "leases").is_err());
        assert!(parse_parent("namespaces/default").is_ok());
        for bad in ["", "default", "namespaces/other", "namespaces/default/x"] {
            assert!(parse_parent(bad).is_err(), "{bad}");
        }
    }
}
