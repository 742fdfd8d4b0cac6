//! The ports: sockets, HTTP/1.1 on them, and handing streams over to those who go on without HTTP.
//!
//! hyper serves each connection in a task of the gateway's tracker, with a limit on how long a request's head may take. It knows no routes:
//! those come as a router. What has to come before HTTP, an [`Entrance`] says. A response that carries a [`Takeover`] is the last that HTTP has to do
//! with its stream.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

mod entrance;
pub mod proxy_header;
mod takeover;

pub use entrance::{Entrance, Open, Refusal, Rules};
pub use takeover::Takeover;
use takeover::{Handover, Watched};

/// The kernel takes the smaller of this and `somaxconn`. A short backlog makes connects of a crowd wait a second for their retry.
const BACKLOG: u32 = 65_535;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For what comes before HTTP.
    pub opening: Duration,
    /// For the head of a request; also how long a kept connection may be idle.
    pub head: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            opening: Duration::from_secs(10),
            head: Duration::from_secs(10),
        }
    }
}

/// How connections of a port are treated.
#[derive(Clone)]
pub struct Terms {
    pub timeouts: Timeouts,
    pub entrance: Arc<dyn Entrance>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            entrance: Arc::new(Open),
        }
    }
}

/// The largest head of a request. A token may be long.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How much the kernel takes for a client beyond what is on the way to it (`TCP_NOTSENT_LOWAT` in tcp(7)): enough to keep a fast one busy. Without it, one
/// that doesn't read took 3.8 MB on loopback, with it 90 KB.
const UNSENT_BYTES: u32 = 64 * 1024;

/// Connections that may be new at the same time, for each processor: accepted, and their first request not read yet. The rest of a crowd waits in the
/// kernel's backlog, where it costs nothing, instead of between other tasks and their turn.
const NEW_PER_PROCESSOR: usize = 32;

/// How long a connection is new at most: one that sends nothing must not keep out others.
const LONGEST_NEW: Duration = Duration::from_millis(100);

/// A pause when the process can't take another connection, for instance for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on an address, with as long a backlog as the kernel gives.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves a router on a listener until told to stop; requests under way are finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    serve_on(Terms::default(), listener, router, tracker, stop).await;
}

/// As [`serve`], on terms of one's own.
pub async fn serve_on(
    terms: Terms,
    listener: TcpListener,
    router: Router,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let places = Arc::new(Semaphore::new(processors * NEW_PER_PROCESSOR));
    loop {
        let next = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            Ok((listener.accept().await?, place))
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            Ok(((stream, peer), place)) => {
                let (terms, router, stop) = (terms.clone(), router.clone(), stop.clone());
                tracker.spawn(serve_connection(terms, stream, peer, place, router, stop));
            }
            Err::<_, io::Error>(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Sets what an accepted connection needs of the kernel.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Frames are small and must not wait for each other.
    stream.set_nodelay(true)?;
    // What a slow client doesn't take waits in its outbox, where it counts, and not in megabytes of the kernel's.
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES)
}

async fn serve_connection(
    terms: Terms,
    mut stream: TcpStream,
    peer: SocketAddr,
    mut place: Option<OwnedSemaphorePermit>,
    router: Router,
    stop: CancellationToken,
) {
    if prepare(&stream).is_err() {
        return;
    }
    let passed = {
        let mut passing = pin!(entrance::pass(&terms, &mut stream, peer, &stop));
        if let Ok(passed) = tokio::time::timeout(LONGEST_NEW, &mut passing).await {
            passed
        } else {
            place = None;
            passing.await
        }
    };
    let Some(peer) = passed else {
        return;
    };
    if let Some((handover, mut stream, read_ahead)) =
        speak_http(terms.timeouts, stream, peer, place, router, stop).await
        && let Some(session) = handover.begin(&mut stream).await
    {
        session(stream, read_ahead).await;
    }
}

/// Serves requests until the connection ends, or until one of them takes it over: then returns the stream, and what was read of it already.
async fn speak_http(
    timeouts: Timeouts,
    stream: TcpStream,
    peer: SocketAddr,
    place: Option<OwnedSemaphorePermit>,
    router: Router,
    stop: CancellationToken,
) -> Option<(Handover, TcpStream, Bytes)> {
    let slot: Arc<Mutex<Option<Handover>>> = Arc::default();
    let taken = Arc::clone(&slot);
    let place = Mutex::new(place);
    let service = service_fn(|request: Request<Incoming>| {
        drop(place.lock().take());
        let (router, slot) = (router.clone(), Arc::clone(&slot));
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            tracing::debug!(method = %request.method(), path = request.uri().path(), "request");
            let Ok(mut response) = router.oneshot(request).await;
            if let Some(handover) = Handover::of(&mut response) {
                // hyper never sees this answer: the loop below finds the slot filled and takes the stream away.
                *slot.lock() = Some(handover);
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let (stream, blocked) = Watched::new(stream);
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut stopped = pin!(stop.cancelled());
    let mut stopping = false;
    let mut no_longer_new = pin!(tokio::time::sleep(LONGEST_NEW));
    let served = poll_fn(|context| {
        if !stopping && stopped.as_mut().poll(context).is_ready() {
            stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if place.lock().is_some() && no_longer_new.as_mut().poll(context).is_ready() {
            drop(place.lock().take());
        }
        match Pin::new(&mut connection).poll(context) {
            Poll::Ready(served) => Poll::Ready(served),
            // Answers to requests before this one go out first.
            Poll::Pending if taken.lock().is_some() && !blocked.load(Ordering::Relaxed) => {
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "an HTTP connection ended badly");
        return None;
    }
    let handover = taken.lock().take()?;
    let parts = connection.into_parts();
    Some((handover, parts.io.into_inner().into_inner(), parts.read_buf))
}

#[cfg(test)]
mod tests;
