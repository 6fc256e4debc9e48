//! The page: one file with everything in it, which shows what the API says.

use axum::{
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{IntoResponse, Response},
};

/// What a browser gets. `{{nonce}}` stands where its script and its style are.
const PAGE: &str = include_str!("page.html");

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
        assert!(PAGE.len() < 40_000, "{} bytes", PAGE.len());
    }
}
