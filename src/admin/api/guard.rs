//! Who is let in.
//!
//! A browser runs pages of strangers, and to it the router is just another address. So besides the token these are
//! checked:
//! - `Host`: without a token it must be an IP address or `localhost`. A page whose own name was made to point here (DNS
//!   rebinding) shows that name.
//! - `Origin` and `Sec-Fetch-Site`, if there are any: no page of another origin.
//! - `Content-Type` of requests that change something: JSON, which no form of another page can send.

use std::{net::IpAddr, sync::Arc};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header,
        uri::{Authority, Uri},
    },
    middleware::Next,
    response::Response,
};

use super::failure;
use crate::observe::metrics::{AdminRefusal, Metrics};

/// Sent with every answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Names this process in every answer: behind one address there may be several.
const PROCESS: HeaderName = HeaderName::from_static("x-router-process");

/// Says what requests must carry: one of these, if there is any.
#[derive(Default)]
pub(crate) struct Tokens {
    /// With this one everything may be done.
    pub full: Option<Vec<u8>>,
    /// With this one everything may be looked at.
    pub read: Option<Vec<u8>>,
}

/// Says what a request may do. Every request that is let in has this among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It may do everything.
    Full,
    /// It may look.
    Read,
}

impl Access {
    /// Names it for the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
        }
    }
}

/// What is asked of every request.
pub(crate) struct Guard {
    tokens: Tokens,
    process: HeaderValue,
    metrics: Arc<Metrics>,
}

/// Why a request was refused.
type Refusal = (AdminRefusal, StatusCode, &'static str);

impl Guard {
    /// With `tokens`, every request but that for the page itself must carry one of them.
    pub(crate) fn new(tokens: Tokens, process: &str, metrics: Arc<Metrics>) -> Self {
        let process = HeaderValue::from_str(process).unwrap_or(HeaderValue::from_static(""));
        Self {
            tokens,
            process,
            metrics,
        }
    }

    fn is_open(&self) -> bool {
        self.tokens.full.is_none() && self.tokens.read.is_none()
    }

    fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Access, Refusal> {
        let host = host(uri, headers).ok_or((
            AdminRefusal::Host,
            StatusCode::BAD_REQUEST,
            "expected one Host header",
        ))?;
        if self.is_open() && !is_address(&host) {
            return Err((
                AdminRefusal::Host,
                StatusCode::FORBIDDEN,
                "without admin.token the host must be an IP address or localhost",
            ));
        }
        // The page holds no secrets, and a browser has no token before it has the page. Links may lead to it.
        let looks = method == Method::GET || method == Method::HEAD;
        if uri.path() == "/" && looks {
            return Ok(Access::Read);
        }
        if !same_origin(&host, headers) {
            return Err((
                AdminRefusal::Origin,
                StatusCode::FORBIDDEN,
                "pages of other origins are not let in",
            ));
        }
        let access = self.access(headers).ok_or((
            AdminRefusal::Token,
            StatusCode::UNAUTHORIZED,
            "expected the header Authorization: Bearer <admin.token>",
        ))?;
        if access == Access::Read && !looks {
            return Err((
                AdminRefusal::ReadOnly,
                StatusCode::FORBIDDEN,
                "this token only reads (admin.read_token); what changes something needs admin.token",
            ));
        }
        if !method.is_safe() && !is_json(headers) {
            return Err((
                AdminRefusal::ContentType,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected the header Content-Type: application/json",
            ));
        }
        Ok(access)
    }

    /// Says what the token of the request allows; `None`: it has none, or a wrong one.
    fn access(&self, headers: &HeaderMap) -> Option<Access> {
        if self.is_open() {
            return Some(Access::Full);
        }
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(7));
        let (scheme, given) = given?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        let is = |token: &Option<Vec<u8>>| {
            let token = token.as_ref();
            token.is_some_and(|token| verify_slices_are_equal(given, token).is_ok())
        };
        // Both are compared, however the first turns out.
        match (is(&self.tokens.full), is(&self.tokens.read)) {
            (true, _) => Some(Access::Full),
            (false, true) => Some(Access::Read),
            (false, false) => None,
        }
    }
}

/// Lets a request pass or refuses it.
pub(crate) async fn check(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    let admitted = guard.admit(request.method(), request.uri(), request.headers());
    let mut response = match admitted {
        Ok(access) => {
            request.extensions_mut().insert(access);
            next.run(request).await
        }
        Err((cause, status, why)) => {
            guard.metrics.admin_refusals.inc(cause);
            let mut response = failure(status, why);
            if cause == AdminRefusal::Token {
                let scheme = HeaderValue::from_static("Bearer");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    };
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
        .headers_mut()
        .insert(PROCESS, guard.process.clone());
    response
        .headers_mut()
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    response
}

/// Whom the request is for: one Host header, and the same in the target if that names a host.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host: Authority = hosts.next()?.to_str().ok()?.parse().ok()?;
    let alone = hosts.next().is_none() && !host.as_str().contains('@');
    let same = uri.authority().is_none_or(|target| *target == host);
    (alone && same).then_some(host)
}

/// Nobody can make an address of their own point here; `localhost` always is this machine.
fn is_address(host: &Authority) -> bool {
    let name = host.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    bare.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

/// Whether no browser says that a page of another origin asks.
fn same_origin(host: &Authority, headers: &HeaderMap) -> bool {
    let own = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        // The latter behind a proxy that adds TLS.
        let bare = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        bare.is_some_and(|bare| bare.eq_ignore_ascii_case(host.as_str()))
    };
    let local = |site: &HeaderValue| site == "same-origin" || site == "none";
    headers.get_all(header::ORIGIN).iter().all(own)
        && headers.get_all("sec-fetch-site").iter().all(local)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
