//! Passes calls of other services (health, reflection) from `h2` to tonic.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{Request, Response};
use http_body::{Body, Frame};
use tonic::service::Routes;
use tower::ServiceExt;

use super::outgoing::Outgoing;

/// A request's body. Credit is returned as soon as a chunk is read: these services read small messages.
struct RequestBody {
    stream: RecvStream,
    data_ended: bool,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    self.stream.flow_control().release_capacity(chunk.len())?;
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx)?);
        Poll::Ready(trailers.map(|map| Ok(Frame::trailers(map))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// Serves one call. An error means that the caller is gone.
pub async fn serve(
    routes: Routes,
    request: Request<RecvStream>,
    mut respond: SendResponse<Outgoing>,
) -> Result<(), h2::Error> {
    let request = request.map(|stream| {
        tonic::body::Body::new(RequestBody {
            stream,
            data_ended: false,
        })
    });
    let Ok(response) = routes.oneshot(request).await;
    let (head, mut body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    // Connection-level headers have no place in HTTP/2; tonic sets none, a service might.
    head.headers_mut().remove(http::header::CONNECTION);
    let mut stream = respond.send_response(head, body.is_end_stream())?;
    if body.is_end_stream() {
        return Ok(());
    }
    loop {
        // A caller that leaves a streaming call (Watch) must not be held until the next message.
        let frame = poll_fn(|cx| {
            if let Poll::Ready(reset) = stream.poll_reset(cx) {
                return Poll::Ready(Err(reset));
            }
            Pin::new(&mut body).poll_frame(cx).map(Ok)
        })
        .await;
        match frame {
            Err(_gone) => return Ok(()),
            Ok(None) => return stream.send_data(Outgoing::default(), true),
            Ok(Some(Err(status))) => {
                tracing::debug!(%status, "a service failed in its body");
                stream.send_reset(h2::Reason::INTERNAL_ERROR);
                return Ok(());
            }
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => send(&mut stream, data).await?,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return stream.send_trailers(trailers);
                }
            },
        }
    }
}

async fn send(stream: &mut SendStream<Outgoing>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(more) => more?,
                None => return Ok(()),
            };
        }
        let step = stream.capacity().min(data.len());
        stream.send_data(data.split_to(step).into(), false)?;
    }
    Ok(())
}
