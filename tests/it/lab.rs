//! A lab, called as clients and exporters call it: over TLS, on the port it shares with its router.

use std::{collections::BTreeMap, time::Duration};

use crate::helpers::{
    call, data, free_port,
    lab::{self, Bench, Peer},
    setting, until_async,
    web::{self, aside},
    within,
};
use jumpstarter_router::protocol::{
    client::v1::{self as client, client_service_client::ClientServiceClient},
    v1::{self, ExporterStatus, controller_service_client::ControllerServiceClient},
};
use prost_types::Timestamp;
use tonic::{Code, Status, codec::CompressionEncoding};

const PARENT: &str = "namespaces/default";

fn lease_name(name: &str) -> String {
    format!("{PARENT}/leases/{name}")
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn wish(selector: &str, duration: i64) -> client::Lease {
    client::Lease {
        selector: selector.to_owned(),
        duration: Some(seconds(duration)),
        ..client::Lease::default()
    }
}

async fn create(peer: &mut Peer, id: &str, lease: client::Lease) -> Result<client::Lease, Status> {
    let request = client::CreateLeaseRequest {
        parent: PARENT.to_owned(),
        lease_id: id.to_owned(),
        lease: Some(lease),
    };
    Ok(peer.clients().create_lease(request).await?.into_inner())
}

async fn get(peer: &mut Peer, id: &str) -> client::Lease {
    let request = client::GetLeaseRequest {
        name: lease_name(id),
    };
    peer.clients()
        .get_lease(request)
        .await
        .unwrap()
        .into_inner()
}

async fn delete(peer: &mut Peer, id: &str) -> Result<(), Status> {
    let name = lease_name(id);
    let request = client::DeleteLeaseRequest { name };
    peer.clients().delete_lease(request).await.map(|_| ())
}

async fn dial(peer: &mut Peer, id: &str) -> Result<v1::DialResponse, Status> {
    let lease_name = id.to_owned();
    let request = v1::DialRequest { lease_name };
    Ok(peer.controller().dial(request).await?.into_inner())
}

async fn report(peer: &mut Peer, status: ExporterStatus) {
    let request = v1::ReportStatusRequest {
        status: status.into(),
        ..v1::ReportStatusRequest::default()
    };
    peer.controller().report_status(request).await.unwrap();
}

async fn listen(peer: &mut Peer, lease: &str) -> tonic::Streaming<v1::ListenResponse> {
    let lease_name = lease.to_owned();
    let request = v1::ListenRequest { lease_name };
    peer.controller()
        .listen(request)
        .await
        .unwrap()
        .into_inner()
}

async fn status(peer: &mut Peer) -> tonic::Streaming<v1::StatusResponse> {
    let request = v1::StatusRequest {};
    peer.controller()
        .status(request)
        .await
        .unwrap()
        .into_inner()
}

/// The lease that an exporter is told of next.
async fn told(stream: &mut tonic::Streaming<v1::StatusResponse>) -> Option<String> {
    let message = within("a status", stream.message()).await.unwrap();
    let response = message.expect("the stream goes on");
    assert_eq!(response.leased, response.lease_name.is_some());
    response.lease_name
}

/// `Type=Status/Reason` of the last condition.
fn condition(lease: &client::Lease) -> String {
    let last = lease.conditions.last().unwrap();
    let [kind, status, reason] =
        [&last.r#type, &last.status, &last.reason].map(|field| field.clone().unwrap_or_default());
    format!("{kind}={status}/{reason}")
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, part: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(part), "{status}");
    // At this word the stock client logs in anew.
    assert!(!status.message().contains("expired"), "{status}");
}

/// An exporter, connected and available, with its status stream.
async fn exporter(bench: &Bench, name: &str) -> (Peer, tonic::Streaming<v1::StatusResponse>) {
    let mut peer = bench.exporter(name).await;
    let request = v1::RegisterRequest::default();
    peer.controller().register(request).await.unwrap();
    report(&mut peer, ExporterStatus::Available).await;
    let mut stream = status(&mut peer).await;
    assert_eq!(told(&mut stream).await, None);
    (peer, stream)
}

#[tokio::test]
async fn a_lease_from_its_request_to_bytes_to_its_end() {
    let admin = setting("listen.admin_address", "127.0.0.1:0");
    let bench = Bench::start_with(|options| options.overrides = vec![admin]).await;
    let mut me = bench.client("me").await;
    let (mut x, mut statuses) = exporter(&bench, "x").await;

    let lease = create(&mut me, "", wish("board=x", 60)).await.unwrap();
    let id = lease.name.rsplit('/').next().unwrap().to_owned();
    assert_eq!(condition(&lease), "Ready=True/Ready");
    assert_eq!(
        lease.exporter.as_deref(),
        Some("namespaces/default/exporters/x")
    );
    assert_eq!(
        lease.client.as_deref(),
        Some("namespaces/default/clients/me")
    );
    assert_eq!(lease.selector, "board=x");
    assert_eq!(told(&mut statuses).await, Some(id.clone()));

    // Dial waits until the exporter listens and says that it is ready.
    let dialled = tokio::spawn({
        let (mut me, id) = (bench.client("me").await, id.clone());
        async move { dial(&mut me, &id).await }
    });
    let mut tokens = listen(&mut x, &id).await;
    report(&mut x, ExporterStatus::LeaseReady).await;
    let token = within("a token", tokens.message()).await.unwrap().unwrap();
    let dialled = within("the dial", dialled).await.unwrap().unwrap();
    assert_eq!(dialled.router_token, token.router_token);
    assert_eq!(dialled.router_endpoint, bench.endpoint());

    let [first, second] = [bench.channel().await, bench.channel().await];
    let token = token.router_token;
    let (mut first, mut second) = tokio::try_join!(
        call(first, &token, vec![data("hello")]),
        call(second, &token, vec![])
    )
    .unwrap();
    let frame = within("a frame", second.receive.message()).await;
    assert_eq!(frame.unwrap().unwrap().payload, "hello");
    second.send.send(data("you")).await.unwrap();
    let frame = within("a frame", first.receive.message()).await;
    assert_eq!(frame.unwrap().unwrap().payload, "you");

    let admin = bench.admin();
    let names = serde_json::json!({"client": "me", "exporter": "x", "lease": id});
    let listing = aside(move || web::get(admin, "/api/streams").json()).await;
    assert_eq!(listing["streams"][0]["names"], names, "{listing}");

    delete(&mut me, &id).await.unwrap();
    assert_eq!(told(&mut statuses).await, None);
    let ended = get(&mut me, &id).await;
    assert_eq!(condition(&ended), "Ready=False/Released");
    assert!(ended.effective_end_time.is_some() && ended.exporter.is_some());
    bench.stop().await;
}

#[tokio::test]
async fn two_clients_compete_and_the_exporter_hears_of_every_end() {
    let bench = Bench::start().await;
    let [mut me, mut you] = [bench.client("me").await, bench.client("you").await];
    let (mut x, mut statuses) = exporter(&bench, "x").await;
    create(&mut me, "first", wish("board=x", 60)).await.unwrap();
    let second = create(&mut you, "second", wish("board in (x)", 60))
        .await
        .unwrap();
    assert_eq!(condition(&second), "Pending=True/NotAvailable");
    assert_eq!(told(&mut statuses).await.as_deref(), Some("first"));

    // The exporter has tidied up already, so the next one gets it in the same moment.
    delete(&mut me, "first").await.unwrap();
    assert_eq!(
        condition(&get(&mut you, "second").await),
        "Ready=True/Ready"
    );
    assert_eq!(told(&mut statuses).await, None, "the end comes first");
    assert_eq!(told(&mut statuses).await.as_deref(), Some("second"));

    // This time it has not.
    report(&mut x, ExporterStatus::LeaseReady).await;
    create(&mut me, "third", wish("board=x", 60)).await.unwrap();
    let name = "second".to_owned();
    let release = v1::ReleaseLeaseRequest { name };
    for _ in 0..2 {
        // The exporter releases it, and a repetition does no harm.
        x.controller().release_lease(release.clone()).await.unwrap();
    }
    assert_eq!(told(&mut statuses).await, None);
    assert_eq!(
        condition(&get(&mut me, "third").await),
        "Pending=True/NotReady"
    );
    report(&mut x, ExporterStatus::Available).await;
    assert_eq!(told(&mut statuses).await.as_deref(), Some("third"));

    let request = v1::ReportStatusRequest {
        status: ExporterStatus::AfterLeaseHook.into(),
        release_lease: Some(true),
        ..v1::ReportStatusRequest::default()
    };
    x.controller().report_status(request).await.unwrap();
    assert_eq!(told(&mut statuses).await, None);
    bench.stop().await;
}

#[tokio::test]
async fn a_lease_expires_by_itself() {
    let bench = Bench::start().await;
    let mut me = bench.client("me").await;
    let (_x, mut statuses) = exporter(&bench, "x").await;
    create(&mut me, "short", wish("board=x", 1)).await.unwrap();
    create(&mut me, "next", wish("board=x", 60)).await.unwrap();
    assert_eq!(told(&mut statuses).await.as_deref(), Some("short"));
    assert_eq!(told(&mut statuses).await, None);
    assert_eq!(told(&mut statuses).await.as_deref(), Some("next"));
    let short = get(&mut me, "short").await;
    assert_eq!(condition(&short), "Ready=False/Expired");
    // Without this, a stock client that is given the lease by name would wait for hours.
    assert_eq!(short.conditions[0].r#type.as_deref(), Some("Invalid"));
    let took = |time: &Option<Timestamp>| {
        let time = time.unwrap();
        Duration::new(time.seconds.cast_unsigned(), time.nanos.cast_unsigned())
    };
    let begin = took(&short.effective_begin_time);
    let end = took(&short.effective_end_time);
    assert_eq!(end, begin + Duration::from_secs(1), "to the nanosecond");
    assert_refused(
        dial(&mut me, "short").await,
        Code::FailedPrecondition,
        "has ended",
    );
    bench.stop().await;
}

#[tokio::test]
async fn mistakes_are_answered_in_words_that_stock_clients_show() {
    let bench = Bench::start().await;
    let [mut me, mut you] = [bench.client("me").await, bench.client("you").await];
    let (x, _statuses) = exporter(&bench, "x").await;
    create(&mut me, "mine", wish("board=x", 60)).await.unwrap();

    // A lease that is not there, or somebody else's.
    assert_refused(dial(&mut me, "none").await, Code::Unknown, "not found");
    assert_refused(
        dial(&mut you, "mine").await,
        Code::Unknown,
        "permission denied",
    );
    assert_refused(delete(&mut me, "none").await, Code::Unknown, "not found");
    assert_refused(
        delete(&mut you, "mine").await,
        Code::Unknown,
        "permission denied",
    );
    let again = create(&mut you, "mine", wish("board=x", 60)).await;
    assert_refused(again, Code::Unknown, "already exists");
    delete(&mut me, "mine").await.unwrap();
    let twice = delete(&mut me, "mine").await;
    let told = "lease \"namespaces/default/leases/mine\" has already been released";
    assert_refused(twice, Code::FailedPrecondition, told);

    // Leases that nothing can be made of.
    let unsatisfied = create(&mut me, "nowhere", wish("board=nowhere", 60))
        .await
        .unwrap();
    assert_eq!(condition(&unsatisfied), "Unsatisfiable=True/NoMatch");
    let message = unsatisfied.conditions[0].message.clone().unwrap();
    assert!(message.contains("x (board=x,kind=mock)"), "{message}");
    for (lease, code, part) in [
        (
            wish("", 60),
            Code::InvalidArgument,
            "one of selector or exporter_name",
        ),
        (
            wish("board==", 0),
            Code::Unknown,
            "duration must be positive",
        ),
        (
            wish("board in x", 60),
            Code::Unknown,
            "expected (, found \"x\"",
        ),
        (wish("board>3", 60), Code::Unknown, "not selected by < or >"),
        (
            client::Lease {
                tags: [("a/b".to_owned(), String::new())].into(),
                ..wish("board=x", 60)
            },
            Code::InvalidArgument,
            "invalid lease tags",
        ),
    ] {
        assert_refused(create(&mut me, "", lease).await, code, part);
    }
    let named = create(&mut me, "Not A Name", wish("board=x", 60)).await;
    assert_refused(named, Code::Unknown, "cannot be a name");

    // Names of the wrong form, or of another namespace.
    let list = |parent: &str| {
        let parent = parent.to_owned();
        let request = client::ListExportersRequest {
            parent,
            ..client::ListExportersRequest::default()
        };
        let mut clients = me.clients();
        async move { clients.list_exporters(request).await }
    };
    assert_refused(
        list("default").await,
        Code::InvalidArgument,
        "expected namespaces/",
    );
    let other = list("namespaces/other").await;
    assert_refused(other, Code::PermissionDenied, "namespace mismatch");

    // The exporter's side.
    let request = v1::ListenRequest {
        lease_name: "none".to_owned(),
    };
    let refused = x.controller().listen(request).await;
    assert_refused(refused, Code::Unknown, "not found");
    create(&mut me, "elsewhere", wish("board=y", 60))
        .await
        .unwrap();
    let request = v1::ListenRequest {
        lease_name: "elsewhere".to_owned(),
    };
    let refused = x.controller().listen(request).await;
    assert_refused(refused, Code::Unknown, "permission denied");
    let request = v1::ReleaseLeaseRequest {
        name: "elsewhere".to_owned(),
    };
    let refused = x.controller().release_lease(request).await;
    assert_refused(refused, Code::FailedPrecondition, "not held by exporter x");
    bench.stop().await;
}

#[tokio::test]
async fn only_those_of_the_lab_are_let_in() {
    let bench = Bench::start().await;
    let [me, x] = [bench.client("me").await, bench.exporter("x").await];
    let list = |peer: Peer| async move {
        let request = client::ListLeasesRequest {
            parent: PARENT.to_owned(),
            ..client::ListLeasesRequest::default()
        };
        peer.clients().list_leases(request).await
    };
    let stranger = bench.peer("a.b.c").await;
    assert_refused(list(stranger).await, Code::Unknown, "invalid bearer token");
    let kind = list(bench.exporter("x").await).await;
    assert_refused(kind, Code::InvalidArgument, "needs the token of a client");
    let kind = me
        .controller()
        .register(v1::RegisterRequest::default())
        .await;
    assert_refused(
        kind,
        Code::InvalidArgument,
        "needs the token of an exporter",
    );
    let mut nobody = ClientServiceClient::new(bench.channel().await);
    let refused = nobody
        .list_leases(client::ListLeasesRequest::default())
        .await;
    assert_refused(
        refused,
        Code::Unauthenticated,
        "missing authorization header",
    );
    // A token of the lab opens no stream.
    let refused = call(bench.channel().await, &bench.token("clients", "me"), vec![]).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);

    // Changed tokens.
    let parent = PARENT.to_owned();
    let rotate = client::RotateTokenRequest { parent };
    let first = bench.token("clients", "me");
    let second = me
        .clients()
        .rotate_token(rotate.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        bench.token("clients", "me"),
        second.token,
        "its file has it"
    );
    assert!(second.expiry.is_some() && first != second.token);
    list(bench.peer(&first).await).await.unwrap();
    list(bench.peer(&second.token).await).await.unwrap();
    me.clients().rotate_token(rotate).await.unwrap();
    let refused = list(bench.peer(&first).await).await;
    assert_refused(refused, Code::Unknown, "replaced by a newer one");
    list(bench.peer(&second.token).await).await.unwrap();
    x.controller()
        .register(v1::RegisterRequest::default())
        .await
        .unwrap();
    bench.stop().await;
}

#[tokio::test]
async fn lists_are_filtered_and_come_in_pages() {
    let bench = Bench::start().await;
    let mut me = bench.client("me").await;
    for n in 0..5 {
        let mut lease = wish("board=x,kind in (mock)", 60);
        lease.tags = [("build".to_owned(), n.to_string())].into();
        create(&mut me, &format!("l{n}"), lease).await.unwrap();
    }
    create(&mut me, "other", wish("board=y", 60)).await.unwrap();
    delete(&mut me, "l4").await.unwrap();
    let mut clients = me.clients();
    let mut list = async |filter: &str, tag_filter: &str, only_active, page_size| {
        let (mut names, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = client::ListLeasesRequest {
                parent: PARENT.to_owned(),
                page_size,
                page_token,
                filter: filter.to_owned(),
                only_active,
                tag_filter: tag_filter.to_owned(),
            };
            let page = clients.list_leases(request).await.unwrap().into_inner();
            let name = |lease: client::Lease| lease.name.rsplit('/').next().unwrap().to_owned();
            names.extend(page.leases.into_iter().map(name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return names.join(" ");
            }
        }
    };
    for size in [0, 1, 2, 100] {
        assert_eq!(list("", "", None, size).await, "l0 l1 l2 l3 other");
        assert_eq!(
            list("", "", Some(false), size).await,
            "l0 l1 l2 l3 l4 other"
        );
        assert_eq!(list("board=x", "", None, size).await, "l0 l1 l2 l3");
        assert_eq!(list("", "build in (1,3)", None, size).await, "l1 l3");
        assert_eq!(
            list("metadata.jumpstarter.dev/build=2", "", None, size).await,
            "l2"
        );
    }
    let request = client::ListExportersRequest {
        parent: PARENT.to_owned(),
        filter: "kind=mock,board!=y".to_owned(),
        ..client::ListExportersRequest::default()
    };
    let found = clients.list_exporters(request).await.unwrap().into_inner();
    assert_eq!(found.exporters.len(), 1);
    assert_eq!(found.exporters[0].labels["board"], "x");
    assert_eq!(found.exporters[0].status(), ExporterStatus::Offline);
    bench.stop().await;
}

#[tokio::test]
async fn an_exporter_that_comes_back_has_its_lease_and_takes_its_place() {
    let bench = Bench::start().await;
    let mut me = bench.client("me").await;
    let (mut old, mut old_statuses) = exporter(&bench, "x").await;
    create(&mut me, "a", wish("board=x", 60)).await.unwrap();
    assert_eq!(told(&mut old_statuses).await.as_deref(), Some("a"));
    let _tokens = listen(&mut old, "a").await;

    let mut new = bench.exporter("x").await;
    let mut new_statuses = status(&mut new).await;
    assert_eq!(told(&mut new_statuses).await.as_deref(), Some("a"));
    let ended = within("the end", old_statuses.message()).await;
    assert_refused(
        ended,
        Code::Aborted,
        "another process has connected as exporter x",
    );
    drop((old, old_statuses));

    let mut first = listen(&mut new, "a").await;
    let mut second = listen(&mut new, "a").await;
    let ended = within("the end", first.message()).await;
    assert_refused(ended, Code::Aborted, "another process");
    report(&mut new, ExporterStatus::LeaseReady).await;
    let token = dial(&mut me, "a").await.unwrap().router_token;
    let given = within("a token", second.message()).await.unwrap().unwrap();
    assert_eq!(given.router_token, token);

    // Gone, and not said so: the client may try again. Said so: it need not.
    drop((new_statuses, second, new));
    until_async("the exporter is offline", async || {
        matches!(dial(&mut me, "a").await, Err(status) if status.code() == Code::Unavailable)
    })
    .await;
    let x = bench.exporter("x").await;
    let request = v1::UnregisterRequest {
        reason: "bye".to_owned(),
    };
    x.controller().unregister(request).await.unwrap();
    let refused = dial(&mut me, "a").await;
    assert_refused(refused, Code::FailedPrecondition, "exporter is offline");
    bench.stop().await;
}

/// A stock exporter that is told of the next lease without the end of its last one goes on with the last.
#[tokio::test]
async fn an_end_that_an_exporter_has_missed_comes_before_its_next_lease() {
    let mut bench = Bench::start().await;
    let mut me = bench.client("me").await;
    let (mut x, mut statuses) = exporter(&bench, "x").await;
    for name in ["a", "b", "c"] {
        create(&mut me, name, wish("board=x", 600)).await.unwrap();
    }
    assert_eq!(told(&mut statuses).await.as_deref(), Some("a"));
    drop((listen(&mut x, "a").await, statuses));
    until_async("the exporter is offline", async || {
        matches!(dial(&mut me, "a").await, Err(status) if status.code() == Code::Unavailable)
    })
    .await;
    delete(&mut me, "a").await.unwrap();
    let mut statuses = status(&mut x).await;
    assert_eq!(told(&mut statuses).await, None);
    assert_eq!(told(&mut statuses).await.as_deref(), Some("b"));

    // The same when the lab was away meanwhile.
    drop((x, statuses));
    bench = bench.restart().await;
    delete(&mut bench.client("me").await, "b").await.unwrap();
    let mut statuses = status(&mut bench.exporter("x").await).await;
    assert_eq!(told(&mut statuses).await, None);
    assert_eq!(told(&mut statuses).await.as_deref(), Some("c"));
    bench.stop().await;
}

#[tokio::test]
async fn leases_outlive_the_lab_if_they_are_kept() {
    for keep in [true, false] {
        let mut bench = Bench::start_with(|options| options.keep = keep).await;
        let mut me = bench.client("me").await;
        let (_x, statuses) = exporter(&bench, "x").await;
        create(&mut me, "held", wish("board=x", 60)).await.unwrap();
        create(&mut me, "waits", wish("board=x", 60)).await.unwrap();
        create(&mut me, "over", wish("board=none", 60))
            .await
            .unwrap();
        drop(statuses);
        bench = bench.restart().await;

        // Tokens and certificate are the same in any case.
        let mut me = bench.client("me").await;
        let mut x = bench.exporter("x").await;
        let mut statuses = status(&mut x).await;
        if keep {
            assert_eq!(told(&mut statuses).await.as_deref(), Some("held"));
            assert_eq!(condition(&get(&mut me, "held").await), "Ready=True/Ready");
            assert_eq!(
                condition(&get(&mut me, "waits").await),
                "Pending=True/NotAvailable"
            );
            assert_eq!(
                condition(&get(&mut me, "over").await),
                "Unsatisfiable=True/NoMatch"
            );
            delete(&mut me, "held").await.unwrap();
            assert_eq!(told(&mut statuses).await, None);
            assert_eq!(told(&mut statuses).await.as_deref(), Some("waits"));
        } else {
            assert_eq!(told(&mut statuses).await, None);
            assert_refused(dial(&mut me, "held").await, Code::Unknown, "not found");
        }
        bench.stop().await;
    }
}

#[tokio::test]
async fn peers_are_told_that_the_lab_stops() {
    let bench = Bench::start().await;
    let mut me = bench.client("me").await;
    let (mut x, mut statuses) = exporter(&bench, "x").await;
    create(&mut me, "a", wish("board=x", 60)).await.unwrap();
    assert_eq!(told(&mut statuses).await.as_deref(), Some("a"));
    let mut tokens = listen(&mut x, "a").await;
    // It waits for the exporter to be ready.
    let dialled = tokio::spawn(async move { dial(&mut me, "a").await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.stop().await;
    let ends = [
        within("the end", statuses.message()).await.map(|_| ()),
        within("the end", tokens.message()).await.map(|_| ()),
        within("the end", dialled).await.unwrap().map(|_| ()),
    ];
    for end in ends {
        assert_refused(end, Code::Unavailable, "shutting down");
    }
}

#[tokio::test]
async fn requests_may_be_compressed() {
    let bench = Bench::start().await;
    let me = bench.client("me").await;
    let mut clients = me
        .clients()
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let request = client::CreateLeaseRequest {
        parent: PARENT.to_owned(),
        lease_id: "a".to_owned(),
        lease: Some(wish("board=x", 60)),
    };
    let response = clients.create_lease(request).await.unwrap();
    assert_eq!(response.metadata().get("grpc-encoding").unwrap(), "gzip");
    bench.stop().await;
}

#[tokio::test]
async fn the_older_calls_of_clients_work() {
    let bench = Bench::start().await;
    let me = bench.client("me").await;
    let (x, _statuses) = exporter(&bench, "x").await;
    let registered = x
        .controller()
        .register(v1::RegisterRequest::default())
        .await;
    let uuid = registered.unwrap().into_inner().uuid;
    let mut controller: ControllerServiceClient<_> = me.controller();
    let selector = v1::LabelSelector {
        match_labels: BTreeMap::from([("board".to_owned(), "x".to_owned())]),
        match_expressions: vec![v1::LabelSelectorRequirement {
            key: "kind".to_owned(),
            operator: "In".to_owned(),
            values: vec!["mock".to_owned()],
        }],
    };
    let request = v1::RequestLeaseRequest {
        duration: Some(seconds(60)),
        selector: Some(selector.clone()),
    };
    let name = controller
        .request_lease(request)
        .await
        .unwrap()
        .into_inner()
        .name;
    let request = v1::GetLeaseRequest { name: name.clone() };
    let lease = controller
        .get_lease(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(lease.selector, Some(selector));
    assert_eq!(lease.exporter_uuid, Some(uuid));
    let listed = controller
        .list_leases(v1::ListLeasesRequest {})
        .await
        .unwrap();
    assert_eq!(listed.into_inner().names, std::slice::from_ref(&name));
    let release = v1::ReleaseLeaseRequest { name };
    controller.release_lease(release).await.unwrap();
    let listed = controller
        .list_leases(v1::ListLeasesRequest {})
        .await
        .unwrap();
    assert!(listed.into_inner().names.is_empty());
    let lease = controller.get_lease(request).await.unwrap().into_inner();
    assert!(lease.end_time.is_some());
    bench.stop().await;
}

#[tokio::test]
async fn many_clients_at_once_get_each_exporter_one_at_a_time() {
    const CLIENTS: usize = 20;
    let bench = Bench::start().await;
    let (_x, mut x) = exporter(&bench, "x").await;
    let (_y, mut y) = exporter(&bench, "y").await;
    let mut work = tokio::task::JoinSet::new();
    for n in 0..CLIENTS {
        let mut me = bench.client(if n % 2 == 0 { "me" } else { "you" }).await;
        work.spawn(async move {
            let id = format!("l{n}");
            create(&mut me, &id, wish("kind=mock", 60)).await.unwrap();
            while condition(&get(&mut me, &id).await) != "Ready=True/Ready" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            delete(&mut me, &id).await.unwrap();
        });
    }
    // What the exporters hear: one lease, its end, another. A lease that was over at once is not heard of at all.
    let (mut heard, mut held, mut left) = (0, [false, false], CLIENTS);
    while left > 0 {
        let (at, lease) = tokio::select! {
            lease = told(&mut x) => (0, lease),
            lease = told(&mut y) => (1, lease),
            done = within("a client's turn", work.join_next()) => {
                done.unwrap().unwrap();
                left -= 1;
                continue;
            }
        };
        assert_ne!(
            lease.is_some(),
            held[at],
            "no lease follows another without an end"
        );
        held[at] = lease.is_some();
        heard += usize::from(lease.is_some());
    }
    assert!(heard > 0);
    bench.stop().await;
}

#[tokio::test]
async fn what_it_needs_is_said() {
    let refused = |change: fn(&mut jumpstarter_router::inside::lab::Options)| async move {
        let folder = tempfile::tempdir().unwrap();
        let mut options = lab::options(folder.path());
        change(&mut options);
        let lab = jumpstarter_router::inside::lab::Lab::start(options).await;
        lab.err().unwrap().to_string()
    };
    let text = refused(|options| options.listen.set_port(0)).await;
    assert!(text.contains("a port of your choice"), "{text}");
    let text = refused(|options| options.listen = ([0, 0, 0, 0], free_port()).into()).await;
    assert!(text.contains("--endpoint"), "{text}");

    let bench = Bench::start().await;
    let mut options = lab::options(bench.folder());
    let text = jumpstarter_router::inside::lab::Lab::start(options).await;
    let text = text.err().unwrap().to_string();
    assert!(text.contains("another lab"), "{text}");
    let elsewhere = tempfile::tempdir().unwrap();
    options = lab::options(elsewhere.path());
    options.listen = bench.address();
    let text = jumpstarter_router::inside::lab::Lab::start(options).await;
    let text = text.err().unwrap().to_string();
    assert!(text.contains("cannot listen on"), "{text}");
    bench.stop().await;
}
