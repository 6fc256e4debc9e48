//! The page: one document with everything in it, which shows what the API says.

use std::sync::LazyLock;

use axum::{
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{IntoResponse, Response},
};

/// Lists the files that the document is made of, by the names that `page.html` has for them.
const PARTS: [(&str, &str); 11] = [
    ("{{page.css}}", include_str!("page/page.css")),
    ("{{text.js}}", include_str!("page/text.js")),
    ("{{chart.js}}", include_str!("page/chart.js")),
    ("{{ask.js}}", include_str!("page/ask.js")),
    ("{{alive.js}}", include_str!("page/alive.js")),
    ("{{live.js}}", include_str!("page/live.js")),
    ("{{rows.js}}", include_str!("page/rows.js")),
    ("{{stream.js}}", include_str!("page/stream.js")),
    ("{{past.js}}", include_str!("page/past.js")),
    ("{{settings.js}}", include_str!("page/settings.js")),
    ("{{main.js}}", include_str!("page/main.js")),
];

/// What a browser gets: all parts, without comments and indentation. `{{nonce}}` stands where its script and its style
/// are.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let whole = include_str!("page/page.html").to_owned();
    let whole = PARTS
        .iter()
        .fold(whole, |page, (name, text)| page.replace(name, text));
    let lines = whole.lines().map(str::trim);
    let kept = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    kept.collect::<Vec<_>>().join("\n")
});

/// The page. It holds no data; its script asks the API for them.
pub(crate) async fn show() -> Response {
    // New for each answer, so that nothing that gets into the page otherwise is run.
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, PAGE.replace("{{nonce}}", &nonce)).into_response()
}

#[cfg(test)]
mod tests {
    use super::PAGE;
    use crate::splice::ending::{Cause, Ending};

    /// What the policy would forbid, and what would let a subject be more than text.
    #[test]
    fn it_stands_alone_and_writes_text_only() {
        for never in [
            "http://",
            "https://",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            " style=\"",
            " onclick",
            " onload",
            "@import",
        ] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(never), "{never}");
        }
        assert_eq!(PAGE.matches("nonce=\"{{nonce}}\"").count(), 2);
        assert_eq!(
            PAGE.matches("{{").count(),
            2,
            "a part has no place, or a place no part"
        );
        assert!(PAGE.len() < 68_000, "{} bytes", PAGE.len());
    }

    /// Paths are relative to where the page is, which may be below a path of a proxy.
    #[test]
    fn it_asks_for_nothing_at_the_root() {
        for quote in ['\'', '"', '`'] {
            assert!(!PAGE.contains(&format!("{quote}/api")), "{quote}/api");
        }
    }

    /// Before an administrator ends a stream or all, the page says what the peers will be told.
    #[test]
    fn it_quotes_what_peers_are_told() {
        for cause in [Cause::Administrator, Cause::Draining] {
            let ending = Ending::from(cause);
            let code = format!("{:?}", ending.code()).to_uppercase();
            let told = format!("'{code}: {}'", ending.message());
            assert!(PAGE.contains(&told), "{told}");
        }
    }
}
