//! `GET /v1/poll`: long-polling, and with `wait=0` plain polling, for clients that can hold nothing open.
//!
//! A client asks with the id of the last answer and gets what came since. When it hangs up, hyper drops the future, and the seat with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};

use super::routes::Routes;
use super::token::query_values;
use super::{admission, client_address, wanted};
use crate::connection::Transport;
use crate::connection::poll::{self, Answer};
use crate::connection::seat::Seat;
use crate::dialect::{CloseReason, ErrorCode, Failure};
use crate::gateway::Gateway;
use crate::limits::Kind;
use crate::overload::Turn;

/// How long a poll waits if it doesn't say, and at most.
const DEFAULT_WAIT_SECONDS: u64 = 25;
const MAX_WAIT_SECONDS: u64 = 60;

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/poll", poll)
}

/// Answers a poll.
pub async fn poll(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    // Those that follow are held to the rate of their user.
    if !wanted::goes_on(&head.headers, &head.uri) {
        let client = client_address::find(&gateway.settings(), &head.extensions, &head.headers);
        if let Err(failure) = admission::in_time(&gateway, client) {
            return failure.into_response();
        }
    }
    let turn = match admission::enter(&gateway).await {
        Ok(turn) => turn,
        Err(busy) => return busy.into_response(),
    };
    let answer = try_poll(&gateway, &head, turn).await;
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    if gateway.is_draining() {
        // The next poll is to find another gateway: on this connection it would find this one.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

async fn try_poll(
    gateway: &Arc<Gateway>,
    head: &Parts,
    mut turn: Turn,
) -> Result<Response, Failure> {
    let (headers, uri) = (&head.headers, &head.uri);
    let admission = admission::admit(gateway, headers, uri);
    let identity = turn.during(admission).await?;
    let rooms = wanted::rooms(headers, uri)?;
    let wait = wait(uri)?;
    if head.method == Method::HEAD {
        return Ok(json(Bytes::new()));
    }
    let limits = gateway.settings().config.limits.clone();
    gateway
        .user_limits
        .admit(&identity.user, Kind::Command, &limits, Instant::now())
        .inspect_err(|_| {
            gateway.metrics.rate_limited.inc();
        })?;
    let mut seat = Seat::take(gateway, identity, Transport::Poll)
        .map_err(|_| admission::too_many_connections(gateway))?;
    let answer = poll::gather(&seat, rooms, turn.arrived(), wait).await;
    let reason = match &answer {
        Ok(_) => seat
            .connection()
            .outbox
            .closing()
            .unwrap_or(CloseReason::Answered),
        Err(failure) if failure.code == ErrorCode::Forbidden => CloseReason::Forbidden,
        Err(_) => CloseReason::Unavailable,
    };
    seat.leave(reason);
    let answer = answer?;
    let body = gateway.hold_answer(encode(&answer))?;
    let delivered = answer.events.len() as u64;
    let metrics = gateway.metrics.of(Transport::Poll);
    metrics.messages_delivered.inc_by(delivered);
    Ok(json(body))
}

fn wait(uri: &Uri) -> Result<Duration, Failure> {
    let Some(text) = query_values(uri, "wait").next() else {
        return Ok(Duration::from_secs(DEFAULT_WAIT_SECONDS));
    };
    match text.parse() {
        Ok(seconds) if seconds <= MAX_WAIT_SECONDS => Ok(Duration::from_secs(seconds)),
        _ => Err(Failure::new(
            ErrorCode::BadRequest,
            format!("`wait` is a number of seconds from 0 to {MAX_WAIT_SECONDS}"),
        )),
    }
}

/// `{"id":…,"events":[…],"more":…}`. An id needs no escaping.
fn encode(answer: &Answer) -> Bytes {
    let size: usize = answer
        .events
        .iter()
        .map(|frame| frame.json().len() + 1)
        .sum();
    let mut body = BytesMut::with_capacity(size + answer.id.len() + 48);
    body.put_slice(br#"{"id":""#);
    body.put_slice(answer.id.as_bytes());
    body.put_slice(br#"","events":["#);
    for (index, frame) in answer.events.iter().enumerate() {
        if index > 0 {
            body.put_u8(b',');
        }
        body.put_slice(frame.json());
    }
    body.put_slice(if answer.more {
        br#"],"more":true}"#
    } else {
        br#"],"more":false}"#
    });
    body.freeze()
}

fn json(body: Bytes) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, kind, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::event;

    #[test]
    fn a_poll_waits_as_long_as_it_says_within_bounds() {
        let wait = |query: &str| wait(&format!("/v1/poll?{query}").parse().unwrap());
        assert_eq!(wait("room=a"), Ok(Duration::from_secs(25)));
        assert_eq!(wait("wait=0"), Ok(Duration::ZERO));
        assert_eq!(wait("wait=60"), Ok(Duration::from_mins(1)));
        for bad in ["wait=61", "wait=-1", "wait=", "wait=1.5", "wait=soon"] {
            assert_eq!(wait(bad).unwrap_err().code, ErrorCode::BadRequest, "{bad}");
        }
    }

    #[test]
    fn an_answer_is_json_also_without_events() {
        let heartbeat = event::heartbeat();
        for (events, more, text) in [
            (vec![], false, r#"{"id":"7-3","events":[],"more":false}"#),
            (
                vec![heartbeat.clone(), heartbeat],
                true,
                r#"{"id":"7-3","events":[{"type":"heartbeat"},{"type":"heartbeat"}],"more":true}"#,
            ),
        ] {
            let id = "7-3".to_owned();
            assert_eq!(encode(&Answer { id, events, more }), text);
        }
    }
}
