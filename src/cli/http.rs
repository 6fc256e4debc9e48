//! Asks over HTTP/1.1, with a connection for each request.

use std::error::Error;

use bytes::Bytes;
use http::{StatusCode, header, request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Sends a request, whose target is a path, and gives status and body of the answer. Once there are `most` bytes of the
/// body, the rest is not waited for. The caller sets the deadline.
pub(super) async fn exchange(
    authority: &str,
    request: request::Builder,
    most: usize,
) -> Result<(StatusCode, Vec<u8>), Box<dyn Error + Send + Sync>> {
    let request = request.header(header::HOST, authority);
    let request = request.body(Empty::<Bytes>::new())?;
    tracing::debug!(address = authority, "connecting");
    let socket = TcpStream::connect(authority).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let answer = async move {
        let response = requests.send_request(request).await?;
        let status = response.status();
        tracing::debug!(%status, "answered");
        let (mut body, mut bytes) = (response.into_body(), Vec::new());
        while bytes.len() < most
            && let Some(frame) = body.frame().await
        {
            bytes.extend_from_slice(&frame?.into_data().unwrap_or_default());
        }
        Ok((status, bytes))
    };
    // The connection moves the bytes. How it ends afterwards does not matter.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
