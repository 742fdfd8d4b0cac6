//! A client of a gateway, for tests: every frame it gets is kept until some expectation takes it, so
//! that a test needs to know the order only where the order matters.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, Utf8Bytes, client::IntoClientRequest, http::HeaderValue},
};

/// How long a frame may take on a small busy machine before its absence is a failure.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection to a gateway.
#[derive(Debug)]
pub struct RealtimeClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    unread: VecDeque<Value>,
    last_reference: u64,
}

/// A stored message as a client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// Its id, which [`RealtimeClient::resume`] takes.
    pub id: String,
    /// Who published it.
    pub from: String,
    /// Its content.
    pub data: Value,
}

impl Delivered {
    /// Reads a `message` frame.
    pub(crate) fn read(frame: &Value) -> Result<Self> {
        let text = |name: &str| {
            frame[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("{frame} has no {name}"))
        };
        Ok(Self {
            id: text("id")?,
            from: text("from")?,
            data: frame["data"].clone(),
        })
    }
}

/// How a gateway ended a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The close code; 1006 where the connection broke without one.
    pub code: u16,
    /// Its reason.
    pub reason: String,
}

impl RealtimeClient {
    /// Connects to `ws://…/v1/ws` with a token, and waits to be welcomed.
    pub async fn connect(endpoint: &str, token: &str) -> Result<Self> {
        let mut client = Self::open(endpoint, token, None).await?;
        client.expect("welcome").await?;
        Ok(client)
    }

    /// Connects without waiting for anything: for tokens and origins that are refused.
    pub async fn open(endpoint: &str, token: &str, origin: Option<&str>) -> Result<Self> {
        let mut request = format!("{endpoint}?token={token}").into_client_request()?;
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", HeaderValue::from_str(origin)?);
        }
        let connected = timeout(PATIENCE, connect_async(request)).await;
        let (socket, _) = connected.with_context(|| format!("{endpoint} does not answer"))??;
        Ok(Self {
            socket,
            unread: VecDeque::new(),
            last_reference: 0,
        })
    }

    /// Joins a room; returns the `joined` frame.
    pub async fn join(&mut self, room: &str) -> Result<Value> {
        self.request(json!({ "type": "join", "room": room }), "joined")
            .await
    }

    /// Joins a room and asks for what came after a message; returns the `joined` frame.
    pub async fn resume(&mut self, room: &str, last_seen_id: &str) -> Result<Value> {
        self.request(
            json!({ "type": "join", "room": room, "last_seen_id": last_seen_id }),
            "joined",
        )
        .await
    }

    /// Leaves a room.
    pub async fn leave(&mut self, room: &str) -> Result<Value> {
        self.request(json!({ "type": "leave", "room": room }), "left")
            .await
    }

    /// Publishes; returns the message's id.
    pub async fn publish(&mut self, room: &str, data: impl Into<Value>) -> Result<String> {
        let frame = json!({ "type": "publish", "room": room, "data": data.into() });
        let ack = self.request(frame, "ack").await?;
        Ok(ack["id"]
            .as_str()
            .context("an ack without an id")?
            .to_owned())
    }

    /// Sends a signal to who is in the room now.
    pub async fn signal(&mut self, room: &str, name: &str) -> Result<()> {
        self.send(&json!({ "type": "signal", "room": room, "name": name }))
            .await
    }

    /// Sends a frame with a `ref` and waits for its answer; an `error` frame is an error.
    pub async fn request(&mut self, frame: Value, answer: &str) -> Result<Value> {
        let got = self.ask(frame.clone()).await?;
        ensure!(got["type"] == answer, "the answer to {frame} is {got}");
        Ok(got)
    }

    /// The code of the `error` frame that answers a request.
    pub async fn refused(&mut self, frame: Value) -> Result<String> {
        let got = self.ask(frame.clone()).await?;
        ensure!(
            got["type"] == "error",
            "{frame} was not refused, the answer is {got}"
        );
        Ok(got["code"]
            .as_str()
            .context("an error without a code")?
            .to_owned())
    }

    async fn ask(&mut self, mut frame: Value) -> Result<Value> {
        self.last_reference += 1;
        let reference = self.last_reference;
        frame["ref"] = reference.into();
        self.send(&frame).await?;
        self.expect_where(&format!("an answer to {frame}"), |got| {
            got["ref"] == reference
        })
        .await
    }

    /// Sends a frame as it is.
    pub async fn send(&mut self, frame: &Value) -> Result<()> {
        self.send_text(&frame.to_string()).await
    }

    /// Sends a text frame that may be no JSON at all.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        Ok(self
            .socket
            .send(Message::Text(Utf8Bytes::from(text)))
            .await?)
    }

    /// The next message of a room.
    pub async fn expect_message(&mut self, room: &str) -> Result<Delivered> {
        let what = format!("a message in {room}");
        let frame = self
            .expect_where(&what, |frame| {
                frame["type"] == "message" && frame["room"] == room
            })
            .await?;
        Delivered::read(&frame)
    }

    /// The next frame of a type.
    pub async fn expect(&mut self, kind: &str) -> Result<Value> {
        self.expect_where(kind, |frame| frame["type"] == kind).await
    }

    /// The next frame for which `wanted` holds; others stay for later expectations.
    pub async fn expect_where(
        &mut self,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        if let Some(index) = self.unread.iter().position(&wanted) {
            return self.unread.remove(index).context("found above");
        }
        let search = async {
            loop {
                match self.next().await? {
                    Ok(frame) if wanted(&frame) => return anyhow::Ok(frame),
                    Ok(frame) => self.unread.push_back(frame),
                    Err(closed) => {
                        bail!("waiting for {what}, the connection was closed: {closed:?}")
                    }
                }
            }
        };
        let found = timeout(PATIENCE, search).await;
        found.with_context(|| {
            format!(
                "{what} did not come in {PATIENCE:?}; unread: {:?}",
                self.unread
            )
        })?
    }

    /// Makes sure that no frame of a type comes for a while; a room's own later message is a better sign
    /// where there is one.
    pub async fn expect_none(&mut self, kind: &str, duration: Duration) -> Result<()> {
        ensure!(
            !self.unread.iter().any(|frame| frame["type"] == kind),
            "unread: {:?}",
            self.unread
        );
        let came = async {
            loop {
                match self.next().await? {
                    Ok(frame) if frame["type"] == kind => bail!("{frame} came"),
                    Ok(frame) => self.unread.push_back(frame),
                    Err(closed) => bail!("the connection was closed: {closed:?}"),
                }
            }
        };
        timeout(duration, came).await.unwrap_or(Ok(()))
    }

    /// Waits until the gateway ends the connection.
    pub async fn closed(&mut self) -> Result<Closed> {
        let end = async {
            loop {
                if let Err(closed) = self.next().await? {
                    return anyhow::Ok(closed);
                }
            }
        };
        timeout(PATIENCE, end)
            .await
            .context("the connection stays open")?
    }

    /// Goes without a word, as a client does whose network is gone.
    pub fn cut_off(self) {
        drop(self);
    }

    /// Says goodbye.
    pub async fn close(mut self) -> Result<()> {
        Ok(self.socket.close(None).await?)
    }

    /// The next frame that no expectation has taken, or how the connection ended. May be dropped while it waits.
    pub(crate) async fn any(&mut self) -> Result<Result<Value, Closed>> {
        match self.unread.pop_front() {
            Some(frame) => Ok(Ok(frame)),
            None => self.next().await,
        }
    }

    async fn next(&mut self) -> Result<Result<Value, Closed>> {
        const BROKEN: u16 = 1006;
        let broken = |reason: String| {
            Ok(Err(Closed {
                code: BROKEN,
                reason,
            }))
        };
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Ok(Ok(
                        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?
                    ));
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    let code = frame.code.into();
                    let reason = frame.reason.to_string();
                    return Ok(Err(Closed { code, reason }));
                }
                Some(Ok(Message::Close(None))) => return broken("closed without a code".into()),
                Some(Ok(Message::Binary(data))) => bail!("a binary frame of {} bytes", data.len()),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return broken(error.to_string()),
                None => return broken("ended".into()),
            }
        }
    }
}
