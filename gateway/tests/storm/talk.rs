//! Users who were there before, talking: how long a message takes from one to each of them.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::interval;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How many listen.
const LISTENERS: usize = 10;

/// The time from one message to the next.
const PAUSE: Duration = Duration::from_millis(50);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) struct Talk {
    speaker: Socket,
    listeners: Vec<Socket>,
    begun: Instant,
    latencies: Vec<Duration>,
}

/// How long messages took.
pub(crate) struct Latencies {
    pub(crate) count: usize,
    half: Duration,
    /// 99 of a hundred.
    pub(crate) most_of_them: Duration,
    longest: Duration,
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.1?}, p99 {:.1?}, longest {:.1?} of {}",
            self.half, self.most_of_them, self.longest, self.count
        )
    }
}

impl Talk {
    pub(crate) async fn start(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let url = format!("ws://{address}/v1/ws?room=room:talk&token={token}");
        let mut sockets = Vec::new();
        for _ in 0..=LISTENERS {
            let (mut socket, _) = connect_async(&url).await?;
            while frame(&mut socket).await?["type"] != "joined" {}
            sockets.push(socket);
        }
        Ok(Self {
            speaker: sockets.pop().context("a speaker")?,
            listeners: sockets,
            begun: Instant::now(),
            latencies: Vec::new(),
        })
    }

    /// Talks until something is done.
    pub(crate) async fn go_on<F: Future>(&mut self, work: F) -> anyhow::Result<F::Output> {
        let mut work = std::pin::pin!(work);
        let mut beat = interval(PAUSE);
        loop {
            tokio::select! {
                output = &mut work => return Ok(output),
                _ = beat.tick() => self.speak().await?,
            }
        }
    }

    /// Says one thing, and waits until everyone has heard it.
    async fn speak(&mut self) -> anyhow::Result<()> {
        let sent = self.begun.elapsed();
        let micros = u64::try_from(sent.as_micros())?;
        let publish = json!({ "type": "publish", "room": "room:talk", "data": micros });
        self.speaker
            .send(Message::text(publish.to_string()))
            .await?;
        for listener in &mut self.listeners {
            while frame(listener).await?["data"] != micros {}
            self.latencies
                .push(self.begun.elapsed().saturating_sub(sent));
        }
        // Its own message and the answer, in either order.
        while frame(&mut self.speaker).await?["type"] != "ack" {}
        Ok(())
    }

    /// How long messages took since the last time.
    pub(crate) fn latencies(&mut self) -> Latencies {
        let mut all = std::mem::take(&mut self.latencies);
        all.sort_unstable();
        let at = |share: usize| {
            let place = all.len() * share / 100;
            all.get(place).or(all.last()).copied().unwrap_or_default()
        };
        Latencies {
            count: all.len(),
            half: at(50),
            most_of_them: at(99),
            longest: at(100),
        }
    }
}

async fn frame(socket: &mut Socket) -> anyhow::Result<Value> {
    loop {
        let message = socket.next().await.context("the connection ended")??;
        if let Message::Text(text) = message {
            return Ok(serde_json::from_str(&text)?);
        }
    }
}
