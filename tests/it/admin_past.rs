//! What the administrator's API tells of the past: streams that have ended or were refused, and figures.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use crate::helpers::web::{Answer, aside, get, raw, send};
use crate::helpers::{KEY, Running, call, data, last_words, token, until, until_async};
use jumpstarter_router::inside::{
    auth::{Claims, mint},
    observe::metrics::{AdminAction, AdminRefusal},
};
use serde_json::{Value, json};
use tonic::Code;

async fn start(settings: &[(&str, &str)]) -> (Running, SocketAddr) {
    let mut all = vec![("listen.admin_address", "127.0.0.1:0")];
    all.extend(settings);
    let router = Running::start(&all).await;
    let admin = router.server.admin_address.unwrap();
    (router, admin)
}

async fn ask(admin: SocketAddr, path: &str) -> Value {
    let path = path.to_owned();
    let answer = aside(move || get(admin, &path)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

async fn name(admin: SocketAddr, subject: &str, body: &str) -> Answer {
    let (path, body) = (format!("/api/names/{subject}"), body.to_owned());
    aside(move || send(admin, "PUT", &path, &body)).await
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_millis() as u64
}

/// Asks until so many match.
async fn past(admin: SocketAddr, query: &str, matching: usize) -> Value {
    let mut seen = Value::Null;
    until_async(&format!("{matching} of {query}"), async || {
        seen = ask(admin, &format!("/api/past{query}")).await;
        seen["matching"] == matching
    })
    .await;
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_shell_died_is_answered_by_one_request() {
    let before = now_ms();
    let (router, admin) = start(&[]).await;
    let names = json!({"client": "me", "exporter": "Board-1", "lease": "l-42"});
    let answer = name(admin, "sub%2Fject", &names.to_string()).await;
    assert_eq!((answer.status, &*answer.body), (204, ""));
    let mut pair = router.pair("sub/ject").await;
    pair.ping_pong().await;
    let _others = (router.pair("other").await, router.pair("another").await);
    let live = ask(admin, "/api/streams?q=board-1").await;
    let live = &live["streams"][0];
    assert_eq!(live["names"], names);
    assert_eq!(
        ask(admin, &format!("/api/streams/{}", live["id"])).await["names"],
        names
    );
    tokio::time::sleep(Duration::from_millis(20)).await;
    // One goes without a word, and the other is told.
    let (mut first, second) = (pair.one, pair.other);
    drop((second.send, second.receive));
    let (_, code, text) = last_words(&mut first).await;
    assert_eq!(
        (code, &*text),
        (Code::Unavailable, "the other side cancelled its stream")
    );

    for query in [
        "?q=BOARD-1",
        "?q=l-42",
        "?q=sub/ject",
        "?q=me&kind=ended",
        &format!("?q={}", live["id"]),
    ] {
        past(admin, query, 1).await;
    }
    let all = past(admin, "", 1).await;
    assert_eq!(
        (&all["total"], all["streams"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    let mut row = all["streams"][0].clone();
    let fields = row.as_object_mut().unwrap();
    let mut take = |name: &str| fields.remove(name).unwrap();
    let (began, ended) = (
        take("began_unix_ms").as_u64().unwrap(),
        take("ended_unix_ms").as_u64().unwrap(),
    );
    assert!(
        before <= began && began + 20 <= ended && ended <= now_ms(),
        "{began} {ended}"
    );
    assert_eq!(json!(began), live["began_unix_ms"], "the same as before");
    let duration = take("duration_seconds").as_f64().unwrap();
    assert!(
        (duration * 1000.0 - (ended - began) as f64).abs() < 50.0,
        "{duration}"
    );
    assert!(take("waited_seconds").as_f64().unwrap() <= duration);
    let by = take("ended_by");
    assert!(by == "first" || by == "second", "a peer ended it: {by}");
    let peer = json!({
        "address": "127.0.0.1", "certificate": null, "router": null,
        "bytes_in": 16, "bytes_out": 16, "messages_in": 1, "messages_out": 1,
    });
    let expected = json!({
        "kind": "ended", "id": live["id"], "subject": "sub/ject", "names": names, "peers": [peer, peer],
        "cause": "cancelled", "status": "CANCELLED", "reason": "the stream was cancelled", "count": 1,
    });
    assert_eq!(row, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ended_it_is_told_of_the_two_in_the_order_of_arrival() {
    let (router, admin) = start(&[]).await;
    for (subject, ends_it) in [("one", "first"), ("two", "second")] {
        let [first, second] = [
            router.connector().channel().await.unwrap(),
            router.connector().channel().await.unwrap(),
        ];
        let waits = tokio::spawn({
            let token = token(subject);
            async move { call(first, &token, vec![data("12345")]).await }
        });
        until("a stream that waits", || {
            router.metrics().streams_waiting.get() == 1
        })
        .await;
        let second = call(second, &token(subject), vec![]).await.unwrap();
        let first = waits.await.unwrap().unwrap();
        let (_stays, goes) = match ends_it {
            "first" => (second, first),
            _ => (first, second),
        };
        drop(goes);
        let row = past(admin, &format!("?q={subject}"), 1).await["streams"][0].clone();
        assert_eq!(row["ended_by"], ends_it, "{row}");
        assert_eq!(
            row["peers"][0]["bytes_in"], 12,
            "it was the first who sent: {row}"
        );
        assert!(row["waited_seconds"].is_f64(), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_in_vain_and_who_was_ended_are_there_too() {
    let (router, admin) = start(&[("pairing.timeout", "200ms")]).await;
    let channel = router.connector().channel().await.unwrap();
    let status = call(channel, &token("alone"), vec![]).await;
    let status = match status {
        Err(status) => status.code(),
        Ok(mut call) => last_words(&mut call).await.1,
    };
    assert_eq!(status, Code::DeadlineExceeded);
    let row = past(admin, "?q=pairing.timeout", 1).await["streams"][0].clone();
    let of = |name: &str| row[name].clone();
    assert_eq!(
        (of("subject"), of("cause"), of("status"), of("ended_by")),
        (
            json!("alone"),
            json!("unpaired"),
            json!("DEADLINE_EXCEEDED"),
            json!("router")
        )
    );
    assert_eq!(
        (row["peers"].as_array().unwrap().len(), of("waited_seconds")),
        (1, Value::Null)
    );

    let pair = router.pair("both").await;
    let id = ask(admin, "/api/streams").await["streams"][0]["id"].clone();
    let path = format!("/api/streams/{id}/end");
    assert_eq!(
        aside(move || send(admin, "POST", &path, "{}")).await.status,
        202
    );
    let row = past(admin, "?q=administrator", 1).await["streams"][0].clone();
    assert_eq!(
        (&row["id"], &row["ended_by"], &row["reason"]),
        (&id, &json!("router"), &json!("ended by an administrator"))
    );
    assert_eq!(
        row["peers"].as_array().unwrap().len(),
        2,
        "while the other is being told, too"
    );
    let one = format!("/api/streams/{}", u64::MAX);
    let answer = aside(move || get(admin, &one)).await;
    assert!(
        answer.status == 404 && answer.body.contains("/api/past"),
        "{}",
        answer.body
    );
    drop(pair);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_is_one_entry_and_hides_nothing() {
    let (router, admin) = start(&[("streams.max_per_address", "3")]).await;
    drop(router.pair("was there").await);
    past(admin, "?kind=ended", 1).await;
    let _pair = router.pair("is there").await;
    let channel = router.connector().channel().await.unwrap();
    let _third = tokio::spawn({
        let channel = channel.clone();
        async move { call(channel, &token("third"), vec![]).await }
    });
    until("three streams", || {
        router.server.router().streams.count() == 3
    })
    .await;
    let wrong = mint(
        b"another key of 32 bytes or more than that",
        &Claims::new("s", SystemTime::now()),
    );
    for number in 0..300 {
        assert!(call(channel.clone(), &wrong, vec![]).await.is_err());
        if number % 3 == 0 {
            let many = call(channel.clone(), &token("many"), vec![]).await;
            assert_eq!(many.unwrap_err().code(), Code::ResourceExhausted);
        }
    }
    let all = ask(admin, "/api/past").await;
    assert_eq!(
        (&all["total"], &all["matching"]),
        (&json!(3), &json!(3)),
        "{all}"
    );
    let refused = ask(admin, "/api/past?kind=refused").await;
    assert_eq!(
        (&refused["total"], &refused["matching"]),
        (&json!(3), &json!(2))
    );
    let counts: BTreeMap<_, _> = refused["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["cause"].as_str().unwrap(),
                row["count"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        counts,
        [("signature", 300), ("too_many_per_address", 100)].into()
    );
    let row = &ask(admin, "/api/past?q=SIGNATURE").await["streams"][0];
    let mut row = row.clone();
    let fields = row.as_object_mut().unwrap();
    let times = ["began_unix_ms", "ended_unix_ms"]
        .map(|name| fields.remove(name).unwrap().as_u64().unwrap());
    assert!(times[0] < times[1], "{times:?}");
    let reason = fields.remove("reason").unwrap();
    assert!(reason.as_str().unwrap().contains("token"), "{reason}");
    let expected = json!({
        "kind": "refused", "id": null, "subject": null, "names": null, "waited_seconds": null, "duration_seconds": 0.0,
        "peers": [{
            "address": "127.0.0.1", "certificate": null, "router": null,
            "bytes_in": 0, "bytes_out": 0, "messages_in": 0, "messages_out": 0,
        }],
        "ended_by": "router", "cause": "signature", "status": "UNAUTHENTICATED", "count": 300,
    });
    assert_eq!(row, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_come_first_and_no_more_than_are_wanted() {
    let (router, admin) = start(&[]).await;
    for number in 0..5 {
        drop(router.pair(&format!("number {number}")).await);
        past(admin, "", number + 1).await;
    }
    let listed = past(admin, "?limit=2", 5).await;
    let subjects = [0, 1].map(|at| listed["streams"][at]["subject"].clone());
    assert_eq!(subjects, ["number 4", "number 3"]);
    assert_eq!(listed["streams"].as_array().unwrap().len(), 2);
    for query in ["?kind=other", "?limit=-1", "?sort=id"] {
        let path = format!("/api/past{query}");
        let answer = aside(move || get(admin, &path)).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["error"].is_string(), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_text_of_some_length_and_can_be_taken_away() {
    let (router, admin) = start(&[]).await;
    let _pair = router.pair("s").await;
    let long = |length| json!({ "client": "x".repeat(length) }).to_string();
    for (body, status) in [
        (long(256).as_str(), 204),
        (&long(257), 400),
        (r#"{"client":""}"#, 400),
        (r#"{"exporter":"a\u0000b"}"#, 400),
        (r#"{"lease":"a\nb"}"#, 400),
        (r#"{"who":"me"}"#, 422),
        (r#"{"client":7}"#, 422),
        ("[", 400),
    ] {
        let answer = name(admin, "s", body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(
            status == 204 || answer.json()["error"].is_string(),
            "{body}"
        );
    }
    assert_eq!(name(admin, &"s".repeat(4097), "{}").await.status, 400);
    let names = async || ask(admin, "/api/streams").await["streams"][0]["names"].clone();
    assert_eq!(names().await["exporter"], Value::Null);
    assert_eq!(
        name(admin, "s", r#"{"exporter":"<b>ß</b>","lease":null}"#)
            .await
            .status,
        204
    );
    assert_eq!(
        names().await,
        json!({"client": null, "exporter": "<b>ß</b>", "lease": null})
    );
    assert_eq!(name(admin, "s", "{}").await.status, 204);
    assert_eq!(names().await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_byte_is_in_the_figures_of_one_second() {
    let (router, admin) = start(&[]).await;
    let mut pair = router.pair("stays").await;
    for _ in 0..3 {
        let mut gone = router.pair("gone").await;
        gone.ping_pong().await;
        pair.ping_pong().await;
    }
    let history = async |query: &str| ask(admin, &format!("/api/history{query}")).await;
    let figures = |history: &Value, name: &str| -> Vec<u64> {
        let all = history["series"][name].as_array().unwrap().iter();
        all.map(|figure| figure.as_u64().unwrap()).collect()
    };
    let sum = |history: &Value, name: &str| figures(history, name).iter().sum::<u64>();
    let mut seen = Value::Null;
    until_async("three seconds", async || {
        seen = history("").await;
        figures(&seen, "pairs").len() >= 3 && sum(&seen, "bytes_out") >= 12 * 16
    })
    .await;
    assert_eq!(
        (sum(&seen, "bytes_in"), sum(&seen, "bytes_out")),
        (12 * 16, 12 * 16),
        "{seen}"
    );
    assert_eq!(seen["interval_seconds"], 1);
    let end = seen["end_unix_s"].as_u64().unwrap();
    assert!(end.abs_diff(now_ms() / 1000) <= 2, "{end}");
    let lengths: Vec<_> = seen["series"]
        .as_object()
        .unwrap()
        .values()
        .map(|all| all.as_array().unwrap().len())
        .collect();
    assert!(
        lengths.len() == 6 && lengths.iter().all(|length| *length == lengths[0]),
        "{seen}"
    );
    assert_eq!(figures(&seen, "pairs").last(), Some(&1), "{seen}");
    assert!(
        figures(&seen, "memory_bytes")
            .iter()
            .all(|bytes| *bytes > 0),
        "{seen}"
    );
    assert_eq!(figures(&history("?seconds=2").await, "waiting"), [0, 0]);
    let channel = router.connector().channel().await.unwrap();
    assert!(call(channel, "no token", vec![]).await.is_err());
    until_async("the refusal", async || {
        sum(&history("").await, "refusals") == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_address_are_told_apart() {
    let address = format!("127.0.0.1:{}", crate::helpers::free_port());
    let settings = [
        ("listen.admin_address", &*address),
        ("listen.reuse_port", "true"),
    ];
    let routers = [
        Running::start(&settings).await,
        Running::start(&settings).await,
    ];
    let admin = address.parse().unwrap();
    let mut seen = BTreeMap::new();
    until_async("both processes", async || {
        let answer = aside(move || get(admin, "/api/status")).await;
        let status = answer.json();
        let id = status["process"]["id"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("x-router-process"), Some(&*id));
        assert!(
            id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        seen.insert(id, status);
        seen.len() == 2
    })
    .await;
    for status in seen.values() {
        assert_eq!(status["process"]["pid"], std::process::id());
        assert!(!status["process"]["host"].as_str().unwrap().is_empty());
        let (started, now) = (
            &status["process"]["started_unix_ms"],
            &status["now_unix_ms"],
        );
        assert!(
            started.as_u64() <= now.as_u64() && now.as_u64().unwrap().abs_diff(now_ms()) < 60_000
        );
        assert!(status["memory_used_bytes"].as_u64().unwrap() > 0);
        assert_eq!(
            (&status["memory_limit_bytes"].is_null(), &status["access"]),
            (&true, &json!("full"))
        );
    }
    let answer = aside(move || send(admin, "POST", "/api/drain", "{}")).await;
    let drains = answer.json()["process"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("x-router-process"), Some(&*drains));
    let asked = routers
        .iter()
        .filter(|router| router.server.router().life.phase().is_asked());
    assert_eq!(asked.count(), 1);
    assert!(seen.contains_key(&drains));
    // Answers that are none, and the page, are of some process too.
    for path in ["/", "/api/none"] {
        let answer = aside(move || get(admin, path)).await;
        assert!(
            seen.contains_key(answer.header("x-router-process").unwrap()),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_and_the_settings_are_shown_without_secrets() {
    let (router, admin) = start(&[("memory.limit", "3GiB"), ("streams.idle_timeout", "90s")]).await;
    let status = ask(admin, "/api/status").await;
    assert_eq!(status["memory_limit_bytes"], 3_u64 << 30);
    let certificate = &status["certificates"][0];
    assert_eq!(
        certificate["file"],
        router.certificate.certificate().to_str().unwrap()
    );
    assert_eq!(certificate["names"], json!(["127.0.0.1"]));
    assert!(
        certificate["subject"].as_str().unwrap().starts_with("CN="),
        "{certificate}"
    );
    let days = certificate["days_left"].as_i64().unwrap();
    assert!((364..=365).contains(&days), "{certificate}");
    let left = certificate["not_after_unix_s"].as_u64().unwrap() - now_ms() / 1000;
    assert_eq!(left / 86_400, days.cast_unsigned());

    let config = ask(admin, "/api/config").await;
    assert!(!config.to_string().contains(KEY));
    let setting = |key: &str| {
        let all = config["settings"].as_array().unwrap().iter();
        let one = all
            .filter(|setting| setting["key"] == key)
            .collect::<Vec<_>>();
        assert_eq!(one.len(), 1, "{key}");
        (one[0]["value"].clone(), one[0]["restart"].clone())
    };
    assert_eq!(
        setting("streams.idle_timeout"),
        (json!("\"1m 30s\""), json!(false))
    );
    assert_eq!(setting("auth.key"), (json!("\"(hidden)\""), json!(false)));
    assert_eq!(setting("drain.forward_to"), (Value::Null, json!(false)));
    assert_eq!(setting("listen.backlog"), (json!("1024"), json!(true)));
    let count = jumpstarter_router::inside::config::keys().count();
    assert_eq!(config["settings"].as_array().unwrap().len(), count);

    let (_router, plain) = start(&[("tls.plaintext", "true")]).await;
    assert_eq!(ask(plain, "/api/status").await["certificates"], json!([]));
}

/// Every path, with something where anything can be.
fn paths() -> Vec<String> {
    let all = jumpstarter_router::inside::admin::api::paths();
    let filled = all.map(|path| path.replace("{id}", "1").replace("{subject}", "s"));
    filled.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reading_token_reads_every_path_and_changes_nothing() {
    let (full, read) = ("full-0123456789abcdef", "read-0123456789abcdef");
    let (router, admin) = start(&[("admin.token", full), ("admin.read_token", read)]).await;
    let mut pair = router.pair("stays").await;
    let ask = |method: &str, path: &str, token: &str| {
        let (target, bearer) = (format!("{method} {path}"), format!("Bearer {token}"));
        aside(move || {
            let host = admin.to_string();
            let headers = [
                ("Host", &*host),
                ("Authorization", &*bearer),
                ("Content-Type", "application/json"),
            ];
            let body = if target.starts_with("GET") { "" } else { "{}" };
            raw(admin, &target, &headers, body)
        })
    };
    assert!(paths().len() >= 11);
    for path in paths() {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let answer = ask(method, &path, read).await;
            assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
            let error = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(error.contains("only reads"), "{error}");
            assert_eq!(
                ask(method, &path, "wrong-0123456789abcdef").await.status,
                401,
                "{method} {path}"
            );
        }
        let (reads, all) = (ask("GET", &path, read).await, ask("GET", &path, full).await);
        assert_eq!(reads.status, all.status, "{path}");
        assert!(
            [200, 404, 405].contains(&reads.status),
            "{path}: {}",
            reads.status
        );
    }
    let metrics = router.metrics();
    assert_eq!(
        metrics.admin_refusals.count(AdminRefusal::ReadOnly),
        5 * paths().len() as u64
    );
    assert_eq!(metrics.admin_actions.count(AdminAction::Names), 0);
    assert!(!router.server.router().life.phase().is_asked());
    pair.ping_pong().await;
    for (token, access) in [(read, "read"), (full, "full")] {
        let answer = ask("GET", "/api/status", token).await;
        assert_eq!(answer.json()["access"], access);
    }
    assert_eq!(ask("PUT", "/api/names/s", full).await.status, 204);
    let config = ask("GET", "/api/config", read).await.body;
    assert!(!config.contains(full) && !config.contains(read), "{config}");
}
