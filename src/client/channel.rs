//! Channels of tonic over a [`Connector`]'s connections.

use std::{error::Error, io};

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};

use super::connect::{ConnectError, Connector, Io};

impl Connector {
    /// Makes a gRPC channel over one new connection.
    ///
    /// A channel that reconnects by itself would hide that the connection was lost.
    pub async fn channel(&self) -> Result<Channel, ConnectError> {
        let endpoint = self
            .uri()?
            .initial_stream_window_size(self.window)
            .initial_connection_window_size(self.window);
        let this = self.clone();
        let connect = tower::service_fn(move |_: Uri| this.clone().wire());
        let channel = Box::pin(endpoint.connect_with_connector(connect));
        Ok(channel.await?)
    }

    /// Makes a gRPC channel that connects when it is used, and again when its connection was lost. With keepalive.
    pub fn lazy_channel(&self) -> Result<Channel, ConnectError> {
        let endpoint = self
            .uri()?
            .http2_keep_alive_interval(self.keepalive.interval)
            .keep_alive_timeout(self.keepalive.timeout)
            .keep_alive_while_idle(true);
        let this = self.clone();
        let connect = tower::service_fn(move |_: Uri| this.clone().wire());
        Ok(endpoint.connect_with_connector_lazy(connect))
    }

    fn uri(&self) -> Result<Endpoint, ConnectError> {
        let uri = format!("http://{}", self.authority());
        Ok(Endpoint::from_shared(uri)?)
    }

    async fn wire(self) -> io::Result<TokioIo<Io>> {
        self.io().await.map(TokioIo::new).map_err(io::Error::other)
    }
}

impl ConnectError {
    /// Finds this error in one of the causes of what tonic reports.
    pub(super) fn inside<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let error: &io::Error = cause.downcast_ref()?;
        error.get_ref()?.downcast_ref()
    }
}
