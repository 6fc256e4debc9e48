//! One call of `RouterService/Stream`.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, metadata::MetadataValue, transport::Channel};

use jumpstarter_router::protocol::v1::{
    FrameType, StreamRequest, StreamResponse, router_service_client::RouterServiceClient,
};

/// A call that has met its partner.
#[derive(Debug)]
pub struct Call {
    /// Where to send; dropping it half-closes.
    pub send: mpsc::Sender<StreamRequest>,
    /// What the partner sends, then the status.
    pub receive: Streaming<StreamResponse>,
}

/// Calls the router and waits for the partner. Dropping the future cancels the call.
///
/// `early` is sent at once, before the partner is there.
pub async fn call(
    channel: Channel,
    token: &str,
    early: Vec<StreamRequest>,
) -> Result<Call, Status> {
    let (send, outgoing) = mpsc::channel(16);
    let outgoing =
        tokio_stream::StreamExt::chain(tokio_stream::iter(early), ReceiverStream::new(outgoing));
    let mut request = Request::new(outgoing);
    let bearer = MetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Status::invalid_argument("the token holds characters no header may have"))?;
    request.metadata_mut().insert("authorization", bearer);
    let response = RouterServiceClient::new(channel).stream(request).await?;
    Ok(Call {
        send,
        receive: response.into_inner(),
    })
}

/// A frame of payload.
pub fn data(payload: impl Into<bytes::Bytes>) -> StreamRequest {
    StreamRequest {
        payload: payload.into(),
        frame_type: FrameType::Data.into(),
    }
}

/// The frame that says that no more data follows.
pub fn goaway() -> StreamRequest {
    StreamRequest {
        payload: bytes::Bytes::new(),
        frame_type: FrameType::Goaway.into(),
    }
}
