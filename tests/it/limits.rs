//! Limits on streams: whoever is over one is told which, is counted, and nobody else notices.

use std::time::{Duration, Instant, SystemTime};

use crate::helpers::{
    Call, LONG, Pair, Running, balancer::Balancer, call, last_words, token, until, within,
};
use jumpstarter_router::inside::{
    auth::{Claims, mint},
    transport::settings::Settings,
};
use tokio::task::JoinHandle;
use tonic::{Code, Status, transport::Channel};

async fn channel(router: &Running) -> Channel {
    within("connect", router.connector().channel())
        .await
        .unwrap()
}

/// A pair whose peers come from another address of this machine.
async fn pair_from(from: &'static str, router: &Running) -> (Balancer, Pair) {
    let balancer = Balancer::plain(from, router.server.address).await;
    let connector = router.connector().via(balancer.address);
    let pair = Pair::open(&connector, &format!("innocent from {from}")).await;
    (balancer, pair)
}

/// A call that is let in and waits.
struct Waiter(JoinHandle<Result<Call, Status>>);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Waiter {
    async fn start(router: &Running, channel: &Channel, subject: &str) -> Self {
        let admitted = &router.metrics().streams;
        let before = admitted.get();
        let (channel, token) = (channel.clone(), token(subject));
        let task = tokio::spawn(async move { call(channel, &token, vec![]).await });
        until("it waits", || admitted.get() > before).await;
        Self(task)
    }

    async fn paired(mut self) -> Call {
        within("a partner", &mut self.0).await.unwrap().unwrap()
    }
}

async fn refusal(channel: &Channel, token: &str) -> Status {
    let answer = within("an answer", call(channel.clone(), token, vec![])).await;
    answer.expect_err("refused")
}

fn refusals(router: &Running, cause: &str) -> u64 {
    router.metrics().stream_refusals.get(cause).get()
}

#[track_caller]
fn assert_refused(status: &Status, text: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.message(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_in_all() {
    let router = Running::start(&[("streams.max", "4")]).await;
    let mut pair = router.pair("innocent").await;
    let channel = channel(&router).await;
    let waiter = Waiter::start(&router, &channel, "first").await;
    let text = "4 streams are open already, the limit (streams.max); try again later";
    for count in 1..=3 {
        assert_refused(&refusal(&channel, &token("second")).await, text);
        assert_eq!(refusals(&router, "too_many_streams"), count);
    }
    // A partner finds room, since it was kept for it.
    let partner = within("partner", call(channel.clone(), &token("first"), vec![])).await;
    let (one, other) = (waiter.paired().await, partner.unwrap());
    assert_refused(&refusal(&channel, &token("second")).await, text);
    pair.ping_pong().await;
    drop((one, other));
    until("they are gone", || {
        router.server.router().streams.count() == 2
    })
    .await;
    // And so does somebody who waits in vain.
    drop(Waiter::start(&router, &channel, "second").await);
    until("it is gone", || router.server.router().streams.count() == 2).await;
    Waiter::start(&router, &channel, "third").await;
    pair.ping_pong().await;
    assert_eq!(refusals(&router, "too_many_streams"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_address() {
    let router = Running::start(&[("streams.max_per_address", "3")]).await;
    let (_balancer, mut pair) = pair_from("127.0.0.2", &router).await;
    // On connections of their own: the address counts.
    let (one, other) = (channel(&router).await, channel(&router).await);
    let first = Waiter::start(&router, &one, "first").await;
    let _second = Waiter::start(&router, &one, "second").await;
    let _third = Waiter::start(&router, &other, "third").await;
    let text = "3 streams are open from this address already, the limit \
                (streams.max_per_address); end some, or try again later";
    assert_refused(&refusal(&one, &token("fourth")).await, text);
    assert_refused(&refusal(&other, &token("first")).await, text);
    assert_eq!(refusals(&router, "too_many_per_address"), 2);
    let (_balancer, mut elsewhere) = pair_from("127.0.0.3", &router).await;
    elsewhere.ping_pong().await;
    pair.ping_pong().await;
    drop(first);
    until("one is gone", || {
        router.metrics().streams_waiting.get() == 2
    })
    .await;
    // Its place is given back when its last record is written, a moment later.
    until("its place", || router.server.router().streams.count() == 6).await;
    Waiter::start(&router, &other, "fourth").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_streams() {
    let router = Running::start(&[("pairing.max_waiting", "1")]).await;
    let mut pair = router.pair("innocent").await;
    let channel = channel(&router).await;
    let waiter = Waiter::start(&router, &channel, "first").await;
    let text = "1 streams wait for their other side already, the limit (pairing.max_waiting); \
                try again later";
    assert_refused(&refusal(&channel, &token("second")).await, text);
    assert_eq!(refusals(&router, "too_many_waiting"), 1);
    let partner = within("partner", call(channel.clone(), &token("first"), vec![])).await;
    drop((waiter.paired().await, partner.unwrap()));
    pair.ping_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_streams_of_one_address() {
    let router = Running::start(&[("streams.new_per_second_per_address", "5")]).await;
    let (_balancer, mut pair) = pair_from("127.0.0.2", &router).await;
    let channel = channel(&router).await;
    let start = Instant::now();
    let calls: Vec<_> = (0..40)
        .map(|number| {
            let (channel, token) = (channel.clone(), token(&format!("waits {number}")));
            tokio::spawn(async move { call(channel, &token, vec![]).await })
        })
        .collect();
    let metrics = router.metrics();
    until("all have an answer or wait", || {
        metrics.streams_waiting.get().cast_unsigned() + refusals(&router, "stream_rate") == 40
    })
    .await;
    let let_in = metrics.streams_waiting.get();
    let most = 5.0 + 5.0 * start.elapsed().as_secs_f64();
    assert!(let_in >= 5 && let_in as f64 <= most, "{let_in}, {most}");
    let mut told = 0;
    for task in calls {
        if !task.is_finished() {
            task.abort();
        } else if let Err(status) = task.await.unwrap() {
            told += 1;
            let text = "more than 5 new streams a second from this address \
                        (streams.new_per_second_per_address); try again later";
            assert_refused(&status, text);
        }
    }
    assert!(told > 0);
    pair.ping_pong().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    Waiter::start(&router, &channel, "later").await;
}

/// A token that another key has signed.
fn bad_token() -> String {
    let claims = Claims::new("nobody", SystemTime::now());
    mint(b"not the router's key, whatever it is", &claims)
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_tokens_of_one_address() {
    let router = Running::start(&[("auth.refused_per_second_per_address", "4")]).await;
    let (balancer, mut pair) = pair_from("127.0.0.2", &router).await;
    let elsewhere = router.connector().via(balancer.address);
    let channel = channel(&router).await;
    let text = "more than 4 refused tokens a second from this address \
                (auth.refused_per_second_per_address); try again later, with a valid token";

    // Good tokens cost nothing.
    for number in 0..20 {
        drop(Waiter::start(&router, &channel, &format!("good {number}")).await);
    }
    assert_eq!(refusals(&router, "refused_token_rate"), 0);

    let start = Instant::now();
    let (mut looked_at, mut refused) = (0_u32, 0);
    let bad = bad_token();
    while refused < 20 {
        assert!(start.elapsed() < LONG, "only {refused} refused");
        let status = refusal(&channel, &bad).await;
        if status.code() == Code::Unauthenticated {
            looked_at += 1;
            assert_eq!(status.message(), "invalid jwt token");
        } else {
            refused += 1;
            assert_refused(&status, text);
        }
    }
    let most = 4.0 + 4.0 * start.elapsed().as_secs_f64();
    assert!(looked_at >= 4 && f64::from(looked_at) <= most);
    assert_eq!(refusals(&router, "refused_token_rate"), 20);
    assert_eq!(refusals(&router, "signature"), u64::from(looked_at));

    // Elsewhere nothing has changed; here a good token is let in as soon as one more check is earned.
    Pair::open(&elsewhere, "elsewhere").await.ping_pong().await;
    pair.ping_pong().await;
    let start = Instant::now();
    let waiting = &router.metrics().streams_waiting;
    let good = token("good again");
    let again = tokio::spawn(async move {
        while let Err(status) = call(channel.clone(), &good, vec![]).await {
            assert_refused(&status, text);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    until("a good token is let in", || waiting.get() == 1).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    again.abort();
}

/// While one sender of bad tokens does not let up, others behind the same address get in now and then.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_tokens_does_not_lock_its_address_out() {
    let router = Running::start(&[("auth.refused_per_second_per_address", "10")]).await;
    let flooded = channel(&router).await;
    let bad = bad_token();
    let flood = tokio::spawn(async move {
        loop {
            let _ = call(flooded.clone(), &bad, vec![]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    until("the limit", || refusals(&router, "refused_token_rate") > 10).await;
    let channel = channel(&router).await;
    let waiting = &router.metrics().streams_waiting;
    let good = token("good");
    let patient = tokio::spawn(async move {
        while call(channel.clone(), &good, vec![]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
    });
    until("a good token is let in", || waiting.get() == 1).await;
    flood.abort();
    patient.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_time_counts_while_a_stream_waits() {
    let settings = [
        ("streams.max_duration", "700ms"),
        ("pairing.timeout", "60s"),
    ];
    let router = Running::start(&settings).await;
    let channel = channel(&router).await;
    let start = Instant::now();
    let mut alone = within("its end", call(channel, &token("alone"), vec![]))
        .await
        .unwrap();
    let (told, code, text) = last_words(&mut alone).await;
    assert!(start.elapsed() >= Duration::from_millis(700));
    assert!(told, "a GOAWAY frame");
    assert_eq!(code, Code::DeadlineExceeded);
    assert_eq!(
        text,
        "the stream reached the longest time allowed, 700ms (streams.max_duration); connect again"
    );
    assert_eq!(router.metrics().stream_ends.get("too_old").get(), 1);
}

type Change = fn(&mut Settings);

/// What is set anew holds for those who come next, without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn limits_can_be_changed_while_it_runs() {
    let router = Running::start(&[]).await;
    let mut pair = router.pair("innocent").await;
    let set = |change: Change| {
        let settings = &router.server.router().settings;
        let mut new = (*settings.load_full()).clone();
        change(&mut new);
        settings.store(new.into());
    };
    let channel = channel(&router).await;
    let cases: [(Change, Change, &str); 3] = [
        (
            |new| new.streams.max = Some(2),
            |new| new.streams.max = None,
            "(streams.max)",
        ),
        (
            |new| new.streams.max_per_address = Some(2),
            |new| new.streams.max_per_address = None,
            "(streams.max_per_address)",
        ),
        (
            |new| new.streams.new_per_second_per_address = Some(1),
            |new| new.streams.new_per_second_per_address = None,
            "(streams.new_per_second_per_address)",
        ),
    ];
    for (lower, lift, key) in cases {
        set(lower);
        let status = loop {
            // At one a second, the first may still be let in.
            let token = token("early");
            let early = call(channel.clone(), &token, vec![]);
            let answer = tokio::time::timeout(Duration::from_millis(200), early).await;
            if let Ok(answer) = answer {
                break answer.expect_err("refused");
            }
        };
        assert!(status.message().contains(key), "{status:?}");
        set(lift);
        drop(Waiter::start(&router, &channel, "later").await);
    }
    pair.ping_pong().await;
}

/// Keys, defaults and counters of the page are those of the program, and none is missing.
#[test]
fn the_page_says_what_the_program_does() {
    use jumpstarter_router::inside::{
        auth,
        config::{find, keys},
        observe::metrics::{ConnectionAccept, ConnectionEnd, Label, Metrics},
        splice::ending::Ending,
        transport::call::refusal,
    };
    let page = include_str!("../../docs/limits.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 25, "{rows:?}");
    let mut counters: Vec<&str> = Vec::new();
    for row in &rows {
        let path = row[0].trim_matches('`');
        let key = find(path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(row[1], key.default().unwrap_or("unset"), "{path}");
        counters.extend(row.last().filter(|text| !text.is_empty()));
    }
    let refusals = [auth::Refusal::CAUSES, refusal::CAUSES].concat();
    let metrics = Metrics::new(Ending::REASONS, &refusals).encode();
    for counter in counters {
        let series = format!("jumpstarter_router_{} 0\n", counter.trim_matches('`'));
        assert!(metrics.contains(&series), "{counter}");
    }
    // What is called a limit by its name stands on the page.
    for key in keys() {
        let name = key.path;
        let path: Vec<_> = name.split('.').collect();
        let limit = name.contains("max_") || path[1] == "max" || name.contains("per_second");
        // How far windows grow is no limit on peers.
        assert!(
            !limit || page.contains(&format!("`{name}`")) || name == "streams.max_window",
            "{name}"
        );
        assert!(
            !key.path.starts_with("streams.")
                || !key.path.ends_with("timeout")
                || page.contains(name)
        );
    }
    let others = [
        "not_grpc",
        "malformed_timeout",
        "method",
        "draining",
        "token_spent",
        "forwarded_to_itself",
        "not_waiting",
    ];
    for cause in refusal::CAUSES {
        assert!(
            page.contains(&format!("\"{cause}\"")) || others.contains(cause),
            "{cause}"
        );
    }
    for result in ConnectionAccept::ALL {
        let listed = page.contains(&format!("\"{}\"", result.as_str()));
        assert!(
            listed || *result == ConnectionAccept::Accepted,
            "{result:?}"
        );
    }
    assert!(page.contains(ConnectionEnd::WriteStalled.as_str()));
}
