//! Where a request carries its token.

use std::borrow::Cow;

use axum::http::{HeaderMap, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::dialect::{BEARER_PREFIX, SUBPROTOCOL};

/// The values of a query parameter, decoded, in order.
pub fn query_values<'a>(uri: &'a Uri, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .filter(move |(key, _)| key == name)
        .map(|(_, value)| value)
}

/// The token in `Authorization: Bearer …`.
pub fn from_authorization(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What a client offers in `Sec-WebSocket-Protocol`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// It offers this protocol by name; then the answer has to name it too.
    pub named: bool,
    pub token: Option<String>,
}

impl Offer {
    pub fn of(headers: &HeaderMap) -> Self {
        let mut offer = Self::default();
        let values = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok());
        for protocol in values.flat_map(|value| value.split(',')).map(str::trim) {
            if protocol == SUBPROTOCOL {
                offer.named = true;
            } else if let Some(encoded) = protocol.strip_prefix(BEARER_PREFIX) {
                // What can't be decoded can't be verified either: an empty token is refused as one.
                let decoded = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('='));
                offer.token = Some(
                    decoded
                        .ok()
                        .and_then(|bytes| String::from_utf8(bytes).ok())
                        .unwrap_or_default(),
                );
            }
        }
        offer
    }
}

/// The token of a request, wherever it is: the subprotocol first, then the header, then the query.
pub fn find(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    Offer::of(headers)
        .token
        .or_else(|| from_authorization(headers).map(str::to_owned))
        .or_else(|| query_values(uri, "token").next().map(Cow::into_owned))
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_token_is_found_in_all_three_places() {
        let uri: Uri = "/v1/ws?room=a&token=query%2Btoken".parse().unwrap();
        assert_eq!(
            find(&HeaderMap::new(), &uri).as_deref(),
            Some("query+token")
        );
        let header_ = headers(&[(header::AUTHORIZATION, "bearer  header-token")]);
        assert_eq!(find(&header_, &uri).as_deref(), Some("header-token"));
        // "a.b.c" in base64url.
        let protocol = headers(&[
            (header::AUTHORIZATION, "Bearer header-token"),
            (header::SEC_WEBSOCKET_PROTOCOL, "rotunda.v1, bearer.YS5iLmM"),
        ]);
        assert_eq!(find(&protocol, &uri).as_deref(), Some("a.b.c"));
        assert!(Offer::of(&protocol).named);
    }

    #[test]
    fn a_subprotocol_that_is_no_base64_is_no_token() {
        let protocol = headers(&[(header::SEC_WEBSOCKET_PROTOCOL, "bearer.%%%")]);
        assert_eq!(find(&protocol, &"/v1/ws".parse().unwrap()), None);
        assert!(!Offer::of(&protocol).named);
    }
}
