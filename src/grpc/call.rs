//! One call of `RouterService/Stream`, as those make it who call a router.

use h2::client::Builder;
use http::{HeaderValue, Method, Request, Uri, Version, header};

/// The HTTP/2 path of the call.
pub const PATH: &str = "/jumpstarter.v1.RouterService/Stream";

/// The head of the call; `authorization` holds the token.
pub(crate) fn request(uri: Uri, authorization: HeaderValue) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, grpc);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::AUTHORIZATION, authorization);
    request
}

/// Settings of a connection for such calls. `window` is what may come in a stream before it is read, and `send_buffer`
/// what h2 holds of a stream before it is written, in bytes.
pub(crate) fn http2(window: u32, send_buffer: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(window)
        .initial_connection_window_size(window)
        .max_send_buffer_size(send_buffer)
        // A partner may send any number of small messages before they are read here: the window bounds them.
        .data_frame_budget(usize::MAX)
        .enable_push(false);
    builder
}
