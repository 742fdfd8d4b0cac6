//! The small client's WebSocket.

use anyhow::{Context, bail};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::http::PATIENCE;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(super) async fn connect(url: &str, token: &str) -> anyhow::Result<Socket> {
    let mut request = url
        .into_client_request()
        .context("the URL must be like ws://host:port/v1/ws")?;
    if !token.is_empty() {
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .context("the token has characters that no token has")?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    let connecting = tokio::time::timeout(PATIENCE, connect_async(request));
    let (socket, _) = connecting
        .await
        .with_context(|| format!("no answer from {url}"))?
        .with_context(|| format!("can't connect to {url}"))?;
    Ok(socket)
}

pub(super) async fn send(socket: &mut Socket, text: String) -> anyhow::Result<()> {
    Ok(socket.send(Message::text(text)).await?)
}

/// The next text frame; an error when the connection ends.
pub(super) async fn next_text(socket: &mut Socket) -> anyhow::Result<Utf8Bytes> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text),
            Some(Ok(Message::Close(Some(frame)))) => {
                bail!("closed with {}: {}", u16::from(frame.code), frame.reason)
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error).context("the connection broke"),
            None => bail!("the connection ended"),
        }
    }
}

/// Closes with 1000: whoever goes on purpose is told to have left at once. Waits a moment for the other side to have taken it.
pub(super) async fn close(mut socket: Socket) {
    let normal = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    let closing = async {
        if socket.close(Some(normal)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    tokio::time::timeout(PATIENCE, closing).await.ok();
}
