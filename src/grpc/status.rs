//! gRPC statuses as HTTP/2 trailers and heads (gRPC over HTTP/2, "Responses").

use http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use tonic::{Code, Status};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Writes the status as trailers; the message is percent-encoded.
pub(crate) fn trailers(code: Code, message: &str) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(2);
    // Fails only for metadata, and there is none.
    let _ = Status::new(code, message).add_header(&mut map);
    map
}

/// Makes a response that is only a status: the head that also ends the stream.
pub(crate) fn trailers_only(code: Code, message: &str) -> Response<()> {
    let mut response = head();
    response.headers_mut().extend(trailers(code, message));
    response
}

/// Makes the head of a response whose messages follow.
pub(crate) fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// Answers a call whose head cannot be read as grpc-go does, with an HTTP status for those who know no other.
pub(crate) fn bad_request(message: &str) -> Response<()> {
    let mut response = trailers_only(Code::Internal, message);
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// Answers a request that is not gRPC (gRPC over HTTP/2, "Requests": content-type).
pub(crate) fn unsupported_media_type() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

/// Words a status for people: its message, if it has one, and the code's name.
pub(crate) fn described(status: &Status) -> String {
    let code = name(status.code());
    match status.message() {
        "" => code.to_owned(),
        message => format!("{message} ({code})"),
    }
}

/// Gives the code's name as the gRPC specification writes it.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
