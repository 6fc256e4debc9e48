//! Changing the configuration of a running router: what is taken in, what is refused, and that nobody notices.
#![allow(clippy::cast_sign_loss)] // sizes are positive

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use crate::helpers::{
    self, Certificate, Pair, call, data,
    operated::{Mount, Operated, Traffic, replace},
    token, within,
};
use jumpstarter_router::client::{Connector, Trust};
use rustls::HandshakeKind;
use tonic::Code;

const OK: &str = "reloads_total{result=\"ok\"}";
const FAILED: &str = "reloads_total{result=\"failed\"}";
const REFUSED: &str = "configuration refused; the one before stays in force";

fn connector(operated: &Operated) -> Connector {
    Connector::new(&operated.address, Trust::Insecure).unwrap()
}

/// Whether the router shows this certificate on a new connection.
async fn shows(operated: &Operated, certificate: &Certificate) -> bool {
    let connector = Connector::new(&operated.address, certificate.trust()).unwrap();
    within("a handshake", connector.tls()).await.is_ok()
}

/// How a stream that nobody joins ends.
async fn ends_alone(connector: &Connector, subject: &str) -> Code {
    let channel = connector.channel().await.unwrap();
    match within("an end", call(channel, &token(subject), vec![])).await {
        Ok(mut call) => helpers::last_words(&mut call).await.1,
        Err(status) => status.code(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_in_limits_and_timeouts() {
    let mut operated = Operated::start_signalled(&Operated::with_key("pairing.timeout = \"1h\""));
    let connector = connector(&operated);
    let traffic = Traffic::on(Pair::open(&connector, "pair").await);
    operated.rewrite(&Operated::with_key(
        "pairing.timeout = \"100ms\"\ndrain.timeout = \"150ms\"\nstreams.max_message_size = 20",
    ));
    assert_eq!(operated.metric(OK), Some(0.0), "nobody looks");
    operated.process.signal("HUP");
    let line = operated.process.line("configuration reloaded");
    assert_eq!(line["why"], "SIGHUP");
    assert_eq!(
        line["changed"],
        "pairing.timeout, streams.max_message_size, drain.timeout"
    );
    assert_eq!(operated.metric(OK), Some(1.0));

    let started = Instant::now();
    let code = ends_alone(&connector, "alone").await;
    assert_eq!(code, Code::DeadlineExceeded);
    assert!(started.elapsed() < helpers::LONG);
    // The pair of before keeps its limit, a new one has the new limit.
    let mut pair = traffic.finish().await;
    let long = data(vec![0; 100]);
    pair.one.send.send(long.clone()).await.unwrap();
    within("a message", pair.other.receive.message())
        .await
        .unwrap();
    let mut limited = Pair::open(&connector, "limited").await;
    limited.one.send.send(long).await.unwrap();
    let (_, code, _) = helpers::last_words(&mut limited.one).await;
    assert_eq!(code, Code::ResourceExhausted);

    operated.process.signal("TERM");
    operated.process.line("draining for at most 150ms");
    // Nor does a signal that comes late end it.
    operated.process.signal("HUP");
    assert_eq!(operated.process.wait().code(), Some(0));
    drop(pair);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_keep_to_the_window_of_their_connection() {
    const MESSAGE: usize = 60 * 1024;
    let mut operated = Operated::start_signalled(&Operated::with_key(""));
    let connector = connector(&operated);
    let channels = [
        connector.channel().await.unwrap(),
        connector.channel().await.unwrap(),
    ];
    // Opened before the change.
    let before = token("before");
    let first = call(channels[0].clone(), &before, vec![]);
    let other = call(channels[1].clone(), &before, vec![]);
    let _pair = within("pair", async { tokio::try_join!(first, other) })
        .await
        .unwrap();
    operated.rewrite(&Operated::with_key("streams.initial_window = \"16MiB\""));
    operated.process.signal("HUP");
    operated.process.line("configuration reloaded");

    // A stream that waited for a third of 16 MiB before giving credit would stand still on 128 KiB.
    let token = token("after");
    let one = call(channels[0].clone(), &token, vec![]);
    let other = call(channels[1].clone(), &token, vec![]);
    let pair = within("pair", async { tokio::try_join!(one, other) }).await;
    let (one, mut other) = pair.unwrap();
    let send = async move {
        for _ in 0..20 {
            let message = data(vec![1; MESSAGE]);
            one.send.send(message).await.unwrap();
        }
        one
    };
    let receive = async {
        for _ in 0..20 {
            let message = other.receive.message().await.unwrap().unwrap();
            assert_eq!(message.payload.len(), MESSAGE);
        }
    };
    within("1.2 MB", async { tokio::join!(send, receive) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_found_and_a_changed_comment_is_not() {
    let mut operated = Operated::start(&Operated::with_key(""));
    operated.rewrite(&Operated::with_key("# a comment\n\n"));
    // Several looks later.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(operated.metric(OK), Some(0.0));
    operated.rewrite(&Operated::with_key("log.filter = \"debug\""));
    let line = operated.process.line("configuration reloaded");
    assert_eq!(line["why"], "files changed");
    assert_eq!(line["changed"], "log.filter");
    // What only `debug` shows.
    let _pair = Pair::open(&connector(&operated), "pair").await;
    assert_eq!(operated.process.line("forwarding")["level"], "debug");
    assert_eq!(operated.metric(OK), Some(1.0));
    // The interval itself.
    operated.rewrite(&Operated::with_key("log.filter = \"info\""));
    operated.process.line("configuration reloaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_interval_holds_at_once() {
    let config = |interval: &str| Operated::with_key(&format!("reload.interval = \"{interval}\""));
    let mut operated = Operated::start_with(&config("50ms"), &[]);
    operated.rewrite(&config("0s"));
    let line = operated.process.line("configuration reloaded");
    assert_eq!(line["changed"], "reload.interval");
    operated.rewrite(&config("50ms"));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(operated.metric(OK), Some(1.0), "nobody looks any more");
    operated.process.signal("HUP");
    operated.process.line("configuration reloaded");
    operated.rewrite(&config("60ms"));
    operated.process.line("configuration reloaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named_and_the_rest_is_in_force() {
    let mut operated = Operated::start(&Operated::with_key(""));
    operated.rewrite(&Operated::with_key(
        "tls.plaintext = true\nruntime.worker_threads = 3\npairing.timeout = \"100ms\"",
    ));
    let line = operated.process.line("configuration reloaded");
    assert_eq!(line["changed"], "pairing.timeout");
    let line = operated
        .process
        .line("these keys have changed and need a restart");
    assert_eq!(line["level"], "warning");
    assert_eq!(line["keys"], "tls.plaintext, runtime.worker_threads");
    assert_eq!(operated.metric("restart_needed"), Some(2.0));
    assert_eq!(operated.metric("last_reload_successful"), Some(1.0));
    let code = ends_alone(&connector(&operated), "alone").await;
    assert_eq!(code, Code::DeadlineExceeded, "over TLS, as before");
    operated.rewrite(&Operated::with_key(""));
    operated.process.line("configuration reloaded");
    operated.metric_becomes("restart_needed", Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_bad_configuration_is_taken_in() {
    let good = Operated::with_key("pairing.timeout = \"100ms\"\n");
    let mut operated = Operated::start(&good);
    let connector = connector(&operated);
    let traffic = Traffic::on(Pair::open(&connector, "pair").await);
    let start = operated.metric("last_reload_success_timestamp_seconds");
    let file = operated.file();
    let file = file.display();
    let longer = Operated::with_key("pairing.timeout = \"1h\"\n");
    for (number, (bad, said)) in [
        // Each with a change that would be good.
        (
            format!("{longer}drain.timeout = \"5\"\ndrain.timout = \"5s\"\n"),
            format!("{file}:3:17: drain.timeout: found"),
        ),
        (
            format!("{longer}drain.timeout = "),
            format!("{file}:3:17: not valid TOML"),
        ),
        (
            "pairing.timeout = \"1h\"".to_owned(),
            "no signing key".to_owned(),
        ),
        (
            format!("{longer}log.filter = \"inof\""),
            "\"inof\" is not a level".to_owned(),
        ),
        (
            format!("{longer}tls.certificate = \"/nowhere\"\ntls.key = \"/nowhere\""),
            "tls.certificate: cannot read /nowhere: No such file".to_owned(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        operated.rewrite(&bad);
        let line = operated.process.line(REFUSED);
        assert_eq!(line["level"], "error");
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(&said), "{said:?} in {error:?}");
        assert_eq!(operated.metric("last_reload_successful"), Some(0.0));
        assert_eq!(operated.metric(FAILED), Some(f64::from(number as u32 + 1)));
        let code = ends_alone(&connector, &format!("alone {number}")).await;
        assert_eq!(code, Code::DeadlineExceeded, "the old timeout");
    }
    assert_eq!(operated.metric(OK), Some(0.0));
    let last = operated.metric("last_reload_success_timestamp_seconds");
    assert_eq!(last, start);
    // The same file is not refused again and again, but on a signal.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(operated.metric(FAILED), Some(5.0));
    operated.process.signal("HUP");
    assert_eq!(operated.process.line(REFUSED)["why"], "SIGHUP");

    // Put back, all is well again, though nothing has changed.
    operated.rewrite(&good);
    let line = operated.process.line("configuration reloaded");
    assert!(line["changed"].is_null(), "{line}");
    assert_eq!(operated.metric("last_reload_successful"), Some(1.0));
    traffic.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_certificate_is_swapped_under_traffic() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let files = |certificate: &Certificate| certificate.texts();
    let [crt, key] = files(&old);
    let mut mount = Mount::new(&[("tls.crt", &crt), ("tls.key", &key)]);
    let mut operated = Operated::start(&Operated::with_key(&format!(
        "tls.certificate = {:?}\ntls.key = {:?}",
        mount.file("tls.crt"),
        mount.file("tls.key")
    )));
    let connector = Connector::new(&operated.address, old.trust()).unwrap();
    let traffic = Traffic::on(Pair::open(&connector, "pair").await);
    let waiting = {
        let channel = connector.channel().await.unwrap();
        tokio::spawn(async move { call(channel, &token("late"), vec![]).await })
    };
    operated.metric_becomes("streams_waiting", Some(1.0));
    let expiry = operated.metric("certificate_expiry_timestamp_seconds");
    assert!(expiry > Some(1.7e9));

    let [crt, key] = files(&new);
    mount.update(&[("tls.crt", &crt), ("tls.key", &key)]);
    let line = operated.process.line("configuration reloaded");
    assert_eq!(line["changed"], "tls.certificate, tls.key");
    assert!(shows(&operated, &new).await);
    assert!(!shows(&operated, &old).await);
    assert_eq!(operated.metric(FAILED), Some(0.0));

    // Who waited on an old connection meets who comes on a new one.
    let connector = Connector::new(&operated.address, new.trust()).unwrap();
    let late = token("late");
    let other = call(connector.channel().await.unwrap(), &late, vec![]);
    within("pair", other).await.unwrap();
    within("pair", waiting).await.unwrap().unwrap();
    Pair::open(&connector, "new").await.ping_pong().await;
    traffic.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_or_mismatched_certificate_keeps_the_old_pair() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let dir = tempfile::tempdir().unwrap();
    let (crt, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let ([old_crt, old_key], [new_crt, new_key]) = (old.texts(), new.texts());
    fs::write(&crt, &old_crt).unwrap();
    fs::write(&key, &old_key).unwrap();
    let mut operated = Operated::start(&Operated::with_key(&format!(
        "tls.certificate = {crt:?}\ntls.key = {key:?}"
    )));
    let connector = Connector::new(&operated.address, old.trust()).unwrap();
    let traffic = Traffic::on(Pair::open(&connector, "pair").await);

    // Half of the certificate, in place; then all of it, but with the old key.
    for (text, said) in [
        (&new_crt[..new_crt.len() / 2], "tls.crt"),
        (&new_crt[..], "do not go together"),
    ] {
        fs::write(&crt, text).unwrap();
        let line = operated.process.line(REFUSED);
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(said), "{said:?} in {error:?}");
        assert_eq!(operated.metric("last_reload_successful"), Some(0.0));
        assert!(shows(&operated, &old).await);
        // Other settings wait, too: all or nothing.
        assert_eq!(operated.metric(OK), Some(0.0));
    }
    fs::write(&key, &new_key[..new_key.len() / 2]).unwrap();
    let line = operated.process.line(REFUSED);
    assert!(line["error"].as_str().unwrap().contains("tls.key"));
    assert!(shows(&operated, &old).await);
    fs::write(&key, &new_key).unwrap();
    operated.process.line("configuration reloaded");
    assert!(shows(&operated, &new).await);
    assert_eq!(operated.metric("last_reload_successful"), Some(1.0));
    for key in [&old_key, &new_key].map(|key| String::from_utf8(key.clone()).unwrap()) {
        let inside = &key.lines().nth(1).unwrap()[..32];
        for line in &operated.process.lines {
            assert!(!line.contains(inside), "{line}");
        }
    }
    traffic.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_near_its_end_is_warned_about() {
    let soon = |days: u64| {
        let certificate = Certificate::new();
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let end = SystemTime::now() + Duration::from_secs(days * 86_400 + 3600);
        params.not_after = end.into();
        let key = rcgen::KeyPair::generate().unwrap();
        let text = params.self_signed(&key).unwrap().pem();
        fs::write(certificate.certificate(), text).unwrap();
        fs::write(certificate.key(), key.serialize_pem()).unwrap();
        let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        (certificate, end.as_secs() as f64)
    };
    let (certificate, end) = soon(5);
    let config = |certificate: &Certificate| {
        let (crt, key) = (certificate.certificate(), certificate.key());
        Operated::with_key(&format!("tls.certificate = {crt:?}\ntls.key = {key:?}"))
    };
    let mut operated = Operated::start(&config(&certificate));
    // It is said by a task of its own, before or after the line that the start waits for.
    let line = operated.process.line("the certificate expires in 5 days");
    assert_eq!(line["level"], "warning");
    let shown = || operated.metric("certificate_expiry_timestamp_seconds");
    assert_eq!(shown(), Some(end));

    // A new one, no better, is warned about at once.
    let (certificate, end) = soon(0);
    operated.rewrite(&config(&certificate));
    let line = operated.process.line("the certificate expires in");
    assert_eq!(line["level"], "error");
    operated.metric_becomes("certificate_expiry_timestamp_seconds", Some(end));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_again_is_no_configuration() {
    let mut operated = Operated::start(&Operated::with_key(""));
    let file = operated.file();
    fs::remove_file(&file).unwrap();
    let line = operated.process.line(REFUSED);
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("cannot read the configuration file"),
        "{error}"
    );
    replace(&file, Operated::with_key("drain.timeout = \"1s\""));
    operated.process.line("configuration reloaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_signal_took_in_is_not_found_again() {
    let mut operated =
        Operated::start_with(&Operated::with_key(""), &[("reload.interval", "300ms")]);
    operated.rewrite(&Operated::with_key("drain.timeout = \"1s\""));
    operated.process.signal("HUP");
    let line = operated.process.line("configuration reloaded");
    assert_eq!(line["why"], "SIGHUP");
    // Several looks later.
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(operated.metric(OK), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_cache_can_be_changed() {
    let certificate = Certificate::new();
    let (crt, key) = (certificate.certificate(), certificate.key());
    let config = |sessions: u32| {
        Operated::with_key(&format!(
            "tls.certificate = {crt:?}\ntls.key = {key:?}\ntls.session_cache = {sessions}"
        ))
    };
    let mut operated = Operated::start(&config(0));
    // Whether a client that was here before is known again.
    let resumes = async |operated: &Operated| {
        let connector = Connector::new(&operated.address, certificate.trust()).unwrap();
        // Sessions come with the first bytes that are read.
        drop(Pair::open(&connector, "earlier").await);
        let stream = within("a handshake", connector.tls()).await.unwrap();
        stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    };
    for (sessions, resumed) in [(100, true), (0, false), (5, true)] {
        assert_eq!(resumes(&operated).await, !resumed);
        operated.rewrite(&config(sessions));
        let line = operated.process.line("configuration reloaded");
        assert_eq!(line["changed"], "tls.session_cache");
        assert_eq!(resumes(&operated).await, resumed, "{sessions}");
    }
    assert_eq!(operated.metric("restart_needed"), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_limit_can_be_changed() {
    const HIGH: u64 = 64 << 30;
    let config = |limit: u64| Operated::with_key(&format!("memory.limit = {limit}"));
    let mut operated = Operated::start(&config(HIGH));
    let connector = connector(&operated);
    let traffic = Traffic::on(Pair::open(&connector, "pair").await);
    let refused = "stream_refusals_total{cause=\"memory\"}";
    for round in 1..=2 {
        // Looked at once a second.
        operated.metric_becomes("memory_limit_bytes", Some(HIGH as f64));
        Pair::open(&connector, &format!("room {round}")).await;
        std::thread::sleep(Duration::from_millis(2200));
        let used = operated.metric("memory_used_bytes").unwrap();
        // From 69 % on new streams are refused, and below 75 % connections are let in.
        operated.rewrite(&config((used / 0.72) as u64));
        let line = operated.process.line("configuration reloaded");
        assert_eq!(line["changed"], "memory.limit");
        // Its connection is a new one: such as have had no stream for a while are closed.
        let channel = connector.channel().await.unwrap();
        let status = within("an answer", call(channel, &token("new"), vec![])).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("memory.limit"), "{status}");
        assert_eq!(operated.metric(refused), Some(f64::from(round)));
        traffic.goes_on().await;
        operated.rewrite(&config(HIGH));
        operated.process.line("configuration reloaded");
    }
    traffic.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_for_each_address_counts_those_that_were_there_before() {
    let mut operated = Operated::start(&Operated::with_key(""));
    let connector = connector(&operated);
    let traffic = Traffic::on(Pair::open(&connector, "two connections").await);
    operated.rewrite(&Operated::with_key(
        "connections.max_per_address = 3\nstreams.max_per_address = 3",
    ));
    operated.process.line("configuration reloaded");
    let third = connector.channel().await.unwrap();
    assert!(within("a refusal", connector.tls()).await.is_err());
    let refused = "connections_total{result=\"refused_address_limit\"}";
    operated.metric_becomes(refused, Some(1.0));
    // And streams: a third may wait, a fourth is one too many.
    let waits = tokio::spawn({
        let third = third.clone();
        async move { call(third, &token("third"), vec![]).await }
    });
    operated.metric_becomes("streams_waiting", Some(1.0));
    let fourth = within("an answer", call(third, &token("fourth"), vec![])).await;
    assert_eq!(fourth.unwrap_err().code(), Code::ResourceExhausted);
    waits.abort();
    traffic.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keepalive_settings_of_the_operator_are_taken_in() {
    let written = |keepalive: &str| {
        format!(
            "authentication:\n  internal:\n    prefix: \"internal:\"\ngrpc:\n  keepalive:\n    \
             minTime: 1s\n    permitWithoutStream: true\n{keepalive}"
        )
    };
    let map = |keepalive: &str| -> Vec<u8> { written(keepalive).into() };
    let mut mount = Mount::new(&[("config", &map(""))]);
    let mut operated = Operated::start(&Operated::with_key(&format!(
        "connections.operator_config = {:?}\nconnections.max_age_grace = \"1h\"",
        mount.file("config")
    )));
    let connector = connector(&operated);
    let mut before = Pair::open(&connector, "before").await;
    // What the operator writes when the resource has these settings.
    mount.update(&[(
        "config",
        &map("    timeout: 3m0s\n    maxConnectionIdle: 300ms\n    maxConnectionAgeGrace: 1s\n"),
    )]);
    let line = operated.process.line("configuration reloaded");
    assert_eq!(
        line["changed"],
        "connections.idle_timeout, connections.keepalive_timeout, connections.tcp_user_timeout",
        "our own key wins"
    );
    // A new connection whose stream has ended is closed now, once no other is open from its address.
    let channel = connector.channel().await.unwrap();
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { call(channel, &token("gives up"), vec![]).await }
    });
    operated.metric_becomes("streams_waiting", Some(1.0));
    waiting.abort();
    before.ping_pong().await;
    drop(before);
    operated.metric_becomes("connections_closed_total{reason=\"idle\"}", Some(1.0));
    drop(channel);

    for (text, said) in [
        (
            written("    timeout: 180\n"),
            "config: grpc.keepalive.timeout: found \"180\", expected a duration as in Go",
        ),
        (
            "grpc: [".to_owned(),
            "config is not what the operator writes",
        ),
    ] {
        mount.update(&[("config", text.as_bytes())]);
        let line = operated.process.line(REFUSED);
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(said), "{said:?} in {error:?}");
    }
    mount.update(&[("config", &map(""))]);
    let line = operated.process.line("configuration reloaded");
    assert!(line["changed"].as_str().unwrap().contains("idle_timeout"));
}

/// What administrators see of the configuration is what is in force.
#[tokio::test(flavor = "multi_thread")]
async fn the_settings_that_are_shown_are_those_in_force() {
    let port = helpers::free_port();
    let (address, admin) = (format!("127.0.0.1:{port}"), ("127.0.0.1", port));
    let admin = std::net::ToSocketAddrs::to_socket_addrs(&admin)
        .unwrap()
        .next()
        .unwrap();
    let first = Operated::with_key("listen.backlog = 100\nstreams.idle_timeout = \"1h\"");
    let settings = [
        ("listen.admin_address", &*address),
        ("reload.interval", "0s"),
    ];
    let mut operated = Operated::start_with(&first, &settings);
    let setting = |key: &'static str| {
        helpers::web::aside(move || {
            let config = helpers::web::get(admin, "/api/config").json();
            let all = config["settings"].as_array().unwrap().clone();
            let one = all.into_iter().find(|setting| setting["key"] == key);
            let one = one.unwrap();
            let text = |name: &str| one[name].as_str().unwrap_or("null").to_owned();
            (text("value"), text("source"))
        })
    };
    let (value, source) = setting("streams.idle_timeout").await;
    assert_eq!(value, "\"1h\"");
    assert!(source.ends_with("config.toml:3"), "{source}");
    assert_eq!(
        setting("listen.admin_address").await.0,
        format!("\"{address}\"")
    );
    assert_eq!(
        setting("streams.linger").await,
        ("\"30s\"".to_owned(), "default".to_owned())
    );

    // A key that needs a restart stays as it is until then.
    operated.rewrite(&Operated::with_key(
        "\nlisten.backlog = 200\nstreams.idle_timeout = \"2h\"",
    ));
    operated.process.signal("HUP");
    operated.process.line("configuration reloaded");
    let (value, source) = setting("streams.idle_timeout").await;
    assert_eq!(value, "\"2h\"");
    assert!(source.ends_with("config.toml:4"), "{source}");
    assert_eq!(setting("listen.backlog").await.0, "100");

    operated.rewrite("nonsense");
    operated.process.signal("HUP");
    operated.process.line(REFUSED);
    assert_eq!(setting("streams.idle_timeout").await.0, "\"2h\"");
    operated.process.signal("TERM");
}
