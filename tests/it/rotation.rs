//! Signing keys and certificates are changed as the pages in `docs/` say, with traffic all the while.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use crate::helpers::{
    Certificate, Pair, call,
    operated::{Mount, Operated, Traffic},
    page::Page,
    within,
};
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::auth::{Claims, mint},
};
use tonic::Code;

const OLD: &str = "the old key of at least 32 bytes!";

fn signed(key: &str, subject: &str) -> String {
    mint(key.as_bytes(), &Claims::new(subject, SystemTime::now()))
}

fn connector(operated: &Operated) -> Connector {
    Connector::new(&operated.address, Trust::Insecure).unwrap()
}

/// A pair whose sides have tokens of these keys.
async fn pair(connector: &Connector, subject: &str, keys: [&str; 2]) -> Pair {
    let [one, other] = keys.map(|key| signed(key, subject));
    let mut pair = Pair::open_with(connector, [&one, &other]).await;
    pair.ping_pong().await;
    pair
}

async fn refusal(connector: &Connector, key: &str) -> Code {
    let channel = connector.channel().await.unwrap();
    let token = signed(key, "refused");
    let refused = within("a refusal", call(channel, &token, vec![])).await;
    refused.unwrap_err().code()
}

fn metrics_url(operated: &Operated) -> String {
    format!("http://{}/metrics", operated.health)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_signing_keys_works_as_written() {
    let keys = tempfile::tempdir().unwrap();
    fs::write(keys.path().join("2025-01"), format!("{OLD}\n")).unwrap();
    let directory = keys.path().to_str().unwrap();
    let config = format!("auth.key_directory = {directory:?}");
    let mut operated = Operated::start(&config);
    let connector = connector(&operated);
    let traffic = Traffic::on(pair(&connector, "old", [OLD, OLD]).await);
    let metrics = metrics_url(&operated);
    let values = [("keys", directory), ("metrics", &metrics)];
    let mut page = Page::open("rotate-keys.md", &values, keys.path());

    // 1: the keys in use.
    let shown = page.next().await;
    let lines: Vec<_> = shown
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let line = format!("jumpstarter_router_tokens_accepted_total{{key=\"{directory}/2025-01\"}} 2");
    assert_eq!(lines, [line]);

    // 2: a second key.
    page.next().await;
    page.next().await;
    let new = fs::read_to_string(keys.path().join("2025-07")).unwrap();
    assert!(new.len() >= 32 && !new.contains('\n'));
    let line = operated.process.line("configuration reloaded");
    let both = format!("{directory}/2025-01, {directory}/2025-07");
    assert_eq!(line["signing_keys"], both);

    // 3: the controller signs with it; tokens of both keys go about.
    let mixed = Traffic::on(pair(&connector, "mixed", [OLD, &new]).await);
    let count = |operated: &Operated, file: &str| {
        operated.metric(&format!(
            "tokens_accepted_total{{key=\"{directory}/{file}\"}}"
        ))
    };
    assert_eq!(count(&operated, "2025-01"), Some(3.0));
    assert_eq!(count(&operated, "2025-07"), Some(1.0));

    // 4: when the old one was last in use.
    let said = page.next().await;
    let seconds = said
        .strip_prefix("last accepted ")
        .and_then(|rest| rest.strip_suffix(" seconds ago\n"))
        .unwrap_or_else(|| panic!("{said:?}"));
    assert!((0..60).contains(&seconds.parse::<i64>().unwrap()), "{said}");

    // 5: the old one goes.
    let said = page.next().await;
    assert!(said.ends_with("last_reload_successful 1\n"), "{said}");
    page.finish();
    assert_eq!(refusal(&connector, OLD).await, Code::Unauthenticated);
    let refusals = operated.metric("stream_refusals_total{cause=\"signature\"}");
    assert_eq!(refusals, Some(1.0));
    assert_eq!(count(&operated, "2025-01"), None);
    pair(&connector, "new", [&new, &new]).await;

    // Who came with the old key goes on.
    traffic.finish().await;
    mixed.finish().await;
    let metrics = operated.metrics();
    operated.process.line("configuration reloaded");
    for text in operated.process.lines.iter().chain([&metrics]) {
        assert!(!text.contains(OLD) && !text.contains(&new), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_a_mounted_secret_are_changed_in_the_same_way() {
    const NEW: &str = "the new key of at least 32 bytes!";
    let (old, new) = (("2025-01", OLD.as_bytes()), ("2025-07", NEW.as_bytes()));
    let mut mount = Mount::new(&[old]);
    let directory = mount.path().to_str().unwrap().to_owned();
    let operated = Operated::start(&format!("auth.key_directory = {directory:?}"));
    let connector = connector(&operated);
    let traffic = Traffic::on(pair(&connector, "old", [OLD, OLD]).await);
    assert_eq!(refusal(&connector, NEW).await, Code::Unauthenticated);
    let series = |file: &str| format!("tokens_accepted_total{{key=\"{directory}/{file}\"}}");

    mount.update(&[old, new]);
    operated.metric_becomes(&series("2025-07"), Some(0.0));
    let mixed = Traffic::on(pair(&connector, "mixed", [NEW, OLD]).await);
    mount.update(&[new]);
    operated.metric_becomes(&series("2025-01"), None);
    assert_eq!(refusal(&connector, OLD).await, Code::Unauthenticated);
    pair(&connector, "new", [NEW, NEW]).await;
    // An update that leaves no key, such as of a Secret made anew, changes nothing.
    mount.update(&[]);
    operated.metric_becomes("last_reload_successful", Some(0.0));
    pair(&connector, "newer", [NEW, NEW]).await;
    traffic.finish().await;
    mixed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beside_the_keys_admits_nobody_and_is_named() {
    const NEW: &str = "the new key of at least 32 bytes!";
    const NOTE: &str = "One key per file, please; see the wiki";
    let keys = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(keys.path().join(name), text).unwrap();
    write("2025-07", NEW);
    for name in ["2025-01~", "2025-01.bak", "2025-01.retired"] {
        write(name, OLD);
    }
    write("README", NOTE);
    let directory = keys.path().to_str().unwrap();
    let mut operated = Operated::start(&format!("auth.key_directory = {directory:?}"));
    let connector = connector(&operated);
    pair(&connector, "new", [NEW, NEW]).await;
    for key in [OLD, NOTE] {
        assert_eq!(refusal(&connector, key).await, Code::Unauthenticated);
    }
    for name in ["2025-01.bak", "2025-01.retired", "2025-01~", "README"] {
        let msg = format!("auth.key_directory: {directory}/{name} is not taken for a key;");
        assert_eq!(operated.process.line(&msg)["level"], "warning");
    }
    // Retired by its name, with a word about it.
    write("2026-01", OLD);
    operated.process.line("configuration reloaded");
    pair(&connector, "old", [OLD, NEW]).await;
    let retired = keys.path().join("2026-01.retired");
    fs::rename(keys.path().join("2026-01"), &retired).unwrap();
    let retired = retired.display();
    let msg = format!("auth.key_directory: {retired} is not taken for a key;");
    operated.process.line(&msg);
    assert_eq!(refusal(&connector, OLD).await, Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_secret_is_one_key_wherever_it_is_read() {
    // A Secret made with `echo`, with which upstream's controller signs as it is. `mint` leaves one newline out.
    let secret = format!("{OLD}\n");
    let upstreams = format!("{OLD}\n\n");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), &secret).unwrap();
    let directory = dir.path().to_str().unwrap();
    for config in [
        format!("auth.key = {secret:?}"),
        format!("auth.extra_keys = [{secret:?}]"),
        format!("auth.key_files = [\"{directory}/key\"]"),
        format!("auth.key_directory = {directory:?}"),
    ] {
        let operated = Operated::start(&config);
        let connector = connector(&operated);
        pair(&connector, "pair", [&upstreams, OLD]).await;
    }
    // The other way round a hint is left.
    let mut operated = Operated::start(&format!("auth.key = {OLD:?}"));
    let connector = connector(&operated);
    assert_eq!(refusal(&connector, &upstreams).await, Code::Unauthenticated);
    let line = operated.process.line("router authentication failed");
    assert_eq!(line["cause"], "signature");
    let error = line["error"].as_str().unwrap();
    let said = "auth.key with a newline at its end would match";
    assert!(error.contains(said), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_certificates_works_as_written() {
    let (dir, old) = (tempfile::tempdir().unwrap(), Certificate::new());
    let write = |name: &str, text: &[u8]| fs::write(dir.path().join(name), text).unwrap();
    let [certificate, key] = old.texts();
    write("tls.crt", &certificate);
    write("tls.key", &key);
    let path = |name: &str| dir.path().join(name);
    let config = format!(
        "tls.certificate = {:?}\ntls.key = {:?}",
        path("tls.crt"),
        path("tls.key")
    );
    let operated = Operated::start(&Operated::with_key(&config));
    let connector = Connector::new(&operated.address, old.trust()).unwrap();
    let traffic = Traffic::on(Pair::open(&connector, "pair").await);
    let (tls, metrics) = (dir.path().to_str().unwrap(), metrics_url(&operated));
    let values = [("tls", tls), ("metrics", &metrics)];
    let mut page = Page::open("renew-certificates.md", &values, dir.path());

    let left = page.next().await;
    assert!(
        ["364 days left\n", "365 days left\n"].contains(&&*left),
        "{left}"
    );

    // An expiry is told by the second, and the page waits for another one.
    let later = SystemTime::now() + Duration::from_secs(3600);
    let new = Certificate::made_at(later);
    let [certificate, key] = new.texts();
    write("new.crt", &certificate);
    write("new.key", &key);
    page.next().await;
    let said = page.next().await;
    assert!(said.ends_with("last_reload_successful 1\n"), "{said}");
    page.finish();

    let connector = Connector::new(&operated.address, new.trust()).unwrap();
    Pair::open(&connector, "new").await.ping_pong().await;
    traffic.finish().await;
}
