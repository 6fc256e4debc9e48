//! The answer of a call: its head, once, then its body, then its status.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{SendStream, server::SendResponse};
use http::Response;
use http_body::Body;

use crate::{
    grpc::status,
    transport::{limits::refusal::Refusal, outgoing::Outgoing},
};

/// How much of the answer has been said.
pub(super) struct Reply {
    respond: SendResponse<Outgoing>,
    body: Option<SendStream<Outgoing>>,
    over: bool,
}

impl Reply {
    /// Starts with nothing sent.
    pub(super) fn new(respond: SendResponse<Outgoing>) -> Self {
        Self {
            respond,
            body: None,
            over: false,
        }
    }

    /// Ready when the caller has left, before the head of the answer.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(drop)
    }

    /// Sends what the service answers. An error means that the caller is gone.
    pub(super) async fn send<B>(
        &mut self,
        response: Response<B>,
        moved: &AtomicU64,
    ) -> Result<(), h2::Error>
    where
        B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
    {
        let (head, mut body) = response.into_parts();
        let mut head = Response::from_parts(head, ());
        // Connection-level headers have no place in HTTP/2; tonic sets none, a service might.
        head.headers_mut().remove(http::header::CONNECTION);
        let ended = body.is_end_stream();
        self.over = ended;
        let stream = self.body.insert(self.respond.send_response(head, ended)?);
        while !self.over {
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
                Ok(None) => {
                    self.over = true;
                    return stream.send_data(Outgoing::default(), true);
                }
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "a service failed in its body");
                    self.over = true;
                    stream.send_reset(h2::Reason::INTERNAL_ERROR);
                }
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        send(stream, data).await?;
                        moved.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(frame) => {
                        self.over = true;
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return stream.send_trailers(trailers);
                    }
                },
            }
        }
        Ok(())
    }

    /// Ends the call early.
    pub(super) fn refuse(mut self, refusal: &Refusal) {
        // An error means that the caller is gone.
        match &mut self.body {
            _ if self.over => {}
            None => {
                let _ = self.respond.send_response(refusal.response(), true);
            }
            Some(body) => {
                let trailers = status::trailers(refusal.row().1, &refusal.to_string());
                let _ = body.send_trailers(trailers);
            }
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
