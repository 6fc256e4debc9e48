//! Requests that are no calls of the router's stream, or not well-formed ones.

use crate::helpers::{Running, token, within};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Response, StatusCode};

const STREAM: &str = "/jumpstarter.v1.RouterService/Stream";
const GRPC: &str = "application/grpc";

async fn http2(router: &Running) -> SendRequest<Bytes> {
    let tls = within("TLS", router.connector().tls()).await.unwrap();
    let (sender, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends a request without a body and gives the head and, if it holds no status, the trailers of the answer.
async fn ask(
    http2: &mut SendRequest<Bytes>,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> (Response<()>, HeaderMap) {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://127.0.0.1{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    within("an answer", async {
        let request = request.body(()).unwrap();
        let (response, _) = http2.send_request(request, true).unwrap();
        let (head, mut body) = response.await.unwrap().into_parts();
        while let Some(chunk) = body.data().await {
            let length = chunk.unwrap().len();
            body.flow_control().release_capacity(length).unwrap();
        }
        let trailers = body.trailers().await.unwrap().unwrap_or_default();
        (Response::from_parts(head, ()), trailers)
    })
    .await
}

fn grpc_status(answer: &(Response<()>, HeaderMap)) -> &str {
    let value = answer.0.headers().get("grpc-status");
    let value = value.or_else(|| answer.1.get("grpc-status")).unwrap();
    value.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_services_are_unimplemented() {
    let router = Running::start(&[]).await;
    let mut http2 = http2(&router).await;
    let bearer = format!("Bearer {}", token("nobody"));
    for path in [
        "/jumpstarter.v1.RouterService/Streams",
        "/jumpstarter.v1.RouterService/stream",
        "/jumpstarter.v1.RouterService/Stream/",
        "/jumpstarter.v1.RouterService",
        "/jumpstarter.v1.ControllerService/Register",
        "/",
    ] {
        let headers = [("content-type", GRPC), ("authorization", &bearer)];
        let answer = ask(&mut http2, Method::POST, path, &headers).await;
        assert_eq!(answer.0.status(), StatusCode::OK, "{path}");
        assert_eq!(grpc_status(&answer), "12", "{path}");
    }
    assert_eq!(router.metrics().streams.get(), 0, "nothing was admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_takes_no_method_but_post() {
    let router = Running::start(&[]).await;
    let mut http2 = http2(&router).await;
    let bearer = format!("Bearer {}", token("nobody"));
    let headers = [("content-type", GRPC), ("authorization", &bearer)];
    for method in [Method::GET, Method::PUT, Method::HEAD, Method::OPTIONS] {
        let answer = ask(&mut http2, method.clone(), STREAM, &headers).await;
        assert_eq!(grpc_status(&answer), "12", "{method}");
    }
    assert_eq!(router.metrics().stream_refusals.get("method").get(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_grpc_gets_a_status_of_http() {
    let router = Running::start(&[]).await;
    let mut http2 = http2(&router).await;
    let bearer = format!("Bearer {}", token("nobody"));
    for kind in ["application/json", "text/plain", "application/grpc-web", ""] {
        let headers = [("content-type", kind), ("authorization", &bearer)];
        let (head, _) = ask(&mut http2, Method::POST, STREAM, &headers).await;
        assert_eq!(
            head.status(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{kind:?}"
        );
        assert!(!head.headers().contains_key("grpc-status"), "{kind:?}");
    }
    let (head, _) = ask(&mut http2, Method::GET, STREAM, &[]).await;
    assert_eq!(head.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(router.metrics().stream_refusals.get("not_grpc").get(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn subtypes_of_the_grpc_content_type_are_let_through_to_the_token() {
    let router = Running::start(&[]).await;
    let mut http2 = http2(&router).await;
    for kind in [
        GRPC,
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
    ] {
        let answer = ask(&mut http2, Method::POST, STREAM, &[("content-type", kind)]).await;
        assert_eq!(grpc_status(&answer), "16", "{kind}");
    }
    let refused = router.metrics().stream_refusals.get("missing_header").get();
    assert_eq!(refused, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_leave_their_connection_usable() {
    let router = Running::start(&[]).await;
    let mut pair = router.pair("innocent").await;
    let mut http2 = http2(&router).await;
    let refused = async {
        for round in 0..50 {
            let path = if round % 2 == 0 { STREAM } else { "/x" };
            let answer = ask(&mut http2, Method::POST, path, &[("content-type", GRPC)]).await;
            assert_eq!(answer.0.status(), StatusCode::OK);
        }
    };
    pair.while_doing(refused).await;
    assert_eq!(router.metrics().panics.get(), 0);
}
