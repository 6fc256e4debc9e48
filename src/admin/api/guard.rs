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

/// What is asked of every request.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Option<Vec<u8>>,
    metrics: Arc<Metrics>,
}

/// Why a request was refused.
type Refusal = (AdminRefusal, StatusCode, &'static str);

impl Guard {
    /// With `token`, every request but that for the page itself must carry it.
    pub(crate) fn new(token: Option<Vec<u8>>, metrics: Arc<Metrics>) -> Self {
        Self { token, metrics }
    }

    fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = host(uri, headers).ok_or((
            AdminRefusal::Host,
            StatusCode::BAD_REQUEST,
            "expected one Host header",
        ))?;
        if self.token.is_none() && !is_address(&host) {
            return Err((
                AdminRefusal::Host,
                StatusCode::FORBIDDEN,
                "without admin.token the host must be an IP address or localhost",
            ));
        }
        // The page holds no secrets, and a browser has no token before it has the page. Links may lead to it.
        if uri.path() == "/" && (method == Method::GET || method == Method::HEAD) {
            return Ok(());
        }
        if !same_origin(&host, headers) {
            return Err((
                AdminRefusal::Origin,
                StatusCode::FORBIDDEN,
                "pages of other origins are not let in",
            ));
        }
        if !self.knows_token(headers) {
            return Err((
                AdminRefusal::Token,
                StatusCode::UNAUTHORIZED,
                "expected the header Authorization: Bearer <admin.token>",
            ));
        }
        if !method.is_safe() && !is_json(headers) {
            return Err((
                AdminRefusal::ContentType,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected the header Content-Type: application/json",
            ));
        }
        Ok(())
    }

    fn knows_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(7));
        given.is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case(b"bearer ") && verify_slices_are_equal(given, token).is_ok()
        })
    }
}

/// Lets a request pass or refuses it.
pub(crate) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let admitted = guard.admit(request.method(), request.uri(), request.headers());
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
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
