//! Bodies: read whole within bounds, and parsed with errors that say what to write instead.
//!
//! A body is JSON whatever its `Content-Type` says; the header is not looked at. A member that nobody knows is refused: a misspelt `key` would
//! cost the publish its idempotency in silence.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, header};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::dialect::command::{self, MAX_DEPTH};
use crate::dialect::{ErrorCode, Failure};

/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Failure> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Failure::new(
            ErrorCode::UnsupportedMediaType,
            format!("the body comes with `Content-Encoding: {encoding:?}`: send it as it is"),
        ));
    }
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_over_limit(&error) => Err(too_large(limit)),
        Ok(Err(_)) => Err(Failure::new(
            ErrorCode::BadRequest,
            "the body ended before its time",
        )),
        Err(_) => Err(Failure::new(
            ErrorCode::RequestTimeout,
            format!(
                "the body took longer than {} seconds",
                BODY_TIMEOUT.as_secs()
            ),
        )),
    }
}

fn too_large(limit: usize) -> Failure {
    Failure::new(
        ErrorCode::TooLarge,
        format!("the body has more than {limit} bytes"),
    )
}

fn is_over_limit(error: &axum::Error) -> bool {
    let source = std::error::Error::source(error);
    source.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

/// Parses a body, which stays the owner of what is borrowed from it.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Failure> {
    use serde_json::error::Category;
    command::check_depth(body).map_err(|_| {
        Failure::new(
            ErrorCode::BadRequest,
            format!("the body is nested more than {MAX_DEPTH} deep"),
        )
    })?;
    serde_json::from_slice(body).map_err(|error| {
        let problem = match error.classify() {
            Category::Data => "the body isn't what this path takes",
            Category::Syntax | Category::Eof | Category::Io => "the body is not JSON",
        };
        Failure::new(ErrorCode::BadRequest, format!("{problem}: {error}"))
    })
}

/// `"data":null` is data; only a missing member is none.
pub(super) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::HeaderValue;
    use futures::stream;

    use super::*;

    async fn code_of(headers: HeaderMap, body: Body) -> Result<Bytes, ErrorCode> {
        read(&headers, body, 10)
            .await
            .map_err(|failure| failure.code)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_takes_too_long_is_given_up() {
        let endless = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let given_up = code_of(HeaderMap::new(), endless).await;
        assert_eq!(given_up, Err(ErrorCode::RequestTimeout));
    }

    #[tokio::test]
    async fn a_body_is_too_large_by_what_it_says_and_by_what_it_is() {
        let whole = code_of(HeaderMap::new(), Body::from("ten bytes!")).await;
        assert_eq!(whole.as_deref(), Ok(&b"ten bytes!"[..]));
        let larger = code_of(HeaderMap::new(), Body::from("eleven byte")).await;
        assert_eq!(larger, Err(ErrorCode::TooLarge));
        let says = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(11))]);
        let declared = code_of(says, Body::empty()).await;
        assert_eq!(declared, Err(ErrorCode::TooLarge));
    }

    #[tokio::test]
    async fn a_body_that_is_cut_off_is_no_large_one() {
        let broken = stream::iter([Ok(Bytes::from("abc")), Err(std::io::Error::other("cut"))]);
        let cut_off = code_of(HeaderMap::new(), Body::from_stream(broken)).await;
        assert_eq!(cut_off, Err(ErrorCode::BadRequest));
    }
}
