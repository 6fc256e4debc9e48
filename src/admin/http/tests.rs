#![allow(clippy::unwrap_used)]

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

use axum::routing::post;

use super::{
    server::{Limits, serve},
    *,
};
use crate::transport::phase::Phase;

const SHORT: Limits = Limits {
    connections: 2,
    header: Duration::from_millis(300),
    request: Duration::from_millis(400),
    life: Duration::from_millis(600),
    grace: Duration::from_millis(200),
};

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

fn start(app: Router, limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let task = tokio::spawn(serve(listener, app, limits, shutdown));
    Server {
        address,
        stop,
        task,
    }
}

fn state() -> AdminState {
    AdminState {
        life: Life::default(),
        metrics: Arc::new(Metrics::new(&["finished"], &["limit"])),
    }
}

async fn read_all(socket: &mut TcpStream) -> String {
    let mut answer = String::new();
    let read = socket.read_to_string(&mut answer);
    let _ = timeout(Duration::from_secs(10), read)
        .await
        .expect("in time");
    answer
}

/// The status, header and body of the answer.
async fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: router\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let answer = read_all(&mut socket).await;
    let (header, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let status = header.strip_prefix("HTTP/1.1 ").unwrap()[..3]
        .parse()
        .unwrap();
    (status, header.to_ascii_lowercase(), body.to_owned())
}

async fn get_path(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = request(address, "GET", path).await;
    (status, body)
}

#[tokio::test]
async fn tells_health_and_readiness() {
    let state = state();
    let life = state.life.clone();
    let server = start(full(state), Limits::default());
    let at = server.address;
    let answer = |status, body: &str| (status, body.to_owned());

    assert_eq!(get_path(at, "/healthz").await, answer(200, "ok"));
    assert_eq!(get_path(at, "/readyz").await, answer(503, "starting"));
    life.advance(Phase::Ready);
    assert_eq!(get_path(at, "/readyz").await, answer(200, "ready"));
    life.set_accepting(false);
    let hindered = answer(503, "cannot accept connections");
    assert_eq!(get_path(at, "/readyz").await, hindered);
    life.set_accepting(true);
    assert_eq!(get_path(at, "/readyz").await, answer(200, "ready"));
    life.advance(Phase::Draining { forwarding: false });
    assert_eq!(get_path(at, "/readyz").await, answer(503, "draining"));
    assert_eq!(get_path(at, "/healthz").await, answer(200, "ok"));

    let (status, header, index) = request(at, "GET", "/").await;
    assert_eq!(status, 200);
    assert!(header.contains("content-type: text/plain"));
    assert!(
        ["/healthz", "/readyz", "/metrics"]
            .iter()
            .all(|path| index.contains(path))
    );
    assert_eq!(get_path(at, "/nothing").await.0, 404);
    assert_eq!(request(at, "POST", "/healthz").await.0, 405);
    let (status, _, body) = request(at, "HEAD", "/healthz").await;
    assert_eq!((status, body.as_str()), (200, ""));
}

#[tokio::test]
async fn shows_metrics_and_nothing_else_on_their_own_address() {
    let state = state();
    let only = start(metrics_only(Arc::clone(&state.metrics)), Limits::default());
    state.metrics.pairs.inc();
    let both = start(full(state), Limits::default());
    for address in [only.address, both.address] {
        let (status, header, body) = request(address, "GET", "/metrics").await;
        assert_eq!(status, 200);
        assert!(header.contains("content-type: text/plain; version=0.0.4"));
        assert!(body.contains("\njumpstarter_router_pairs_total 1\n"));
        assert!(body.contains("\n# TYPE jumpstarter_router_pairs_total counter\n"));
        assert!(!body.contains("# UNIT") && !body.contains("# EOF"));

        let accept = "/metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\nx:";
        let (status, header, body) = request(address, "GET", accept).await;
        assert_eq!(status, 200);
        assert!(header.contains("content-type: application/openmetrics-text; version=1.0.0"));
        assert!(body.contains("\njumpstarter_router_pairs_total 1\n"));
        assert!(body.contains("\n# TYPE jumpstarter_router_pairs counter\n"));
        assert!(body.ends_with("# EOF\n"));
    }
    for path in ["/", "/healthz", "/readyz"] {
        assert_eq!(get_path(only.address, path).await.0, 404, "{path}");
    }
}

/// Sends this, and nothing more.
async fn begin(address: SocketAddr, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    socket
}

/// How a request begins whose body never comes.
const BODY_TO_COME: &str = "POST / HTTP/1.1\r\nHost: r\r\nContent-Length: 9\r\n\r\n{";

#[tokio::test]
async fn cuts_clients_that_do_not_finish_their_request() {
    let app = full(state()).route("/body", post(|body: String| async { body }));
    let server = start(app, SHORT);
    for text in ["", "GET /healthz HTTP/1.1\r\nHo", BODY_TO_COME] {
        let begun = Instant::now();
        let mut socket = begin(server.address, &text.replace("/ ", "/body ")).await;
        assert!(!read_all(&mut socket).await.contains("200 OK"));
        let took = begun.elapsed() + Duration::from_millis(20);
        assert!((SHORT.header..SHORT.life).contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn who_says_nothing_makes_room_for_who_speaks() {
    let app = full(state()).route("/body", post(|body: String| async { body }));
    let server = start(app, Limits::default());
    for text in ["", "GET /healthz HTTP/1.1\r\nHo", BODY_TO_COME] {
        let mut silent = Vec::new();
        for _ in 0..2 * Limits::default().connections {
            silent.push(begin(server.address, &text.replace("/ ", "/body ")).await);
        }
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(get_path(server.address, "/healthz").await.0, 200);
        }
        assert!(begun.elapsed() < Limits::default().header, "{text:?}");
    }
}

#[tokio::test]
async fn who_does_not_read_makes_room_for_who_speaks() {
    let long = Router::new().route("/", get(async || "x".repeat(16 << 20)));
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let server = start(long.route("/healthz", get("ok")), limits);
    let request = "GET / HTTP/1.1\r\nHost: r\r\n\r\n";
    let mut stuck = Vec::new();
    for _ in 0..4 {
        stuck.push(begin(server.address, request).await);
    }
    assert_eq!(get_path(server.address, "/healthz").await.0, 200);
}

#[tokio::test]
async fn cuts_requests_that_never_end() {
    let endless = Router::new().route("/", get(std::future::pending::<()>));
    let server = start(endless, SHORT);
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: r\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_all(&mut socket).await, "");
}

#[tokio::test]
async fn refuses_oversized_headers_and_noise() {
    let server = start(full(state()), Limits::default());
    let mut long = TcpStream::connect(server.address).await.unwrap();
    let _ = long.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await;
    let _ = long.write_all(&vec![b'a'; 64 * 1024]).await;
    assert!(!read_all(&mut long).await.contains("200 OK"));
    let mut noise = TcpStream::connect(server.address).await.unwrap();
    noise
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    assert!(!read_all(&mut noise).await.contains("200 OK"));
    assert_eq!(get_path(server.address, "/healthz").await.0, 200);
}

#[tokio::test]
async fn a_panic_takes_down_only_its_connection() {
    async fn fail() -> &'static str {
        panic!("on purpose")
    }
    let server = start(full(state()).route("/panic", get(fail)), Limits::default());
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket
        .write_all(b"GET /panic HTTP/1.1\r\nHost: r\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_all(&mut socket).await, "");
    assert_eq!(get_path(server.address, "/healthz").await.0, 200);
}

#[tokio::test]
async fn stops_when_told_even_with_open_connections() {
    let server = start(
        full(state()),
        Limits {
            grace: SHORT.grace,
            ..Limits::default()
        },
    );
    let mut open = TcpStream::connect(server.address).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    server.stop.send(()).unwrap();
    let ended = timeout(Duration::from_secs(5), server.task).await.unwrap();
    ended.unwrap().unwrap();
    assert_eq!(read_all(&mut open).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
}
