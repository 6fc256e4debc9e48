//! `doctor` where all is well, and against set-ups that are broken in one way each.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use http::{Response, StatusCode};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::Value;

use crate::helpers::{
    self, Certificate, Running,
    authority::Authority,
    free_port,
    program::{Done, program, run},
    token,
};

const KEY: bool = true;

/// Asks the doctor, in the background.
async fn ask(args: &[&str], key: bool) -> Done {
    let command = program(&[&["doctor", "--router"], args].concat(), key);
    let done = tokio::task::spawn_blocking(move || run(command, b""));
    done.await.unwrap()
}

/// What it says of a router with a certificate of its own.
async fn of(router: &Running, more: &[&str], key: bool) -> Done {
    let (endpoint, ca) = (router.endpoint(), router.certificate.certificate());
    let args = [&[&endpoint, "--ca", ca.to_str().unwrap()], more].concat();
    ask(&args, key).await
}

/// The only failure is in this check, and names and advises these; so many lines before were good.
#[track_caller]
fn assert_failed(done: &Done, code: i32, check: &str, parts: &[&str]) {
    let text = done.text();
    assert_eq!(done.code, Some(code), "{text}{}", done.stderr);
    let failures: Vec<_> = text.match_indices("FAILED ").collect();
    assert_eq!(failures.len(), 1, "{text}");
    let failure = &text[failures[0].0..];
    let words: Vec<_> = failure.split_whitespace().collect();
    assert_eq!(words[1], check, "{text}");
    for part in parts {
        assert!(failure.contains(part), "{part:?} in {failure}");
    }
    assert!(done.stderr.contains("1 check failed"), "{}", done.stderr);
}

/// A thread that answers each connection with what `answer` does to it.
fn serve(answer: impl Fn(TcpStream) -> io::Result<()> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let _ = answer(socket);
        }
    });
    address
}

/// HTTP/2 without TLS, with the same head for each request.
async fn serve_head(head: Response<()>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let head = head.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await?;
                while let Some(request) = connection.accept().await {
                    let (_, mut respond) = request?;
                    respond.send_response(head.clone(), true)?;
                }
                Ok::<_, h2::Error>(())
            });
        }
    });
    address
}

fn grpc(status: &str, date: Option<SystemTime>) -> Response<()> {
    let mut head = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", status);
    if let Some(date) = date {
        head = head.header("date", httpdate::fmt_http_date(date));
    }
    head.body(()).unwrap()
}

#[tokio::test]
async fn where_all_is_well_it_says_so_of_every_step() {
    let router = Running::start(&[]).await;
    let done = of(&router, &[], KEY).await;
    done.ended(0, &[]);
    let text = done.text();
    for check in [
        "tcp", "tls", "cert", "trust", "http2", "router", "clock", "token", "pair",
    ] {
        let line = format!("ok       {check:<8} ");
        assert!(text.contains(&line), "{check} in {text}");
    }
    assert!(
        !text.contains("FAILED") && !text.contains("skipped"),
        "{text}"
    );
    assert_eq!(
        router.metrics().pairs.get(),
        2,
        "small messages and large ones"
    );

    // The same for programs.
    let done = of(&router, &["--json"], KEY).await;
    for line in done.text().lines() {
        let finding: Value = serde_json::from_str(line).unwrap();
        assert_eq!(finding["level"], "ok", "{line}");
        assert!(finding["text"].is_string() && finding["check"].is_string());
    }
}

#[tokio::test]
async fn without_key_and_token_it_goes_as_far_as_the_router() {
    let router = Running::start(&[]).await;
    let done = of(&router, &[], !KEY).await;
    done.ended(0, &[]);
    assert!(done.text().contains("skipped  token"), "{}", done.text());
    assert!(done.text().contains("--key-file"), "{}", done.text());
}

#[tokio::test]
async fn a_name_without_an_address() {
    let done = ask(&["no-such-router.invalid:443"], KEY).await;
    assert_failed(&done, 3, "name", &["no-such-router.invalid", "spelling"]);
}

#[tokio::test]
async fn a_port_that_nothing_listens_on() {
    let address = format!("127.0.0.1:{}", free_port());
    let done = ask(&[&address], KEY).await;
    assert_failed(&done, 3, "tcp", &["refused", "does the router run"]);
}

#[tokio::test]
async fn an_address_that_is_silent() {
    // Its queue is full, so that further SYNs are dropped.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _full: Vec<_> = (0..4)
        .map(|_| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let done = ask(&[&address.to_string()], KEY).await;
    assert_failed(&done, 3, "tcp", &["no answer in 5.0 s", "firewall"]);
}

#[tokio::test]
async fn a_certificate_of_somebody_else() {
    let router = Running::start(&[]).await;
    let other = Certificate::new();
    let ca = other.certificate();
    let done = ask(&[&router.endpoint(), "--ca", ca.to_str().unwrap()], KEY).await;
    assert_failed(&done, 3, "trust", &["--ca FILE"]);
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let router = Running::start(&[]).await;
    let endpoint = format!("localhost:{}", router.server.address.port());
    let ca = router.certificate.certificate();
    let done = ask(&[&endpoint, "--ca", ca.to_str().unwrap()], KEY).await;
    assert_failed(&done, 3, "trust", &["127.0.0.1"]);
    assert!(done.text().contains("ok       cert"), "{}", done.text());
}

#[tokio::test]
async fn an_expired_certificate() {
    let two_years = Duration::from_secs(2 * 365 * 86_400);
    let old = Certificate::made_at(SystemTime::now() - two_years);
    let files = [old.certificate(), old.key()];
    let [certificate, key] = files.each_ref().map(|file| file.to_str().unwrap());
    let router = Running::start(&[("tls.certificate", certificate), ("tls.key", key)]).await;
    let done = ask(&[&router.endpoint(), "--ca", certificate], KEY).await;
    assert_failed(&done, 3, "cert", &["-365 days left", "expired", "clock"]);
}

#[tokio::test]
async fn a_router_without_tls() {
    let router = Running::start(&[("tls.plaintext", "true")]).await;
    let done = ask(&[&router.endpoint(), "--insecure"], KEY).await;
    assert_failed(&done, 3, "tls", &["without TLS", "--plaintext"]);
    ask(&[&router.endpoint(), "--plaintext"], KEY)
        .await
        .ended(0, &[]);
}

#[tokio::test]
async fn a_router_with_tls_asked_without() {
    let router = Running::start(&[]).await;
    let done = ask(&[&router.endpoint(), "--plaintext"], KEY).await;
    assert_failed(&done, 3, "http2", &["speaks TLS", "leave --plaintext out"]);
}

#[tokio::test]
async fn the_port_for_health() {
    let router = Running::start(&[("listen.health_address", "127.0.0.1:0")]).await;
    let health = router.server.health_address.unwrap().to_string();
    let done = ask(&[&health, "--insecure"], KEY).await;
    assert_failed(&done, 3, "tls", &["HTTP/1", "health"]);
    let done = ask(&[&health, "--plaintext"], KEY).await;
    assert_failed(&done, 3, "http2", &["health"]);
}

#[tokio::test]
async fn what_ends_tls_and_speaks_no_http2() {
    let certificate = Certificate::new();
    let config = tls_server(&certificate);
    let address = serve(move |mut socket| {
        let session = rustls::ServerConnection::new(config.clone());
        let mut session = session.map_err(io::Error::other)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        session.complete_io(&mut socket)?;
        // Until the client has seen enough.
        socket.read(&mut [0; 64]).map(drop)
    });
    let done = ask(
        &[
            &address,
            "--ca",
            certificate.certificate().to_str().unwrap(),
        ],
        KEY,
    )
    .await;
    assert_failed(&done, 3, "tls", &["did not agree to HTTP/2", "ingress"]);
}

fn tls_server(certificate: &Certificate) -> Arc<rustls::ServerConfig> {
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let key = PrivateKeyDer::from_pem_file(certificate.key()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(certificate.certificate()).unwrap()];
    let provider = jumpstarter_router::inside::tls::provider::Provider::Auto.crypto();
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    Arc::new(
        builder
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap(),
    )
}

/// As some middleboxes do that have never seen a `ClientHello` in two packets.
#[tokio::test]
async fn what_lies_between_cuts_a_long_client_hello() {
    let router = Running::start(&[]).await;
    let behind = router.endpoint();
    let address = serve(move |mut socket| {
        let mut hello = vec![0; 16 * 1024];
        let read = socket.read(&mut hello)?;
        if read > 1_000 {
            return Ok(());
        }
        let mut far = TcpStream::connect(&behind)?;
        far.write_all(&hello[..read])?;
        join(socket, far)
    });
    let ca = router.certificate.certificate();
    let args = [&*address, "--ca", ca.to_str().unwrap()];
    let done = ask(&args, KEY).await;
    assert_failed(&done, 3, "tls", &["ClientHello", "--no-post-quantum"]);
    ask(&[&args[..], &["--no-post-quantum"]].concat(), KEY)
        .await
        .ended(0, &[]);
}

#[tokio::test]
async fn a_router_that_wants_a_certificate() {
    let authority = Authority::new("peers");
    let ca = authority.file();
    let router = Running::start(&[("tls.client_ca", ca.to_str().unwrap())]).await;
    let done = of(&router, &[], KEY).await;
    assert_failed(&done, 3, "http2", &["--client-certificate"]);
    let files = authority.signed("doctor", ExtendedKeyUsagePurpose::ClientAuth, |_| {});
    let [certificate, key] = files.each_ref().map(|file| file.to_str().unwrap());
    let options = ["--client-certificate", certificate, "--client-key", key];
    of(&router, &options, KEY).await.ended(0, &[]);
}

#[tokio::test]
async fn a_controller_in_the_router_s_place() {
    let address = serve_head(grpc("12", None)).await;
    let done = ask(&[&address, "--plaintext"], KEY).await;
    assert_failed(&done, 3, "router", &["no router", "controller"]);
}

#[tokio::test]
async fn a_proxy_that_does_not_reach_the_router() {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::BAD_GATEWAY;
    let address = serve_head(head).await;
    let done = ask(&[&address, "--plaintext"], KEY).await;
    assert_failed(&done, 3, "router", &["502", "proxy or ingress"]);
}

#[tokio::test]
async fn clocks_that_differ() {
    let router_time = SystemTime::now() - Duration::from_secs(3600);
    let address = serve_head(grpc("16", Some(router_time))).await;
    let done = ask(&[&address, "--plaintext"], !KEY).await;
    done.ended(0, &[]);
    let text = done.text();
    assert!(text.contains("warning  clock"), "{text}");
    assert!(
        text.contains("behind this machine's") && text.contains("NTP"),
        "{text}"
    );
    // By its own clock the router would refuse a token that begins later.
    let done = ask(&[&address, "--plaintext", "--token", &token("board")], !KEY).await;
    let text = done.text();
    assert!(text.contains("FAILED   token"), "{text}");
    done.ended(4, &[]);
}

#[tokio::test]
async fn another_key_than_the_router_s() {
    let router = Running::start(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "another key, which is long enough as well").unwrap();
    let done = of(&router, &["--key-file", key.to_str().unwrap()], !KEY).await;
    assert_failed(&done, 4, "pair", &["UNAUTHENTICATED", "ROUTER_KEY"]);
}

#[tokio::test]
async fn an_expired_token() {
    let router = Running::start(&[]).await;
    let old = SystemTime::now() - Duration::from_secs(86_400);
    let claims = jumpstarter_router::inside::auth::Claims::new("board", old);
    let token = jumpstarter_router::inside::auth::mint(helpers::KEY.as_bytes(), &claims);
    let done = of(&router, &["--token", &token], !KEY).await;
    done.ended(4, &[]);
    let text = done.text();
    assert!(
        text.contains("FAILED   token") && text.contains("expired"),
        "{text}"
    );
}

#[tokio::test]
async fn a_router_at_its_limit() {
    let router = Running::start(&[("streams.max", "2")]).await;
    let _full = router.pair("others").await;
    let done = of(&router, &[], KEY).await;
    assert_failed(&done, 4, "pair", &["streams.max"]);
}

#[tokio::test]
async fn two_routers_that_do_not_know_each_other() {
    let (one, other) = (Running::start(&[]).await, Running::start(&[]).await);
    let both = one.certificate.directory().join("both.pem");
    let [here, there] = [&one, &other].map(|router| router.certificate.texts()[0].clone());
    std::fs::write(&both, [here, there].concat()).unwrap();
    let done = ask(
        &[
            &one.endpoint(),
            "--ca",
            both.to_str().unwrap(),
            "--second-router",
            &other.endpoint(),
        ],
        KEY,
    )
    .await;
    assert_failed(&done, 5, "pair", &["from 127.0.0.1", "docs/scale.md"]);
}

/// Bytes of a message may be anything; none of them reaches a terminal as it is.
#[tokio::test]
async fn what_strangers_answer_is_harmless() {
    let mut head = grpc("7", None);
    let hostile = "%1B[2J%0Aok".parse().unwrap();
    head.headers_mut().insert("grpc-message", hostile);
    let address = serve_head(head).await;
    let done = ask(&[&address, "--plaintext"], !KEY).await;
    let text = done.text();
    assert!(
        text.contains("warning  router") && !text.contains('\u{1b}'),
        "{text}"
    );
}

/// A proxy that answers each CONNECT with this head, and forwards if that is a success.
fn proxy(head: &'static str) -> String {
    serve(move |mut socket| {
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte)?;
            request.push(byte[0]);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
        socket.write_all(head.as_bytes())?;
        if head.contains("200") {
            join(socket, TcpStream::connect(target)?)?;
        }
        Ok(())
    })
}

/// Forwards both ways, in threads of their own.
fn join(mut near: TcpStream, mut far: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write)
    });
    thread::spawn(move || {
        let _ = io::copy(&mut far, &mut near);
        near.shutdown(Shutdown::Write)
    });
    Ok(())
}

/// Asks of a router with a proxy in the environment.
async fn through(router: &Running, proxy: &str, more: &[(&str, &str)]) -> Done {
    let (endpoint, ca) = (router.endpoint(), router.certificate.certificate());
    let args = [
        "doctor",
        "--router",
        &endpoint,
        "--ca",
        ca.to_str().unwrap(),
    ];
    let mut command = program(&args, KEY);
    command.env("https_proxy", format!("http://{proxy}"));
    command.envs(more.iter().copied());
    tokio::task::spawn_blocking(move || run(command, b""))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_proxy_in_the_way() {
    let router = Running::start(&[]).await;
    let good = proxy("HTTP/1.1 200 Connection established\r\n\r\n");
    let done = through(&router, &good, &[]).await;
    done.ended(0, &[]);
    let text = done.text();
    let expected = format!("through the proxy {good} of https_proxy: connected");
    assert!(
        text.contains("ok       proxy") && text.contains(&expected),
        "{text}"
    );
    assert!(text.contains("ok       pair"), "{text}");

    let closed = proxy("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    let done = through(&router, &closed, &[]).await;
    assert_failed(&done, 3, "proxy", &["407", "https_proxy", "no_proxy"]);

    let done = through(&router, &closed, &[("no_proxy", "127.0.0.0/8")]).await;
    done.ended(0, &[]);
    assert!(done.text().contains("no_proxy lists"), "{}", done.text());
}
