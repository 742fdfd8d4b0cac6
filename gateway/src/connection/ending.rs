//! How a stream ends, whatever was spoken on it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long a close may take: flushing what is queued, and waiting for the client's end.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Ends a stream, then reads what the client still sends, so that its kernel doesn't throw the last bytes away with a reset. Bounded by the
/// caller.
pub(super) async fn end<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S) -> io::Result<()> {
    io.shutdown().await?;
    let mut rest = [0; 512];
    while io.read(&mut rest).await? > 0 {}
    Ok(())
}
