//! The administrator's address: what it shows, what it does, and whom it lets in.

use std::{net::SocketAddr, time::Duration};

use crate::helpers::web::{Answer, aside, get, raw, send};
use crate::helpers::{Running, call, data, token, within};
use jumpstarter_router::inside::observe::metrics::{AdminAction, AdminRefusal};
use serde_json::{Value, json};

const TOKEN: &str = "a token of more than sixteen characters";

async fn start(settings: &[(&str, &str)]) -> (Running, SocketAddr) {
    let mut all = vec![("listen.admin_address", "127.0.0.1:0")];
    all.extend(settings);
    let router = Running::start(&all).await;
    let admin = router.server.admin_address.unwrap();
    (router, admin)
}

async fn ask(admin: SocketAddr, path: &str) -> Answer {
    let path = path.to_owned();
    aside(move || get(admin, &path)).await
}

async fn listing(admin: SocketAddr, query: &str) -> Value {
    let answer = ask(admin, &format!("/api/streams{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.json()
}

fn subjects(listing: &Value) -> Vec<&str> {
    let rows = listing["streams"].as_array().unwrap();
    rows.iter()
        .map(|row| row["subject"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_and_a_waiter_are_listed_with_all_that_is_known() {
    let (router, admin) = start(&[]).await;
    let channel = router.connector().channel().await.unwrap();
    let waiter = tokio::spawn(async move { call(channel, &token("alone"), vec![]).await });
    while router.metrics().streams_waiting.get() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut pair = router.pair("<b>both</b>").await;
    // Two there and two back, of 9 bytes; with the prefixes of frame and message 16.
    pair.ping_pong().await;
    pair.ping_pong().await;
    let all = listing(admin, "").await;
    assert_eq!((&all["total"], &all["matching"]), (&json!(2), &json!(2)));
    let [alone, both] = [&all["streams"][0], &all["streams"][1]];
    assert_eq!(
        (&alone["subject"], &alone["state"]),
        (&json!("alone"), &json!("waiting"))
    );
    assert_eq!(alone["peers"].as_array().unwrap().len(), 1);
    assert_eq!(alone["waited_seconds"], Value::Null);
    assert_eq!(
        (&both["subject"], &both["state"]),
        (&json!("<b>both</b>"), &json!("paired"))
    );
    assert!(alone["id"].as_u64() < both["id"].as_u64());
    assert!(both["age_seconds"].as_f64().unwrap() < 30.0);
    assert!(both["waited_seconds"].as_f64().unwrap() < 30.0);
    let peers = both["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 2);
    for peer in peers {
        let mut peer = peer.clone();
        let fields = peer.as_object_mut().unwrap();
        assert!(fields.remove("rate_in").unwrap().is_u64());
        assert!(fields.remove("rate_out").unwrap().is_u64());
        let expected = json!({
            "address": "127.0.0.1", "bytes_in": 32, "bytes_out": 32, "messages_in": 2, "messages_out": 2,
            "held_bytes": 0, "stalled_seconds": null, "window_bytes": 131_072, "certificate": null, "router": null,
        });
        assert_eq!(peer, expected);
    }
    waiter.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_those_of_the_last_second() {
    let (router, admin) = start(&[]).await;
    let mut pair = router.pair("busy").await;
    let idle = router.pair("idle").await;
    let payload = vec![7; 10_000];
    let mut seen = Value::Null;
    for _ in 0..400 {
        pair.one.send.send(data(payload.clone())).await.unwrap();
        within("a message", pair.other.receive.message())
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        seen = listing(admin, "?sort=rate&descending=true").await;
        if seen["streams"][0]["peers"][0]["rate_in"].as_u64() > Some(0)
            || seen["streams"][0]["peers"][1]["rate_in"].as_u64() > Some(0)
        {
            break;
        }
    }
    assert_eq!(subjects(&seen), ["busy", "idle"]);
    let peers = seen["streams"][0]["peers"].as_array().unwrap();
    let sum = |name: &str| {
        peers
            .iter()
            .map(|peer| peer[name].as_u64().unwrap())
            .sum::<u64>()
    };
    // At most a message each 10 ms.
    assert!((1..1_100_000).contains(&sum("rate_in")), "{seen}");
    assert!((1..1_100_000).contains(&sum("rate_out")), "{seen}");
    for peer in seen["streams"][1]["peers"].as_array().unwrap() {
        assert_eq!(
            (&peer["rate_in"], &peer["rate_out"]),
            (&json!(0), &json!(0))
        );
    }
    let status = ask(admin, "/api/status").await.json();
    assert!(status["forwarded_rate"].as_u64().unwrap() > 0, "{status}");
    // And back to nothing.
    for _ in 0..400 {
        seen = listing(admin, "?q=busy").await;
        if seen["streams"][0]["peers"][0]["rate_in"] == 0
            && seen["streams"][0]["peers"][1]["rate_in"] == 0
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(seen["streams"][0]["peers"][0]["rate_in"], 0);
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_sorted_filtered_and_cut() {
    let (router, admin) = start(&[]).await;
    let mut pairs = Vec::new();
    for subject in ["beta", "Alpha", "gamma & more"] {
        pairs.push(router.pair(subject).await);
    }
    pairs[1].ping_pong().await;
    assert_eq!(
        subjects(&listing(admin, "").await),
        ["beta", "Alpha", "gamma & more"]
    );
    for (query, expected) in [
        ("?sort=subject", &["Alpha", "beta", "gamma & more"][..]),
        (
            "?sort=subject&descending=true",
            &["gamma & more", "beta", "Alpha"],
        ),
        ("?sort=age", &["gamma & more", "Alpha", "beta"]),
        ("?sort=bytes&descending=true&limit=1", &["Alpha"]),
        ("?q=ALPH", &["Alpha"]),
        ("?q=a+%26+m", &["gamma & more"]),
        ("?q=127.0.0", &["beta", "Alpha", "gamma & more"]),
        ("?q=nobody", &[]),
        ("?limit=0", &[]),
    ] {
        assert_eq!(subjects(&listing(admin, query).await), expected, "{query}");
    }
    let cut = listing(admin, "?q=a&limit=2").await;
    assert_eq!((&cut["total"], &cut["matching"]), (&json!(3), &json!(3)));
    for query in [
        "?limit=many",
        "?limit=-1",
        "?sort=colour",
        "?descending=2",
        "?page=1",
    ] {
        let answer = ask(admin, &format!("/api/streams{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["error"].is_string(), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_runs_and_what_was_counted() {
    let (router, admin) = start(&[]).await;
    let mut pair = router.pair("counted").await;
    pair.ping_pong().await;
    // What is counted when both have written may come a moment later than what they read.
    within("the count", async {
        while router.metrics().forwarded_messages.get() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let status = ask(admin, "/api/status").await.json();
    assert_eq!(status["version"], jumpstarter_router::VERSION);
    assert_eq!(status["commit"], jumpstarter_router::COMMIT);
    assert_eq!(status["tls_provider"], router.server.provider.to_string());
    assert_eq!(status["phase"], "ready");
    assert_eq!(status["memory_pressure"], "normal");
    assert_eq!(status["cluster"], Value::Null, "it is alone");
    assert_eq!(
        (&status["pairs"], &status["waiting"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(status["connections"], 2);
    assert!(status["uptime_seconds"].as_f64().unwrap() < 30.0);
    let expected = json!({
        "streams": 2, "pairs": 1, "refusals": 0, "forwarded_bytes": 32, "forwarded_messages": 2,
    });
    assert_eq!(status["totals"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_what_is_not_there_is_told_so() {
    let (router, admin) = start(&[]).await;
    let mut pair = router.pair("stays").await;
    for id in [
        "0",
        "4711",
        "-1",
        "1.5",
        "x",
        "%00",
        "99999999999999999999999",
    ] {
        let path = format!("/api/streams/{id}/end");
        let answer = aside(move || send(admin, "POST", &path, "{}")).await;
        assert_eq!(answer.status, 404, "{id}");
        assert!(
            answer.json()["error"]
                .as_str()
                .unwrap()
                .contains("no such stream"),
            "{id}"
        );
    }
    pair.ping_pong().await;
}

/// A request to the API: its first line, its headers besides the host, and the status it gets.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);

async fn check(admin: SocketAddr, cases: &[Case<'_>]) {
    for (target, host, headers, status) in cases {
        let own = admin.to_string();
        let host = host.replace("{own}", &own);
        let mut all = vec![("Host".to_owned(), host.clone())];
        all.extend(
            headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.replace("{own}", &own))),
        );
        let given = target.replace("{own}", &own);
        let answer = aside(move || {
            let all: Vec<_> = all
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            let body = if given.starts_with("GET") { "" } else { "{}" };
            raw(admin, &given, &all, body)
        })
        .await;
        assert_eq!(
            answer.status, *status,
            "{target} for {host} with {headers:?}: {}",
            answer.body
        );
        if *status >= 400 && !answer.body.is_empty() {
            assert!(
                answer.json()["error"].is_string(),
                "{target}: {}",
                answer.body
            );
        }
        // Never: another page may not read what this one says.
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{target}"
        );
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{target}"
        );
        assert_eq!(answer.header("x-frame-options"), Some("deny"), "{target}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{target}");
    }
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// DNS rebinding: a page's own name is made to point here, so to the browser it is one origin.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_strangers_may_own_are_refused() {
    let (router, admin) = start(&[]).await;
    let rebound = format!("evil.example:{}", admin.port());
    let same = [("Sec-Fetch-Site", "same-origin")];
    check(
        admin,
        &[
            ("GET /api/status", "{own}", &[], 200),
            ("GET /api/status", "localhost:8082", &[], 200),
            ("GET /api/status", "LOCALHOST", &[], 200),
            ("GET /api/status", "[::1]:8082", &[], 200),
            ("GET /api/status", "10.2.3.4", &[], 200),
            ("GET /api/status", &rebound, &same, 403),
            ("GET /", &rebound, &[], 403),
            ("GET /api/status", "127.0.0.1.evil.example", &[], 403),
            ("GET /api/status", "localhost.evil.example", &[], 403),
            ("GET /api/status", "router", &[], 403),
            ("GET /api/status", "user@127.0.0.1", &[], 400),
            ("GET /api/status", "", &[], 400),
            ("GET /api/status", "a b", &[], 400),
            ("GET /api/status", "{own}", &[("Host", "127.0.0.1")], 400),
            ("GET http://evil.example/api/status", "{own}", &[], 400),
            ("GET http://{own}/api/status", "{own}", &[], 200),
        ],
    )
    .await;
    let refused = router.metrics().admin_refusals.count(AdminRefusal::Host);
    assert_eq!(refused, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_are_refused() {
    let (router, admin) = start(&[]).await;
    let mut pair = router.pair("stays").await;
    let path = "GET /api/status";
    check(
        admin,
        &[
            (path, "{own}", &[("Origin", "http://{own}")], 200),
            (path, "{own}", &[("Origin", "https://{own}")], 200),
            (path, "{own}", &[("Origin", "http://evil.example")], 403),
            (path, "{own}", &[("Origin", "null")], 403),
            (path, "{own}", &[("Origin", "{own}")], 403),
            (path, "{own}", &[("Origin", "http://localhost:3000")], 403),
            (path, "{own}", &[("Sec-Fetch-Site", "cross-site")], 403),
            (path, "{own}", &[("Sec-Fetch-Site", "same-site")], 403),
            (path, "{own}", &[("Sec-Fetch-Site", "none")], 200),
            // But links may lead to the page.
            ("GET /", "{own}", &[("Sec-Fetch-Site", "cross-site")], 200),
            (
                "POST /api/drain",
                "{own}",
                &[JSON, ("Origin", "http://evil.example")],
                403,
            ),
            (
                "POST /api/drain",
                "{own}",
                &[JSON, ("Sec-Fetch-Site", "cross-site")],
                403,
            ),
            (
                "OPTIONS /api/drain",
                "{own}",
                &[("Origin", "http://evil.example")],
                403,
            ),
        ],
    )
    .await;
    let metrics = router.metrics();
    assert_eq!(metrics.admin_refusals.count(AdminRefusal::Origin), 9);
    assert_eq!(metrics.admin_actions.count(AdminAction::Drain), 0);
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_something_has_its_method_and_is_json() {
    let (router, admin) = start(&[]).await;
    let mut pair = router.pair("stays").await;
    check(
        admin,
        &[
            // What a form of another page can send without asking first.
            ("POST /api/drain", "{own}", &[], 415),
            (
                "POST /api/drain",
                "{own}",
                &[("Content-Type", "text/plain")],
                415,
            ),
            (
                "POST /api/drain",
                "{own}",
                &[("Content-Type", "application/x-www-form-urlencoded")],
                415,
            ),
            (
                "POST /api/streams/1/end",
                "{own}",
                &[("Content-Type", "multipart/form-data")],
                415,
            ),
            (
                "PUT /api/log-filter",
                "{own}",
                &[("Content-Type", "text/plain")],
                415,
            ),
            ("GET /api/drain", "{own}", &[], 405),
            ("GET /api/streams/1/end", "{own}", &[], 405),
            ("POST /api/streams", "{own}", &[JSON], 405),
            ("DELETE /api/streams/1", "{own}", &[JSON], 405),
            ("POST /api/log-filter", "{own}", &[JSON], 405),
            ("POST /", "{own}", &[JSON], 405),
            ("GET /api", "{own}", &[], 404),
            ("GET /metrics", "{own}", &[], 404),
            ("GET /../etc/passwd", "{own}", &[], 404),
        ],
    )
    .await;
    let metrics = router.metrics();
    assert_eq!(metrics.admin_refusals.count(AdminRefusal::ContentType), 5);
    assert_eq!(metrics.admin_actions.count(AdminAction::Drain), 0);
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_nothing_but_the_bare_page_comes_without_it() {
    let token = TOKEN.replace(' ', "-");
    let (router, admin) = start(&[("admin.token", &token)]).await;
    let mut pair = router.pair("stays").await;
    let right = format!("Bearer {token}");
    let lower = format!("bearer {token}");
    let (short, long) = (right[..right.len() - 1].to_owned(), format!("{right}x"));
    let auth = |value| [("Authorization", value), JSON];
    check(
        admin,
        &[
            ("GET /", "{own}", &[], 200),
            ("GET /api/status", "{own}", &[], 401),
            ("GET /api/streams", "{own}", &[], 401),
            ("GET /api/log-filter", "{own}", &[], 401),
            ("GET /api/none", "{own}", &[], 401),
            ("POST /api/drain", "{own}", &[JSON], 401),
            ("POST /", "{own}", &[JSON], 401),
            ("GET /api/status", "{own}", &auth(&short), 401),
            ("GET /api/status", "{own}", &auth(&long), 401),
            ("GET /api/status", "{own}", &auth("Bearer "), 401),
            ("GET /api/status", "{own}", &auth("Basic dTpw"), 401),
            ("GET /api/status", "{own}", &auth(&token), 401),
            ("GET /api/status", "{own}", &auth(&right), 200),
            ("GET /api/status", "{own}", &auth(&lower), 200),
            // No browser has the token by itself, so names may point here.
            ("GET /api/status", "router.example.com", &auth(&right), 200),
            ("POST /api/streams/4711/end", "{own}", &auth(&right), 404),
            (
                "GET /api/status",
                "{own}",
                &[("Authorization", &right), ("Origin", "http://evil.example")],
                403,
            ),
        ],
    )
    .await;
    let answer = ask(admin, "/api/status").await;
    assert_eq!(answer.header("www-authenticate"), Some("bearer"));
    assert!(!answer.body.contains(&token));
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_one_file_under_a_strict_policy() {
    let (_router, admin) = start(&[]).await;
    let nonce = |answer: &Answer| {
        let policy = answer.header("content-security-policy").unwrap().to_owned();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'nonce-"),
            "{policy}"
        );
        for part in [
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
            "require-trusted-types-for",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let nonce = policy
            .split("'nonce-")
            .nth(1)
            .unwrap()
            .split('\'')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(
            answer.body.matches(&format!("nonce=\"{nonce}\"")).count(),
            2
        );
        nonce
    };
    let (first, second) = (ask(admin, "/").await, ask(admin, "/").await);
    assert_eq!(first.status, 200);
    assert_eq!(
        first.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_ne!(nonce(&first), nonce(&second));
    assert!(!first.body.contains("{{"));
    let api = ask(admin, "/api/status").await;
    assert_eq!(
        api.header("content-security-policy"),
        Some("default-src 'none'; frame-ancestors 'none'")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_reason_is_refused() {
    let (_router, admin) = start(&[]).await;
    // Without a log in this process the filter cannot be changed, whatever the body says.
    let body = format!("{{\"filter\":\"{}\"}}", "x".repeat(20_000));
    let answer = aside(move || send(admin, "PUT", "/api/log-filter", &body)).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    let answer =
        aside(move || send(admin, "PUT", "/api/log-filter", "{\"filter\":\"debug\"}")).await;
    assert_eq!(answer.status, 404, "{}", answer.body);
    assert_eq!(ask(admin, "/api/log-filter").await.status, 404);
}
