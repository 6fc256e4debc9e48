//! Paths and queries of the API.

use std::fmt::Write as _;

use super::ListArgs;

/// Asks for live streams.
pub(crate) fn streams(list: &ListArgs) -> String {
    format!(
        "/api/streams?limit={}&sort={}&descending={}&q={}",
        list.limit,
        list.sort.name(),
        !list.ascending,
        encoded(&list.filter)
    )
}

/// Asks for streams of the past, those with this text in them.
pub(crate) fn past(filter: &str, limit: usize, kind: Option<&str>) -> String {
    let mut path = format!("/api/past?limit={limit}&q={}", encoded(filter));
    if let Some(kind) = kind {
        let _ = write!(path, "&kind={kind}");
    }
    path
}

/// Writes text so that it stays one value of a query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::streams::Column;

    #[test]
    fn a_filter_stays_one_value_of_the_query() {
        let mut list = ListArgs::new(Column::Stalled);
        (list.filter, list.limit) = ("a&b é".to_owned(), 7);
        assert_eq!(
            streams(&list),
            "/api/streams?limit=7&sort=stalled&descending=true&q=a%26b%20%C3%A9"
        );
        assert_eq!(
            past("a b", 9, Some("refused")),
            "/api/past?limit=9&q=a%20b&kind=refused"
        );
        list.turn(1);
        assert_eq!(list.sort, Column::Id, "the first follows the last");
        list.turn(-1);
        assert_eq!(list.sort, Column::Stalled);
    }
}
