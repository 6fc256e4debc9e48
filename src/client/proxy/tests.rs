#![allow(clippy::unwrap_used)]

use super::*;

const URL: &str = "http://proxy.test:3128";

fn route(endpoint: &str, env: &[(&str, &str)]) -> Route {
    let env: Vec<_> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
        .collect();
    Proxies::of(&env).route(endpoint)
}

fn through(endpoint: &str, env: &[(&str, &str)]) -> Option<Proxy> {
    match route(endpoint, env) {
        Route::Through(proxy) => Some(proxy),
        _ => None,
    }
}

#[test]
fn the_first_variable_that_is_set_counts() {
    let variable = |env: &[_]| through("r.test:1", env).map(|proxy| proxy.variable);
    let (grpc, https, http) = (
        ("grpc_proxy", URL),
        ("https_proxy", URL),
        ("http_proxy", URL),
    );
    assert_eq!(variable(&[http, https, grpc]), Some("grpc_proxy"));
    assert_eq!(variable(&[http, https]), Some("https_proxy"));
    assert_eq!(variable(&[http]), Some("http_proxy"));
    for none in [
        &[][..],
        &[("HTTPS_PROXY", URL)],
        &[("all_proxy", URL)],
        &[("grpc_proxy", ""), https],
        &[("grpc_proxy", "no URL"), https],
    ] {
        assert_eq!(variable(none), None, "{none:?}");
    }
}

/// What gRPC's C core 1.85 did with each.
#[test]
fn a_url_is_read_as_grpc_reads_it() {
    let read = |url| {
        through("r.test:1", &[("https_proxy", url)]).map(|proxy| (proxy.address, proxy.credentials))
    };
    let at = |address: &str, credentials: Option<&str>| {
        Some((address.to_owned(), credentials.map(ToOwned::to_owned)))
    };
    assert_eq!(
        read("http://us%40er:p%3Aw@p.test:1"),
        at("p.test:1", Some("dXNAZXI6cDp3"))
    );
    assert_eq!(
        read("http://us@er:pw@p.test:1"),
        at("p.test:1", Some("dXNAZXI6cHc="))
    );
    assert_eq!(read("http://:pw@p.test:1"), at("p.test:1", Some("OnB3")));
    assert_eq!(read("http://u@p.test:1"), at("p.test:1", Some("dQ==")));
    assert_eq!(read("http://@p.test:1"), at("p.test:1", None));
    assert_eq!(read("HTTP://p.test:1/path"), at("p.test:1", None));
    assert_eq!(read("http://p.test:1?x=1"), at("p.test:1", None));
    assert_eq!(read("http://p.test"), at("p.test:443", None));
    assert_eq!(read("http://[::1]"), at("[::1]:443", None));
    assert_eq!(read("http://[::1]:1"), at("[::1]:1", None));
    for unusable in [
        "https://p.test:1",
        "socks5://p.test:1",
        "p.test:1",
        "http:p.test:1",
        "http://",
        " http://p.test:1",
        "http://u@:1",
    ] {
        assert_eq!(read(unusable), None, "{unusable}");
    }
    assert_eq!(decoded("100%"), "100%");
    assert_eq!(decoded("%zz%4"), "%zz%4");
}

/// What gRPC's C core 1.85 did with each.
#[test]
fn exceptions_are_read_as_grpc_reads_them() {
    let direct =
        |endpoint, list| through(endpoint, &[("https_proxy", URL), ("no_proxy", list)]).is_none();
    for list in [
        "router.test",
        "x, .test",
        "TEST",
        ".router.test",
        "a b,test",
        ".TEST ",
        "Router.Test",
    ] {
        assert!(direct("router.test:443", list), "{list}");
    }
    for list in [
        "",
        "x, ",
        "*",
        "er.test",
        "uter.TEST",
        "router.test.",
        "..test",
        "*.test",
        "router.test:443",
        "router.test/24",
        "a.router.test",
    ] {
        assert!(!direct("router.test:443", list), "{list}");
    }
    for list in [
        "127.0.0.1",
        "127.0.0.0/8",
        "127.0.0.0/0",
        "127.0.0.1/32",
        "127.0.0.1/ 8",
        "0.1",
    ] {
        assert!(direct("127.0.0.1:1", list), "{list}");
    }
    for list in [
        "127.0.0.0/33",
        "27.0.0.1",
        "127.0.0.1/",
        "::ffff:127.0.0.0/104",
        "127.0.0/8",
        "128.0.0.0/8",
    ] {
        assert!(!direct("127.0.0.1:1", list), "{list}");
    }
    for (list, expected) in [
        ("::/8", true),
        ("::1", true),
        ("::1/128", true),
        ("::/0", true),
        ("[::1]", false),
        ("0::1", false),
        ("0.0.0.0/0", false),
        ("::2/127", false),
    ] {
        assert_eq!(direct("[::1]:1", list), expected, "{list}");
    }
    // A name is not resolved to see where it lies.
    assert!(!direct("localhost:1", "127.0.0.0/8"));
    let both = [
        ("https_proxy", URL),
        ("no_grpc_proxy", ""),
        ("no_proxy", "r.test"),
    ];
    assert!(through("r.test:1", &both).is_some());
}

#[test]
fn what_applies_is_said_without_secrets() {
    let said = |env: &[_]| route("r.test:1", env).to_string();
    assert_eq!(
        said(&[]),
        "directly: no proxy is named (grpc_proxy, https_proxy, http_proxy)"
    );
    assert_eq!(
        said(&[("grpc_proxy", "")]),
        "directly: grpc_proxy is set and empty"
    );
    let url = ("http_proxy", "http://user:sesame@p.test:1");
    assert_eq!(said(&[url]), "through the proxy p.test:1 of http_proxy");
    assert_eq!(
        said(&[url, ("no_proxy", "a, .test")]),
        "directly: no_proxy lists \".test\""
    );
    let socks = said(&[("https_proxy", "socks5://p.test:1")]);
    assert_eq!(
        socks,
        "directly: https_proxy is not used, as only proxies with http:// are supported"
    );
    let proxies = Proxies::find(|_| Some("http://user:sesame@p.test:1".into()));
    let shown = format!("{proxies:?} {:?}", proxies.route("x:1"));
    assert!(
        !shown.contains("sesame") && !shown.contains("dXNlcjpzZXNhbWU"),
        "{shown}"
    );
}
