//! What is handed to the parts, here and in `counted`.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jumpstarter_router::inside::auth::{Claims, mint};

/// The largest DATA frame that peers send unless told otherwise.
pub const FRAME: usize = 16 * 1024;

/// Messages up to this length are held back until they are whole, as in `transport::call::stream`.
pub const WHOLE: u64 = 80 * 1024;

/// Signs the tokens.
pub const KEY: &[u8] = b"a key of thirty-two bytes or more";

/// A gRPC message of `length` bytes behind its prefix.
pub fn message(length: usize) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    bytes.resize(5 + length, 7);
    bytes.into()
}

/// The headers of a call with a token for `subject`.
pub fn headers(key: &[u8], subject: &str) -> HeaderMap {
    let token = mint(key, &Claims::new(subject, SystemTime::now()));
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}
