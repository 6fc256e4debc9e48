//! Routers behind an HTTP proxy that the environment names.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::helpers::{
    Running,
    process::{Process, usual},
    program::{Done, program, run},
    stranger::{answering, silent, stranger},
    token, within,
};
use jumpstarter_router::client::{ControllerConfig, Role, Session};

/// A proxy, and the heads of the requests it got.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Connects everybody to `target`, whatever was asked for; what that says at once comes with the answer, which is
    /// sent in small pieces if `slowly`.
    fn to(target: &str, slowly: bool) -> Self {
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (target, seen) = (target.to_owned(), heads.clone());
        let address = stranger(move |mut client| {
            let head = head(&mut client);
            seen.lock().unwrap().push(head);
            let mut server = TcpStream::connect(&target).unwrap();
            server
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            let mut answer = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n".to_vec();
            let mut early = [0; 256];
            if let Ok(read) = server.read(&mut early) {
                answer.extend(&early[..read]);
            }
            server.set_read_timeout(None).unwrap();
            let size = if slowly { 7 } else { answer.len() };
            for piece in answer.chunks(size) {
                client.write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(u64::from(slowly) * 5));
            }
            let (mut from, mut into) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut into);
                let _ = into.shutdown(Shutdown::Write);
            });
            let _ = io::copy(&mut client, &mut server);
            let _ = server.shutdown(Shutdown::Write);
        });
        Self { address, heads }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn head(client: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() > 0 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn probe(router: &str, more: &[&str], env: &[(&str, &str)]) -> Done {
    let args = ["probe", "--router", router, "--timeout", "3s"];
    let mut command = program(&[&args, more].concat(), true);
    command.envs(env.iter().copied());
    run(command, b"")
}

#[test]
fn a_router_is_reached_through_the_proxy_that_the_environment_names() {
    let mut router = Process::start(usual(&[]));
    let address = router.address();
    for slowly in [false, true] {
        let proxy = Proxy::to(&address, slowly);
        // The proxy finds the name, which is unknown here.
        let url = proxy.url().replace("//", "//user:pass%3Aword@");
        let env = [("https_proxy", &*url)];
        probe("router.test:443", &["--insecure"], &env).ended(0, &[]);
        let heads = proxy.heads();
        assert_eq!(heads.len(), 2, "{heads:?}");
        for head in heads {
            assert!(
                head.starts_with("CONNECT router.test:443 HTTP/1.1\r\nHost: router.test:443\r\n"),
                "{head}"
            );
            assert!(
                head.contains("\r\nProxy-Authorization: Basic dXNlcjpwYXNzOndvcmQ=\r\n"),
                "{head}"
            );
        }
    }
}

/// What the router says at once may come with the proxy's answer.
#[test]
fn not_a_byte_is_lost_behind_the_proxys_answer() {
    let mut router = Process::start(usual(&[("tls.plaintext", "true")]));
    let address = router.address();
    for slowly in [false, true] {
        let proxy = Proxy::to(&address, slowly);
        probe(
            "router.test:80",
            &["--plaintext"],
            &[("http_proxy", &*proxy.url())],
        )
        .ended(0, &[]);
        assert_eq!(proxy.heads().len(), 2);
    }
}

#[test]
fn what_is_listed_is_reached_without_it() {
    let mut router = Process::start(usual(&[]));
    let address = router.address();
    let proxy = Proxy::to(&address, false);
    let url = proxy.url();
    let with = |more: &[(&str, &str)]| {
        let env = [&[("https_proxy", &*url)], more].concat();
        probe(&address, &["--insecure"], &env).ended(0, &[]);
        std::mem::take(&mut *proxy.heads.lock().unwrap()).len()
    };
    assert_eq!(with(&[("no_proxy", "x.test, 127.0.0.0/8")]), 0);
    assert_eq!(with(&[("no_grpc_proxy", "127.0.0.1")]), 0);
    assert_eq!(with(&[("grpc_proxy", "")]), 0);
    assert_eq!(with(&[("no_proxy", "x.test")]), 2);
    assert_eq!(with(&[("no_grpc_proxy", ""), ("no_proxy", "127.0.0.1")]), 2);
}

#[test]
fn what_goes_wrong_names_the_proxy_and_its_variable() {
    let fails = |address: SocketAddr, credentials: &str, parts: &[&str]| {
        let url = format!("http://{credentials}{address}");
        let done = probe("router.test:443", &["--insecure"], &[("https_proxy", &url)]);
        let way = format!(
            "cannot connect to router.test:443 through the proxy {address} of https_proxy: "
        );
        done.ended(3, &[&[&*way], parts].concat());
        assert!(
            !done.stderr.contains("sesame") && done.stderr.lines().count() == 1,
            "{done:?}"
        );
    };
    let wants =
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n";
    fails(
        answering(wants),
        "",
        &["the proxy answered 407 Proxy Authentication Required; it wants a user and a password"],
    );
    fails(
        answering(wants),
        "me:sesame@",
        &["it does not accept the user or the password"],
    );
    fails(
        answering(b"HTTP/1.0 403 Forbidden\r\n\r\n"),
        "",
        &["the proxy answered 403 Forbidden; it does not allow connections to this address"],
    );
    fails(
        answering(b"HTTP/1.1 503\r\n\r\n"),
        "",
        &["the proxy answered 503; the proxy itself cannot reach that address"],
    );
    fails(
        answering(b"SSH-2.0-x\r\n"),
        "",
        &["what answers is no HTTP proxy: it sent \"SSH-2.0-x"],
    );
    fails(
        answering(b""),
        "",
        &["the proxy closed the connection without an answer"],
    );
    fails(silent(), "", &["the proxy did not answer in time"]);
    let endless = stranger(|mut client| {
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\n");
        while client.write_all(b"X-More: of the same\r\n").is_ok() {}
    });
    fails(
        endless,
        "",
        &["the head of the proxy's answer is longer than 16 KiB"],
    );
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    fails(
        nobody,
        "",
        &[&format!(
            "the proxy cannot be reached: {nobody}: connection refused"
        )],
    );
}

/// It does not look like the proxy's fault, but may be.
#[test]
fn what_fails_behind_a_proxy_is_said_to_be_behind_it() {
    let proxy = Proxy::to(
        &answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").to_string(),
        false,
    );
    let way = format!("the proxy {} of https_proxy", proxy.address);
    let with = |more| probe("router.test:443", &[more], &[("https_proxy", &proxy.url())]);
    with("--insecure").ended(
        3,
        &[&format!("through {way}: what answers does not speak TLS")],
    );
    with("--plaintext").ended(3, &["no router answers: ", &format!("(through {way})")]);
    // A variable that names none is as good as none, and worth a word if that goes wrong.
    let env = [("https_proxy", "socks5://127.0.0.1:1")];
    let left_out =
        "(directly: https_proxy is not used, as only proxies with http:// are supported)";
    probe("nobody.invalid:1", &["--insecure"], &env).ended(3, &[left_out]);
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_and_their_routers_are_reached_through_it() {
    let router = Running::start(&[]).await;
    let proxy = Proxy::to(&router.endpoint(), false);
    let env = [
        ("JMP_NAMESPACE", "default".to_owned()),
        ("JMP_NAME", "me".to_owned()),
        ("JMP_ENDPOINT", "controller.test:443".to_owned()),
        ("JMP_TOKEN", "sesame".to_owned()),
        ("JMP_GRPC_INSECURE", "1".to_owned()),
        ("https_proxy", proxy.url()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.into()));
    let config = ControllerConfig::find(None, Role::Client, &env).unwrap();
    let session = Session::new(&config).unwrap();
    // This is no controller, and says so.
    let error = within("an answer", session.register()).await.unwrap_err();
    assert!(error.is_refusal(), "{error}");
    assert!(proxy.heads()[0].starts_with("CONNECT controller.test:443 "));
    let grant = jumpstarter_router::client::Grant {
        endpoint: "router.test:443".to_owned(),
        token: token("x").into(),
    };
    let stream = within("a stream", session.open(&grant)).await.unwrap();
    assert!(
        proxy
            .heads()
            .iter()
            .any(|head| head.starts_with("CONNECT router.test:443 "))
    );
    stream.cancel().await;
}
