//! What the people of a conversation use: a WebSocket, an event stream, or single requests.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
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

enum Transport {
    WebSocket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Events(EventStream),
}

/// Someone's connection.
pub(crate) struct Client {
    transport: Transport,
    /// Types of frames that are left out.
    pub(crate) ignores: Vec<&'static str>,
}

impl Client {
    /// Opens a connection.
    pub(crate) async fn connect(address: SocketAddr, path: &str, token: Option<&str>) -> Self {
        let transport = if path.starts_with("/v1/sse") {
            Transport::Events(EventStream::open(address, path, token).await)
        } else {
            let mut request = format!("ws://{address}{path}")
                .into_client_request()
                .unwrap();
            if let Some(token) = token {
                let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
                request.headers_mut().insert("authorization", bearer);
            }
            Transport::WebSocket(Box::new(connect_async(request).await.unwrap().0))
        };
        Self {
            transport,
            ignores: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, frame: &str) -> Result<(), String> {
        let Transport::WebSocket(socket) = &mut self.transport else {
            return Err("an event stream goes one way".to_owned());
        };
        let sent = socket.send(Message::text(frame)).await;
        sent.map_err(|error| error.to_string())
    }

    /// The next frame, or the end.
    pub(crate) async fn next(&mut self) -> Result<Came, String> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.transport.next());
            let came = next.await.map_err(|_| "nothing came")??;
            if !matches!(&came, Came::Frame(frame) if self.ignores.iter().any(|kind| frame["type"] == *kind))
            {
                return Ok(came);
            }
        }
    }

    /// Closes with 1000 and waits for the end; what came before is returned.
    pub(crate) async fn close(mut self) -> Vec<Value> {
        let Transport::WebSocket(socket) = &mut self.transport else {
            return Vec::new();
        };
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        (**socket).close(Some(frame)).await.ok();
        let mut rest = Vec::new();
        while let Ok(Came::Frame(frame)) = self.next().await {
            rest.push(frame);
        }
        rest
    }
}

impl Transport {
    async fn next(&mut self) -> Result<Came, String> {
        let socket = match self {
            Self::Events(events) => return events.next().await,
            Self::WebSocket(socket) => socket,
        };
        loop {
            match socket.next().await.ok_or("the connection ended")? {
                Ok(Message::Text(text)) => {
                    return Ok(Came::Frame(serde_json::from_str(&text).unwrap()));
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
}

/// A stream of server-sent events.
struct EventStream {
    stream: BufReader<TcpStream>,
    chunked: bool,
    /// Decoded and not looked at yet.
    text: String,
}

impl EventStream {
    async fn open(address: SocketAddr, path: &str, token: Option<&str>) -> Self {
        let authorization = authorization(token);
        let text = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{authorization}\r\n");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).await.unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Self {
            stream,
            chunked: head
                .to_ascii_lowercase()
                .contains("transfer-encoding: chunked"),
            text: String::new(),
        }
    }

    /// The next event that has data.
    async fn next(&mut self) -> Result<Came, String> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::trim)
                };
                let data = field("data:").map(|data| serde_json::from_str::<Value>(data).unwrap());
                let (kind, rest) = (field("event:").map(str::to_owned), rest.to_owned());
                self.text = rest;
                match data {
                    None => {}
                    Some(close) if kind.as_deref() == Some("close") => {
                        let code = close["code"].as_u64().and_then(|code| code.try_into().ok());
                        let reason = close["reason"].as_str().unwrap_or_default().to_owned();
                        return Ok(Came::Closed {
                            code: code.ok_or("no code")?,
                            reason,
                        });
                    }
                    Some(frame) => return Ok(Came::Frame(frame)),
                }
            }
            let bytes = self.read().await.map_err(|error| error.to_string())?;
            self.text.push_str(&String::from_utf8(bytes).unwrap());
        }
    }

    async fn read(&mut self) -> std::io::Result<Vec<u8>> {
        if !self.chunked {
            let bytes = self.stream.fill_buf().await?.to_vec();
            self.stream.consume(bytes.len());
            return if bytes.is_empty() {
                Err(std::io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(bytes)
            };
        }
        let mut size = String::new();
        self.stream.read_line(&mut size).await?;
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await?;
        chunk.truncate(size);
        if size == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(chunk)
    }
}

fn authorization(bearer: Option<&str>) -> String {
    bearer.map_or(String::new(), |bearer| {
        format!("authorization: Bearer {bearer}\r\n")
    })
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
    let authorization = authorization(bearer);
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
