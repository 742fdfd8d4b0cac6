//! A client's bytes after the upgrade, as the gateway's WebSocket reads them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use prometheus_client::metrics::gauge::Gauge;
use rotunda_gateway::connection::socket::{Incoming, Socket};
use rotunda_gateway::connection::{Backlog, Outbox};
use rotunda_gateway::dialect::event;
use rotunda_gateway::metrics::Metrics;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a frame may be at most; small, so that inputs reach it.
const MAX_FRAME: usize = 200;

/// A client that sends what it's told in pieces, and keeps what it gets.
struct Client {
    sends: VecDeque<Vec<u8>>,
    got: Vec<u8>,
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Nothing left: the end of the stream.
        if let Some(mut piece) = self.sends.pop_front() {
            let rest = piece.split_off(piece.len().min(into.remaining()));
            into.put_slice(&piece);
            if !rest.is_empty() {
                self.sends.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.got.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

thread_local! {
    // Registering every metric takes longer than an input.
    static METRICS: Metrics = Metrics::new();
}

/// The first byte says how much comes with the request, the second in what pieces the rest comes.
pub(super) fn socket(input: &[u8]) {
    let [ahead, size, stream @ ..] = input else {
        return;
    };
    let (ahead, rest) = stream.split_at(usize::from(*ahead).min(stream.len()));
    let mut client = Client {
        sends: rest
            .chunks(usize::from(*size).max(1))
            .map(<[u8]>::to_vec)
            .collect(),
        got: Vec::new(),
    };
    let outbox = Outbox::new(10_000, Backlog::new(Gauge::default()));
    outbox.push(event::heartbeat()).expect("there is space");
    METRICS.with(|metrics| {
        let mut socket = Socket::new(&mut client, ahead, MAX_FRAME);
        let context = &mut Context::from_waker(Waker::noop());
        let reason = loop {
            match socket.poll_drive(context, &outbox, true, metrics) {
                Poll::Ready(Incoming::Text(text)) => {
                    assert!(text.len() <= MAX_FRAME, "past the cap");
                    assert!(std::str::from_utf8(&text).is_ok(), "not UTF-8");
                }
                Poll::Ready(Incoming::Alive) => {}
                Poll::Ready(Incoming::End(reason)) => break reason,
                Poll::Pending => panic!("everything is at hand, yet it waits"),
            }
        };
        let mut closing = std::pin::pin!(socket.close(reason, &outbox, metrics));
        let closed = closing.as_mut().poll(context);
        assert!(closed.is_ready(), "everything is at hand, yet it waits");
        reason
    });
    check_frames(&client.got, stream);
}

/// What a client gets are whole, unmasked frames; at most one close, and nothing after it.
fn check_frames(mut got: &[u8], sent: &[u8]) {
    // Each pong answers a ping of at least six bytes.
    assert!(got.len() <= 256 + 2 * sent.len());
    while !got.is_empty() {
        let [first, length, rest @ ..] = got else {
            panic!("half a header")
        };
        assert!(
            first & 0x70 == 0 && first & 0x80 != 0,
            "whole frames without reserved bits"
        );
        assert!(*length <= 125, "the only long frames would be ours");
        let (payload, rest) = rest.split_at(usize::from(*length));
        match first & 0x0F {
            0x1 => drop(std::str::from_utf8(payload).expect("text is UTF-8")),
            0x8 => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                // One of ours, or the client's own, echoed; never one that may not be sent (RFC 6455, section 7.4).
                let may_be_sent = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                assert!(code.is_none_or(may_be_sent), "{code:?}");
                assert!(rest.is_empty(), "something after a close");
            }
            0xA => {}
            other => panic!("opcode {other}"),
        }
        got = rest;
    }
}
