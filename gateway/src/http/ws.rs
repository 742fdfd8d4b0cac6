//! `GET /v1/ws`: from an HTTP request to a running connection.
//!
//! What a script in a browser must be able to tell apart is answered after the upgrade, as a close code; what must not get that far (a
//! foreign page, a full gateway) is refused before it. The stream is taken over from hyper and owned from then on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::Instrument;

use super::routes::Routes;
use super::token::{self, Offer, query_values};
use super::{admission, client_address, wanted};
use crate::connection::seat::Seat;
use crate::connection::session::{self, Wishes};
use crate::connection::shared_stream::SharedStream;
use crate::connection::socket::Socket;
use crate::connection::{Outbox, Transport};
use crate::dialect::command;
use crate::dialect::{CloseReason, ErrorCode, Failure, SUBPROTOCOL};
use crate::gateway::Gateway;
use crate::server::Takeover;

/// How long a refused connection may take to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(3);

/// A frame may be larger than the largest message by this: the rest of its members.
const FRAME_OVERHEAD: usize = 16 * 1024;

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/ws", upgrade)
}

/// Answers a request for a WebSocket.
pub async fn upgrade(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let started = Instant::now();
    let Some(accept) = accept_key(request.method(), request.headers()) else {
        let failure = Failure::new(
            ErrorCode::BadRequest,
            "this is a WebSocket endpoint: the request must ask for an upgrade (version 13)",
        );
        let mut response = (StatusCode::UPGRADE_REQUIRED, failure.body()).into_response();
        response
            .headers_mut()
            .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        response.headers_mut().insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
        return response;
    };
    let settings = gateway.settings();
    let client = client_address::find(&settings, request.extensions(), request.headers());
    if let Err(failure) = admission::in_time(&gateway, client) {
        return failure.into_response();
    }
    let mut turn = match admission::enter(&gateway).await {
        Ok(turn) => turn,
        Err(busy) => return busy.into_response(),
    };
    let token = token::find(request.headers(), request.uri());
    let authentication = settings.authenticator.authenticate(token.as_deref());
    let admitted = turn
        .during(authentication)
        .await
        .map_err(crate::auth::AuthError::close_reason)
        .and_then(|identity| {
            gateway
                .ready()
                .map(|()| identity)
                .map_err(|_| CloseReason::Unavailable)
        });
    let mut wishes = wishes(request.uri());
    let max_frame = settings.config.limits.message_bytes as usize + FRAME_OVERHEAD;
    let mut response = switching_protocols(&accept, Offer::of(request.headers()).named);
    let takeover = Takeover::new(async move |stream, read_ahead| {
        let stream = SharedStream::new(stream);
        let shared = stream.shared();
        let socket = Box::new(Socket::new(stream, &read_ahead, max_frame));
        let taken =
            admitted.and_then(|identity| Seat::take(&gateway, identity, Transport::WebSocket));
        let seat = match taken {
            Ok(seat) => seat,
            Err(reason) => {
                drop(turn);
                return refuse(&gateway, socket, reason).await;
            }
        };
        seat.connection().outbox.write_through(shared);
        wishes.turn = Some(turn.arrived());
        gateway
            .metrics
            .handshake_seconds
            .observe(started.elapsed().as_secs_f64());
        // A task of its own, so that what the handshake held is not held for as long as the connection lasts.
        gateway.tracker.spawn(run(seat, socket, wishes, client));
    });
    response.extensions_mut().insert(takeover);
    response
}

async fn run(
    seat: Seat,
    socket: Box<Socket<SharedStream>>,
    wishes: Wishes,
    client: Option<IpAddr>,
) {
    let connection = seat.connection();
    let transport = connection.transport.as_str();
    let span = tracing::debug_span!("connection", id = %connection.id, transport);
    tracing::debug!(parent: &span, ?client, user = %connection.user, "connected");
    let reason = session::run(seat, socket, wishes)
        .instrument(span.clone())
        .await;
    tracing::debug!(parent: &span, reason = reason.reason(), "disconnected");
}

/// Tells a client by close code why it isn't let in.
async fn refuse(gateway: &Gateway, mut socket: Box<Socket<SharedStream>>, reason: CloseReason) {
    gateway.metrics.refused(reason.reason());
    let nothing = Outbox::new(0, Arc::clone(&gateway.backlog));
    let closing = socket.close(reason, &nothing, &gateway.metrics);
    tokio::time::timeout(REFUSAL_TIMEOUT, closing).await.ok();
}

/// What proves that the request was understood (RFC 6455, section 4.2); `None` when it isn't one for a WebSocket.
fn accept_key(method: &Method, headers: &HeaderMap) -> Option<String> {
    let has = |name, wanted: &str| {
        let values = headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    let asks = *method == Method::GET
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks)?;
    Some(derive_accept_key(key.as_bytes()))
}

fn switching_protocols(accept: &str, named: bool) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if named {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
    }
    response
}

/// The rooms to join at once. Each `last_seen_id` belongs to the `room` at the same place, unless it is one for all; an empty one stands for
/// none.
pub fn wishes(uri: &Uri) -> Wishes {
    let mut wishes = Wishes {
        heartbeat_frames: query_values(uri, "heartbeat").any(|value| value == "1"),
        ..Wishes::default()
    };
    let ids: Vec<_> = query_values(uri, "last_seen_id").collect();
    for (place, room) in query_values(uri, "room").enumerate() {
        let wish = command::room_name(Some(&room)).and_then(|room| {
            let last_seen = wanted::last_seen(&ids, place, &room)?;
            Ok((room, last_seen))
        });
        match wish {
            Ok(wish) => wishes.rooms.push(wish),
            Err(failure) => wishes.failures.push(failure),
        }
    }
    wishes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Position;

    #[test]
    fn cursors_belong_to_rooms_by_their_place() {
        let wishes = wishes(
            &"/v1/ws?room=a&room=b&last_seen_id=&last_seen_id=7-3&room=c&heartbeat=1"
                .parse()
                .unwrap(),
        );
        let rooms: Vec<_> = wishes
            .rooms
            .iter()
            .map(|(room, position)| (room.as_str(), *position))
            .collect();
        assert_eq!(
            rooms,
            [("a", None), ("b", Some(Position::new(7, 3))), ("c", None)]
        );
        assert!(wishes.heartbeat_frames);
    }

    #[test]
    fn an_impossible_room_or_cursor_becomes_an_answer() {
        let wishes = wishes(
            &"/v1/ws?room=a+b&room=ok&last_seen_id=&last_seen_id=x"
                .parse()
                .unwrap(),
        );
        assert!(wishes.rooms.is_empty());
        let codes: Vec<_> = wishes.failures.iter().map(|failure| failure.code).collect();
        assert_eq!(codes, [ErrorCode::InvalidRoom, ErrorCode::InvalidId]);
    }
}
