//! `GET /v1/sse`: from an HTTP request to a running event stream.
//!
//! A refusal is an HTTP answer with a body that says why; an EventSource, which can't read it, stops for good at any status but 200. The stream
//! itself is taken over from hyper, which would keep 16 KiB for each.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rotunda_crds::config::HeartbeatConfig;
use socket2::SockRef;
use tokio::net::TcpStream;
use tracing::Instrument;

use super::routes::Routes;
use super::wanted::{self, Wanted};
use super::{admission, client_address};
use crate::connection::event_stream::EventStream;
use crate::connection::seat::Seat;
use crate::connection::{Transport, sse};
use crate::dialect::Failure;
use crate::dialect::cursor::{self, Place};
use crate::dialect::sse::CONTENT_TYPE;
use crate::gateway::Gateway;
use crate::overload::Turn;
use crate::server::Takeover;

/// nginx and others of its kind then pass each event on at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/sse", open)
}

/// Answers a request for an event stream.
pub async fn open(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (request, _) = request.into_parts();
    let started = Instant::now();
    let ended = request
        .headers
        .get(wanted::LAST_EVENT_ID)
        .is_some_and(|id| cursor::is_ended(id.to_str().unwrap_or_default()));
    if ended {
        // An EventSource that was told not to come back, and did: this stops it (HTML Living Standard, section 9.2.3).
        return StatusCode::NO_CONTENT.into_response();
    }
    let settings = gateway.settings();
    let client = client_address::find(&settings, &request.extensions, &request.headers);
    if let Err(failure) = admission::in_time(&gateway, client) {
        return failure.into_response();
    }
    match admission::enter(&gateway).await {
        Ok(turn) => try_open(&gateway, &request, client, turn, started)
            .await
            .unwrap_or_else(IntoResponse::into_response),
        Err(busy) => busy.into_response(),
    }
}

async fn try_open(
    gateway: &Arc<Gateway>,
    request: &Parts,
    client: Option<IpAddr>,
    mut turn: Turn,
    started: Instant,
) -> Result<Response, Failure> {
    let admission = admission::admit(gateway, &request.headers, &request.uri);
    let identity = turn.during(admission).await?;
    let rooms = wanted::rooms(&request.headers, &request.uri)?;
    let mut response = head();
    if request.method == Method::HEAD {
        return Ok(response);
    }
    let seat = Seat::take(gateway, identity, Transport::Sse)
        .map_err(|_| admission::too_many_connections(gateway))?;
    let turn = turn.arrived();
    let silence = silence(&gateway.settings().config.heartbeat);
    let takeover = Takeover::new(async move |stream: TcpStream, _: Bytes| {
        let gateway = Arc::clone(seat.gateway());
        // Without it a client whose network went away would be kept for a quarter of an hour.
        if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(silence)) {
            tracing::debug!(%error, "a stream's silence can't be bounded");
        }
        let place = Place::new(rooms.iter().map(|(room, position)| (room, *position)));
        let stream = Box::new(EventStream::new(stream, place));
        gateway
            .metrics
            .handshake_seconds
            .observe(started.elapsed().as_secs_f64());
        // A task of its own, so that what the handshake held is not held for as long as the stream lasts.
        gateway
            .tracker
            .spawn(run(seat, stream, rooms, turn, client));
    });
    response.extensions_mut().insert(takeover);
    Ok(response)
}

/// How long a client may acknowledge nothing: a heartbeat and the time to answer it, as for a WebSocket's ping.
fn silence(heartbeat: &HeartbeatConfig) -> Duration {
    let seconds = heartbeat
        .interval_seconds
        .saturating_add(heartbeat.timeout_seconds);
    Duration::from_secs(u64::from(seconds.max(1)))
}

/// The stream ends with the connection: that needs no framing, and HTTP/1.0, which proxies speak, has none.
fn head() -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, no-transform"),
    );
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn run(
    seat: Seat,
    stream: Box<EventStream<TcpStream>>,
    rooms: Vec<Wanted>,
    turn: Turn,
    client: Option<IpAddr>,
) {
    let connection = seat.connection();
    let transport = connection.transport.as_str();
    let span = tracing::debug_span!("connection", id = %connection.id, transport);
    tracing::debug!(parent: &span, ?client, user = %connection.user, "connected");
    let reason = sse::run(seat, stream, rooms, Some(turn))
        .instrument(span.clone())
        .await;
    tracing::debug!(parent: &span, reason = reason.reason(), "disconnected");
}
