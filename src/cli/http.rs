//! Asks over HTTP/1.1, with a connection for each request: a router's own listeners answer no second one.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Sends a request, whose target is a path, to `host` over `io`. Once there are `most` bytes of the answer's body, the
/// rest is not waited for. The caller sets the deadline.
pub(super) async fn exchange(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    request: request::Builder,
    content: Bytes,
    most: usize,
) -> Result<Answer, Box<dyn Error + Send + Sync>> {
    let request = request.header(header::HOST, host);
    let request = request.body(Full::new(content))?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(io)).await?;
    let answer = async move {
        let response = requests.send_request(request).await?;
        tracing::debug!(status = %response.status(), "answered");
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while bytes.len() < most
            && let Some(frame) = body.frame().await
        {
            bytes.extend_from_slice(&frame?.into_data().unwrap_or_default());
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: bytes,
        })
    };
    // The connection moves the bytes. How it ends afterwards does not matter.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
