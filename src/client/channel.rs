//! Channels of tonic over a [`Connector`]'s connections.

use std::{error::Error, io};

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};

use super::connect::{CONNECT_TIMEOUT, ConnectError, Connector};

impl Connector {
    /// Makes a gRPC channel over one new connection.
    ///
    /// A channel that reconnects by itself would hide that the connection was lost.
    pub async fn channel(&self) -> Result<Channel, ConnectError> {
        let endpoint = self
            .channel_endpoint()?
            .initial_stream_window_size(self.window)
            .initial_connection_window_size(self.window);
        Ok(endpoint.connect_with_connector(self.service()).await?)
    }

    /// Makes a gRPC channel that connects when it is used, and again when its connection was lost. With keepalive.
    pub fn lazy_channel(&self) -> Result<Channel, ConnectError> {
        let endpoint = self
            .channel_endpoint()?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(self.keepalive.interval)
            .keep_alive_timeout(self.keepalive.timeout)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_with_connector_lazy(self.service()))
    }

    fn channel_endpoint(&self) -> Result<Endpoint, ConnectError> {
        Ok(Endpoint::from_shared(format!(
            "http://{}",
            self.endpoint()
        ))?)
    }

    fn service(
        &self,
    ) -> impl tower::Service<
        Uri,
        Response = TokioIo<super::connect::Io>,
        Error = io::Error,
        Future: Send,
    > + Send
    + use<> {
        let this = self.clone();
        tower::service_fn(move |_: Uri| {
            let this = this.clone();
            async move { this.io().await.map(TokioIo::new).map_err(io::Error::other) }
        })
    }
}

impl ConnectError {
    /// Finds this error among the causes of what tonic reports.
    pub(super) fn among<'a>(mut cause: Option<&'a (dyn Error + 'static)>) -> Option<&'a Self> {
        while let Some(error) = cause {
            let inside = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            if let Some(found) = inside.and_then(|error| error.downcast_ref()) {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}
