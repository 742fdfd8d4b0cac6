//! What the people of a conversation use: a WebSocket, or single requests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// No answer takes longer on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What came from a gateway.
#[derive(Debug)]
pub(crate) enum Came {
    Frame(Value),
    Closed { code: u16, reason: String },
}

/// Someone's connection.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Types of frames that are left out.
    pub(crate) ignores: Vec<&'static str>,
    /// Came, but wasn't asked for yet.
    pub(crate) waiting: VecDeque<Value>,
}

impl Client {
    /// Opens a connection.
    pub(crate) async fn connect(address: SocketAddr, path: &str, token: Option<&str>) -> Self {
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .unwrap();
        if let Some(token) = token {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            request.headers_mut().insert("authorization", bearer);
        }
        let (socket, _) = connect_async(request).await.unwrap();
        Self {
            socket,
            ignores: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(crate) async fn send(&mut self, frame: &str) {
        self.socket.send(Message::text(frame)).await.unwrap();
    }

    /// The next frame, or the end.
    pub(crate) async fn next(&mut self) -> Result<Came, String> {
        if let Some(frame) = self.waiting.pop_front() {
            return Ok(Came::Frame(frame));
        }
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next());
            let message = next.await.map_err(|_| "nothing came")?;
            match message.ok_or("the connection ended")? {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if !self.ignores.iter().any(|kind| frame["type"] == *kind) {
                        return Ok(Came::Frame(frame));
                    }
                }
                Ok(Message::Close(close)) => {
                    let (code, reason) = close.map_or((1005, String::new()), |close| {
                        (close.code.into(), close.reason.to_string())
                    });
                    return Ok(Came::Closed { code, reason });
                }
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Closes with 1000 and waits for the end; what came before is returned.
    pub(crate) async fn close(mut self) -> Vec<Value> {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.socket.close(Some(frame)).await.ok();
        let mut rest = Vec::new();
        while let Ok(Came::Frame(frame)) = self.next().await {
            rest.push(frame);
        }
        rest
    }
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// One request on a connection of its own.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: &str,
) -> Answer {
    let authorization = bearer.map_or(String::new(), |bearer| {
        format!("authorization: Bearer {bearer}\r\n")
    });
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{authorization}\r\n{body}"
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8(answer).unwrap())
    };
    let answer = tokio::time::timeout(PATIENCE, exchange)
        .await
        .unwrap()
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: body.to_owned(),
    }
}
