//! The WebSocket transport.

use anyhow::Context;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};

use super::http::CONNECT_TIMEOUT;

/// How long the handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(6);

/// An open connection.
#[derive(Debug)]
pub struct Socket(WebSocketStream<TcpStream>);

/// What came.
#[derive(Debug)]
pub enum Received {
    Text(String),
    /// A ping or the like: a sign of life.
    Alive,
    Closed(u16),
}

impl Socket {
    pub async fn open(address: (&str, u16), query: &str, token: &str) -> anyhow::Result<Self> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .context("no connection in time")??;
        let mut request =
            format!("ws://{}:{}/v1/ws?{query}", address.0, address.1).into_client_request()?;
        request.headers_mut().insert(
            header::AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {token}"))?,
        );
        let handshake = tokio_tungstenite::client_async(request, stream);
        let (socket, _) = timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .context("no handshake in time")??;
        Ok(Self(socket))
    }

    /// The next frame; an error when the connection is gone.
    pub async fn next(&mut self) -> anyhow::Result<Received> {
        match self.0.next().await.context("the connection ended")?? {
            Message::Text(text) => Ok(Received::Text(text.to_string())),
            Message::Close(frame) => Ok(Received::Closed(
                frame.map_or(1005, |frame| u16::from(frame.code)),
            )),
            _ => Ok(Received::Alive),
        }
    }

    pub async fn send(&mut self, text: String) -> anyhow::Result<()> {
        timeout(HANDSHAKE_TIMEOUT, self.0.send(Message::text(text)))
            .await
            .context("the socket takes nothing")??;
        Ok(())
    }

    /// Says goodbye, and doesn't wait for an answer.
    pub async fn close(mut self) {
        timeout(Duration::from_secs(1), self.0.close(None))
            .await
            .ok();
    }
}
