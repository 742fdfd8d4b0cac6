//! Streams that leave HTTP: a handler answers with a head and with what goes on afterwards, and gets the bare stream.
//!
//! An upgrade through hyper would do for WebSockets; an event stream is an answer that never ends, for which hyper keeps 16 KiB. Both take the
//! stream from hyper instead, before it has answered: the head is written here. A [`Takeover`] travels in the response's extensions, so that
//! middleware sets its headers as on any other answer.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::header;
use axum::http::response::Parts;
use axum::response::Response;
use bytes::Bytes;
use jiff::fmt::rfc2822;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// How long a client may take to make room for the head of an answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What goes on with the stream; `Bytes` is what was read of it already.
pub(super) type Session = Box<dyn FnOnce(TcpStream, Bytes) -> Running + Send>;

pub(super) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Marks a response as the last one of HTTP on its stream: its head is sent, its body isn't, and then the stream belongs to the session.
///
/// Extensions are cloned; the session runs once.
#[derive(Clone)]
pub struct Takeover(Arc<Mutex<Option<Session>>>);

impl Takeover {
    /// The session gets the stream and what was read of it beyond the request. It runs in the task that spoke HTTP: what lasts belongs into one
    /// of its own, so that what the handshake held is not held as long.
    pub fn new<F>(session: impl FnOnce(TcpStream, Bytes) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let session: Session =
            Box::new(move |stream, read_ahead| Box::pin(session(stream, read_ahead)));
        Self(Arc::new(Mutex::new(Some(session))))
    }
}

/// A response that takes its stream over.
pub(super) struct Handover {
    head: Parts,
    session: Session,
}

impl Handover {
    /// Takes what goes on out of a response; of one that doesn't go on, nothing.
    pub(super) fn of(response: &mut Response) -> Option<Self> {
        let takeover = response.extensions_mut().remove::<Takeover>()?;
        let session = takeover.0.lock().take()?;
        Some(Self {
            head: mem::take(response).into_parts().0,
            session,
        })
    }

    /// Sends the head; returns what goes on, unless the client went away.
    pub(super) async fn begin(self, stream: &mut TcpStream) -> Option<Session> {
        let head = encode_head(&self.head);
        let sent = tokio::time::timeout(HEAD_TIMEOUT, stream.write_all(&head)).await;
        matches!(sent, Ok(Ok(()))).then_some(self.session)
    }
}

/// The head of an answer (RFC 9112, section 4). What would tell a length of the body is left out: there is none, or it ends with the stream.
fn encode_head(head: &Parts) -> Vec<u8> {
    let status = head.status;
    let mut bytes = format!(
        "HTTP/1.1 {} {}\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default()
    )
    .into_bytes();
    for (name, value) in &head.headers {
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
    }
    if let Some(date) = date() {
        bytes.extend_from_slice(format!("date: {date}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Now, as HTTP writes it (RFC 9110, section 5.6.7).
fn date() -> Option<String> {
    let now = jiff::Timestamp::now();
    rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&now)
        .ok()
}

/// A stream that knows whether writing to it had to wait the last time. While it had, hyper still holds bytes of an earlier answer.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    blocked: Arc<AtomicBool>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream) -> (Self, Arc<AtomicBool>) {
        let blocked = Arc::new(AtomicBool::new(false));
        let watched = Self {
            stream,
            blocked: Arc::clone(&blocked),
        };
        (watched, blocked)
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.stream
    }

    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.blocked.store(polled.is_pending(), Ordering::Relaxed);
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
