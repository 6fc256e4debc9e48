//! Streams that find their partner at the router that takes over: what passes, how they end, and whom they trust.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::helpers::{
    Call, Running, authority::Authority, call, data, free_port, last_words, token, until, within,
};
use jumpstarter_router::{
    client::{Connector, Trust},
    inside::{
        observe::metrics::RouterProof, server::Drained, splice::ending::Cause,
        transport::shared::Shared,
    },
    protocol::v1::StreamRequest,
};
use rcgen::ExtendedKeyUsagePurpose;
use tokio::task::JoinHandle;
use tonic::{Code, Status, transport::Channel};

const DRAINING: &str = "the router is shutting down; connect again";

/// A router that drains.
struct Draining {
    router: Arc<Shared>,
    connector: Connector,
    drained: JoinHandle<Drained>,
}

impl Draining {
    fn begin(running: Running, timeout: Duration) -> Self {
        let (router, connector) = (running.server.router().clone(), running.connector());
        let drained = tokio::spawn(async move { running.server.drain(timeout).await });
        Self {
            router,
            connector,
            drained,
        }
    }
}

/// A call whose other side may not have come.
struct Half {
    call: JoinHandle<Result<Call, Status>>,
    _channel: Channel,
}

impl Half {
    async fn open(connector: &Connector, early: Vec<StreamRequest>) -> Self {
        let channel = within("connect", connector.channel()).await.unwrap();
        let token = token("split");
        let call = tokio::spawn({
            let channel = channel.clone();
            async move { call(channel, &token, early).await }
        });
        Self {
            call,
            _channel: channel,
        }
    }

    async fn met(&mut self) -> Call {
        let call = within("the other side", &mut self.call).await.unwrap();
        call.unwrap()
    }

    /// What it is told if nobody comes.
    async fn told(&mut self) -> (bool, Code, String) {
        last_words(&mut self.met().await).await
    }
}

async fn waits(running: &Running, early: Vec<StreamRequest>) -> Half {
    let half = Half::open(&running.connector(), early).await;
    until("it waits", || running.metrics().streams_waiting.get() == 1).await;
    half
}

/// Two routers, of which the first one's streams go to the second.
async fn two(settings: &[(&str, &str)]) -> (Running, Running) {
    let new = Running::start(settings).await;
    let endpoint = new.endpoint();
    let mut all = vec![
        ("drain.forward_to", &*endpoint),
        ("drain.forward_insecure", "true"),
    ];
    all.extend(settings);
    (Running::start(&all).await, new)
}

/// A pair with one half at a router that drains, and the other at its successor.
struct Split {
    old: Draining,
    new: Running,
    early: Call,
    late: Call,
    halves: (Half, Half),
}

impl Split {
    async fn begin(settings: &[(&str, &str)]) -> Self {
        let (old, new) = two(settings).await;
        let mut one = waits(&old, vec![]).await;
        let old = Draining::begin(old, Duration::from_secs(600));
        let mut other = Half::open(&new.connector(), vec![]).await;
        let (early, late) = tokio::join!(one.met(), other.met());
        Self {
            old,
            new,
            early,
            late,
            halves: (one, other),
        }
    }

    /// Nothing is left behind, and the drain is over.
    async fn gone(self) {
        drop((self.early, self.late, self.halves));
        let drained = within("the drain", self.old.drained).await.unwrap();
        assert_eq!(drained.ended, 0);
        let metrics = &self.old.router.metrics;
        assert_eq!(metrics.successor_streams_open.get(), 0);
        assert_eq!(metrics.streams_paired.get(), 0);
        until("the pair is gone", || {
            self.new.metrics().streams_paired.get() == 0
        })
        .await;
        assert_eq!(self.new.metrics().panics.get(), 0);
    }
}

/// Bytes that differ from message to message.
fn numbered(number: u32) -> StreamRequest {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(32 * 1024, number as u8);
    data(payload)
}

/// Sends until the other side has not made room for half a second, and says how much that was.
async fn fill(call: &Call) -> u32 {
    let mut sent = 0;
    let patience = Duration::from_millis(500);
    while tokio::time::timeout(patience, call.send.send(numbered(sent)))
        .await
        .is_ok_and(|sent| sent.is_ok())
    {
        sent += 1;
        assert!(sent < 1_000, "no end of it");
    }
    sent
}

async fn drain_to(call: &mut Call, count: u32) {
    for number in 0..count {
        let got = within("a message", call.receive.message()).await;
        let expected = numbered(number).payload;
        assert!(
            got.unwrap().unwrap().payload == expected,
            "message {number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_stops_the_sender_two_routers_away() {
    let window = [("streams.max_window", "128KiB")];
    let mut split = Split::begin(&window).await;
    for _ in 0..2 {
        let sent = fill(&split.early).await;
        let held = |router: &Shared| router.memory.lanes().bytes();
        for router in [&split.old.router, split.new.server.router()] {
            assert!(held(router) <= 160 * 1024, "{} bytes held", held(router));
        }
        // All arrives, and then the sender goes on.
        let sender = split.early.send.clone();
        let more = tokio::spawn(async move {
            for number in sent..sent + 200 {
                sender.send(numbered(number)).await.unwrap();
            }
        });
        drain_to(&mut split.late, sent + 200).await;
        within("the sender", more).await.unwrap();
        // And the same the other way.
        std::mem::swap(&mut split.early, &mut split.late);
    }
    split.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_early_arrives_first_even_after_a_half_close() {
    let (old, new) = two(&[]).await;
    let early: Vec<_> = (0..3).map(numbered).collect();
    // `call` keeps its sender, so this one half-closes only once it has met.
    let mut one = waits(&old, early).await;
    let old = Draining::begin(old, Duration::from_secs(600));
    let mut other = Half::open(&new.connector(), vec![]).await;
    let (mut one_call, mut other_call) = tokio::join!(one.met(), other.met());
    drop(one_call.send);
    drain_to(&mut other_call, 3).await;
    drop(other_call.send);
    for receive in [&mut one_call.receive, &mut other_call.receive] {
        assert_eq!(within("OK", receive.message()).await.unwrap(), None);
    }
    drop((one, other));
    let drained = within("the drain", old.drained).await.unwrap();
    assert_eq!(drained.ended, 0);
}

/// Either peer hears of the other's end as if both were at one router.
#[tokio::test(flavor = "multi_thread")]
async fn endings_pass_in_both_directions() {
    let cancelled = "the other side cancelled its stream";
    for old_cancels in [true, false] {
        let split = Split::begin(&[]).await;
        let Split {
            old,
            new,
            early,
            late,
            halves,
        } = split;
        let (goes, mut stays) = if old_cancels {
            (early, late)
        } else {
            (late, early)
        };
        // What was accepted before arrives first.
        goes.send.send(numbered(0)).await.unwrap();
        drain_to(&mut stays, 1).await;
        drop(goes);
        let told = last_words(&mut stays).await;
        assert_eq!(told, (true, Code::Unavailable, cancelled.to_owned()));
        drop((stays, halves));
        assert_eq!(within("the drain", old.drained).await.unwrap().ended, 0);
        until("gone", || new.metrics().streams_paired.get() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_true_status_and_its_text_pass() {
    // At the new router an administrator ends it, at the old one a message is too large.
    let mut split = Split::begin(&[]).await;
    let mut pairs = Vec::new();
    split
        .new
        .server
        .router()
        .streams
        .for_each(|live| pairs.push(live.pair()));
    for entry in split.new.server.router().streams.of_pair(pairs[0]) {
        entry.control.end(Cause::Administrator);
    }
    for call in [&mut split.early, &mut split.late] {
        let told = last_words(call).await;
        let text = "ended by an administrator".to_owned();
        assert_eq!(told, (true, Code::Aborted, text));
    }
    let proofs = |router: &Shared, proof| router.metrics.router_proofs.count(proof);
    let new = split.new.server.router();
    assert_eq!(proofs(new, RouterProof::CallerGood), 1);
    assert_eq!(proofs(&split.old.router, RouterProof::SuccessorGood), 1);
    split.gone().await;

    let mut split = Split::begin(&[("streams.max_message_size", "1KiB")]).await;
    split.early.send.send(numbered(0)).await.unwrap();
    let (told, code, text) = last_words(&mut split.early).await;
    assert_eq!((told, code), (true, Code::ResourceExhausted), "{text}");
    let (told, code, text) = last_words(&mut split.late).await;
    assert_eq!((told, code), (true, Code::Unavailable), "{text}");
    assert!(text.starts_with("the other side's stream was ended: received message larger"));
    split.gone().await;
}

/// Memory is short at one router; that is no reason for the other not to wait for a slow reader.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_arrives_when_the_other_router_runs_out_of_memory() {
    let mut split = Split::begin(&[("streams.max_window", "128KiB")]).await;
    let sent = fill(&split.late).await;
    let new = split.new.server.router();
    let late = split.late.receive.message();
    new.streams.for_each(|live| {
        // The one that has sent; the other is that of the router which forwards.
        if live.control.carried().bytes_in > 0 {
            live.control.end(Cause::Memory);
        }
    });
    let reset = within("a reset", late).await.unwrap_err();
    assert_eq!(reset.code(), Code::ResourceExhausted);
    // Longer than a router waits that is short of memory itself.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (mut received, mut told) = (0, false);
    let status = loop {
        let got = within("a message", split.early.receive.message()).await;
        match got {
            Ok(Some(frame)) if frame.payload.is_empty() => told = true,
            Ok(Some(frame)) => {
                assert!(frame.payload == numbered(received).payload, "{received}");
                received += 1;
            }
            Ok(None) => panic!("no status"),
            Err(status) => break status,
        }
    };
    assert!(
        told && received > 0 && received <= sent,
        "{received} of {sent}"
    );
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    split.gone().await;
}

/// While its forwarded stream waits over there, the partner may still come here.
#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_comes_here_after_all_is_met_here() {
    let (old, new) = two(&[]).await;
    let mut one = waits(&old, vec![]).await;
    // Accepted before, used after.
    let channel = old.connector().channel().await.unwrap();
    let old = Draining::begin(old, Duration::from_secs(600));
    until("it waits there", || {
        new.metrics().streams_waiting.get() == 1
    })
    .await;
    let other = within("the other side", call(channel, &token("split"), vec![])).await;
    let mut one_call = one.met().await;
    other
        .as_ref()
        .unwrap()
        .send
        .send(numbered(0))
        .await
        .unwrap();
    drain_to(&mut one_call, 1).await;
    until("it was taken back", || {
        new.metrics().streams_waiting.get() == 0
    })
    .await;
    drop((one_call, other, one));
    within("the drain", old.drained).await.unwrap();
    let text = old.router.metrics.encode();
    assert!(text.contains(r#"successor_streams_total{result="given_up"} 1"#));
    drop(old.connector);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_successor_a_waiting_stream_is_told_in_time() {
    let nobody = format!("127.0.0.1:{}", free_port());
    // Connections succeed, and nobody ever answers.
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listening.local_addr().unwrap().to_string();
    let other = Running::start(&[]).await;
    let other = (other.endpoint(), other);
    for (case, to) in [
        ("nobody listens", &nobody),
        ("nobody answers", &silent),
        ("it shows another certificate", &other.0),
    ] {
        let settings = [
            ("drain.forward_to", &**to),
            ("drain.forward_timeout", "400ms"),
        ];
        let old = Running::start(&settings).await;
        let mut half = waits(&old, vec![]).await;
        let began = Instant::now();
        let old = Draining::begin(old, Duration::from_secs(600));
        let told = half.told().await;
        assert_eq!(
            told,
            (true, Code::Unavailable, DRAINING.to_owned()),
            "{case}"
        );
        assert!(began.elapsed() >= Duration::from_millis(400), "{case}");
        assert!(began.elapsed() < Duration::from_secs(8), "{case}");
        drop(half);
        within("the drain", old.drained).await.unwrap();
        let text = old.router.metrics.encode();
        let counted = r#"successor_streams_total{result="unreachable"} 1"#;
        assert!(text.contains(counted), "{case}: {text}");
    }
    assert_eq!(other.1.metrics().streams.get(), 0, "no token got there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_is_believed_for_its_certificate() {
    let new = Running::start(&[]).await;
    let (endpoint, file) = (new.endpoint(), new.certificate.certificate());
    let key = new.certificate.key();
    let [file, key] = [file, key].map(|path| path.to_str().unwrap().to_owned());
    for trust in [
        // The name of listen.endpoint is what it must be for.
        &[
            ("drain.forward_ca", &*file),
            ("listen.endpoint", "127.0.0.1:1"),
        ][..],
        &[("tls.certificate", &*file), ("tls.key", &*key)],
    ] {
        let settings = [&[("drain.forward_to", &*endpoint)], trust].concat();
        let old = Running::start(&settings).await;
        let trusted = if trust[0].0 == "tls.certificate" {
            new.certificate.trust()
        } else {
            old.certificate.trust()
        };
        let connector = Connector::new(&old.endpoint(), trusted).unwrap();
        let mut one = Half::open(&connector, vec![]).await;
        until("it waits", || old.metrics().streams_waiting.get() == 1).await;
        let old = Draining::begin(old, Duration::from_secs(600));
        let mut other = Half::open(&new.connector(), vec![]).await;
        let (one_call, other_call) = tokio::join!(one.met(), other.met());
        drop((one_call, other_call, one, other));
        within("the drain", old.drained).await.unwrap();
    }
}

/// A name that the certificate is not for.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_of_another_name_is_not_believed() {
    let new = Running::start(&[]).await;
    let (endpoint, file) = (new.endpoint(), new.certificate.certificate());
    let settings = [
        ("drain.forward_to", &*endpoint),
        ("drain.forward_ca", file.to_str().unwrap()),
        ("listen.endpoint", "elsewhere.example.com:443"),
        ("drain.forward_timeout", "300ms"),
    ];
    let old = Running::start(&settings).await;
    let mut half = waits(&old, vec![]).await;
    let _old = Draining::begin(old, Duration::from_secs(600));
    assert_eq!(
        half.told().await,
        (true, Code::Unavailable, DRAINING.to_owned())
    );
    assert_eq!(new.metrics().streams.get(), 0);
}

/// A lame duck that forwards early still listens itself: the stream must not meet itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_never_comes_back_to_the_process_it_comes_from() {
    let settings = [
        ("drain.forward_to", "self"),
        ("drain.forward_early", "true"),
        ("drain.forward_timeout", "300ms"),
    ];
    let only = Running::start(&settings).await;
    let mut half = waits(&only, vec![]).await;
    let refused = |router: &Shared| {
        let cause = router.metrics.stream_refusals.get("forwarded_to_itself");
        cause.get()
    };
    only.server.become_lame_duck(Duration::from_secs(2)).await;
    let lame_duck = only.server.lame_duck(Duration::from_millis(700));
    within("a lame duck", lame_duck).await;
    assert!(refused(only.server.router()) > 0);
    assert_eq!(only.metrics().streams_waiting.get(), 1, "it waits on");
    let only = Draining::begin(only, Duration::from_secs(600));
    assert_eq!(
        half.told().await,
        (true, Code::Unavailable, DRAINING.to_owned())
    );
    assert_eq!(only.router.metrics.pairs.get(), 0);
    drop(half);
    within("the drain", only.drained).await.unwrap();
}

/// Two that drain, each the other's successor: a stream goes from one to the other once, and not on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_forwarded_once() {
    let second_at = format!("127.0.0.1:{}", free_port());
    let trust = ("drain.forward_insecure", "true");
    let short = ("drain.forward_timeout", "1s");
    let first = Running::start(&[("drain.forward_to", &second_at), trust, short]).await;
    let back = first.endpoint();
    let settings = [
        ("listen.address", &*second_at),
        ("drain.forward_to", &back),
        trust,
        short,
    ];
    let second = Running::start(&settings).await;
    let mut half = waits(&first, vec![]).await;
    let first = Draining::begin(first, Duration::from_secs(600));
    until("it waits there", || {
        second.metrics().streams_waiting.get() == 1
    })
    .await;
    let second = Draining::begin(second, Duration::from_secs(600));
    assert_eq!(
        half.told().await,
        (true, Code::Unavailable, DRAINING.to_owned())
    );
    drop(half);
    for draining in [first.drained, second.drained] {
        let drained = within("the drain", draining).await.unwrap();
        assert_eq!(drained.ended, 0);
    }
    let text = second.router.metrics.encode();
    for result in ["forwarded", "refused", "unreachable", "given_up"] {
        let none = format!("successor_streams_total{{result=\"{result}\"}} 0");
        assert!(
            text.contains(&none),
            "the second one forwarded nothing: {result}"
        );
    }
}

/// Routers that ask for certificates ask each other, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_asks_for_a_certificate_is_shown_the_routers_own() {
    let authority = Authority::new("lab");
    let own = authority.signed("router", ExtendedKeyUsagePurpose::ServerAuth, |params| {
        let both = &mut params.extended_key_usages;
        both.push(ExtendedKeyUsagePurpose::ClientAuth);
    });
    let [file, key] = own.map(|path| path.to_str().unwrap().to_owned());
    let asking = authority.file();
    let settings = [
        ("tls.certificate", &*file),
        ("tls.key", &*key),
        ("tls.client_ca", asking.to_str().unwrap()),
    ];
    let new = Running::start(&settings).await;
    let endpoint = new.endpoint();
    let settings = [&settings[..], &[("drain.forward_to", &*endpoint)]].concat();
    let old = Running::start(&settings).await;
    let peer = |router: &Running, name| {
        let identity = Some(authority.identity(name));
        Connector::with_identity(&router.endpoint(), Trust::Insecure, identity).unwrap()
    };
    let mut one = Half::open(&peer(&old, "one"), vec![]).await;
    until("it waits", || old.metrics().streams_waiting.get() == 1).await;
    let old = Draining::begin(old, Duration::from_secs(600));
    let mut other = Half::open(&peer(&new, "other"), vec![]).await;
    let (one_call, other_call) = tokio::join!(one.met(), other.met());
    drop((one_call, other_call, one, other));
    within("the drain", old.drained).await.unwrap();
}
