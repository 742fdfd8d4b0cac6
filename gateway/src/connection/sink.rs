//! What frames are written to: a socket, by the task that it belongs to or by someone else.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Takes what it can at once, and answers [`WouldBlock`](io::ErrorKind::WouldBlock) when that is nothing.
pub(super) trait Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// A socket, on behalf of the task that is woken up when it takes more.
pub(super) struct Polled<'a, 'b, S> {
    pub(super) socket: &'a mut S,
    pub(super) context: &'a mut Context<'b>,
}

impl<S: AsyncWrite + Unpin> Sink for Polled<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.socket).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.socket).poll_write_vectored(self.context, slices))
    }
}

fn at_once(written: Poll<io::Result<usize>>) -> io::Result<usize> {
    match written {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// A socket, on behalf of nobody: no one is woken up. The kernel is asked, not what tokio remembers of the socket, which would have to be fetched from
/// memory that nothing else here touches; the task finds out by itself that the socket takes no more.
pub(super) struct Shared<'a>(pub(super) &'a TcpStream);

impl Sink for Shared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(self.0).send(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        SockRef::from(self.0).send_vectored(slices)
    }
}
