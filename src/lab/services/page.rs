//! Lists in pages.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::lab::refusal::Refusal;

/// Named items, and the token of the next page.
type Page<'a, T> = (Vec<(&'a str, &'a T)>, String);

/// Gives the items that match, in the order of their names, and the token of the next page if there is one.
///
/// The token is the name of the last item: what comes or goes meanwhile neither repeats nor hides another. A size of 0
/// means all.
pub(super) fn page<'a, T>(
    items: &'a BTreeMap<String, T>,
    size: i32,
    token: &str,
    wanted: impl Fn(&T) -> bool,
) -> Result<Page<'a, T>, Refusal> {
    let bad = |text: String| Refusal::Invalid(text);
    let size = usize::try_from(size)
        .map_err(|_| bad(format!("page_size is {size}, expected 0 or more")))?;
    let after = if token.is_empty() {
        None
    } else {
        let decoded = URL_SAFE_NO_PAD.decode(token).ok();
        let name = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        Some(name.ok_or_else(|| {
            bad("page_token is not one that this lab gave; expected next_page_token of the page before".to_owned())
        })?)
    };
    let rest = items
        .iter()
        .skip_while(|(name, _)| after.as_ref().is_some_and(|after| *name <= after));
    let mut found = rest
        .filter(|(_, item)| wanted(item))
        .map(|(name, item)| (name.as_str(), item));
    if size == 0 {
        return Ok((found.collect(), String::new()));
    }
    let page: Vec<_> = found.by_ref().take(size).collect();
    let next = match (page.last(), found.next()) {
        (Some((name, _)), Some(_)) => URL_SAFE_NO_PAD.encode(name),
        _ => String::new(),
    };
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn all_come_once_in_order() {
        let items: BTreeMap<_, _> = (0..10).map(|n| (format!("n{n}"), n)).collect();
        for size in [0, 1, 2, 3, 5, 7, 100] {
            let (mut all, mut token) = (Vec::new(), String::new());
            loop {
                let (some, next) = page(&items, size, &token, |n| n % 2 == 0).unwrap();
                assert!(size == 0 || some.len() <= usize::try_from(size).unwrap());
                all.extend(some.into_iter().map(|(_, n)| *n));
                if next.is_empty() {
                    break;
                }
                token = next;
            }
            assert_eq!(all, [0, 2, 4, 6, 8], "pages of {size}");
        }
    }

    #[test]
    fn a_page_is_found_though_its_neighbour_is_gone() {
        let mut items: BTreeMap<_, _> = (0..4).map(|n| (format!("n{n}"), n)).collect();
        let (_, token) = page(&items, 2, "", |_| true).unwrap();
        items.remove("n1");
        let (rest, next) = page(&items, 2, &token, |_| true).unwrap();
        assert_eq!(rest.len(), 2);
        assert_eq!((*rest[0].1, next.as_str()), (2, ""));
    }

    #[test]
    fn odd_requests_are_refused() {
        let items = BTreeMap::from([("a".to_owned(), 1)]);
        assert!(page(&items, -1, "", |_| true).is_err());
        assert!(page(&items, 1, "no token!", |_| true).is_err());
        assert!(page(&items, 1, "__4", |_| true).is_err());
    }
}
