//! `listen`: prints what rooms bring, by any of the transports.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use form_urlencoded::Serializer;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::http::{Gateway, PATIENCE};
use super::socket;
use crate::shutdown::Signals;

/// How long a poll waits for something.
const POLL_SECONDS: u64 = 25;

/// How to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// A WebSocket
    Ws,
    /// Server-Sent Events
    Sse,
    /// Long-polling
    Poll,
}

/// What `listen` takes.
#[derive(Debug, Args)]
pub struct ListenOptions {
    /// The endpoint, as the RealtimeCluster's status shows it
    #[arg(long, default_value = "ws://127.0.0.1:8080/v1/ws")]
    url: String,
    /// How to connect; the URL may be that of another one of the endpoints
    #[arg(long, value_enum, default_value = "ws")]
    transport: Transport,
    /// The token; see `rotunda-gateway token`
    #[arg(
        long,
        env = "ROTUNDA_TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    token: String,
    /// A room to join; may be given several times
    #[arg(long, required = true)]
    room: Vec<String>,
    /// Go on after this id, and get what was missed; belongs to the --room at the same place. A single one of several rooms may be that of an event stream or a poll
    #[arg(long, value_name = "ID")]
    last_seen_id: Vec<String>,
    /// End after this many messages; by default it goes on for ever
    #[arg(long)]
    count: Option<u64>,
    /// End with an error when that many seconds passed before --count messages came
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// Prints frames until `--count` messages came.
pub async fn listen(options: &ListenOptions) -> anyhow::Result<()> {
    let gateway = Gateway::at(&options.url)?;
    let listening = async {
        let printer = Printer {
            left: options.count,
        };
        match options.transport {
            Transport::Ws => by_websocket(options, &gateway, printer).await,
            Transport::Sse => by_event_stream(options, &gateway, printer).await,
            Transport::Poll => by_polls(options, &gateway, printer).await,
        }
    };
    match options.timeout {
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), listening)
            .await
            .with_context(|| format!("not enough messages within {seconds} seconds"))?,
        None => listening.await,
    }
}

/// The query: the rooms, and where to go on.
fn query(options: &ListenOptions, last_seen: &[String]) -> String {
    let mut query = Serializer::new(String::new());
    for room in &options.room {
        query.append_pair("room", room);
    }
    for id in last_seen {
        query.append_pair("last_seen_id", id);
    }
    query.finish()
}

async fn by_websocket(
    options: &ListenOptions,
    gateway: &Gateway,
    mut printer: Printer,
) -> anyhow::Result<()> {
    let query = query(options, &options.last_seen_id);
    let url = gateway.url("ws", &format!("/v1/ws?{query}"));
    let mut signals = Signals::listen()?;
    let mut socket = tokio::select! {
        socket = socket::connect(&url, &options.token) => socket?,
        () = signals.requested() => bail!("stopped while connecting"),
    };
    let mut stopped = false;
    while printer.wants_more() && !stopped {
        tokio::select! {
            text = socket::next_text(&mut socket) => printer.print(text?.as_str())?,
            () = signals.requested() => stopped = true,
        }
    }
    socket::close(socket).await;
    if stopped && options.count.is_some() {
        bail!("stopped before enough messages came");
    }
    Ok(())
}

async fn by_event_stream(
    options: &ListenOptions,
    gateway: &Gateway,
    mut printer: Printer,
) -> anyhow::Result<()> {
    let path = format!("/v1/sse?{}", query(options, &options.last_seen_id));
    let asking = gateway.ask(Method::GET, &path, &options.token, String::new());
    let mut answer = tokio::time::timeout(PATIENCE, asking)
        .await
        .context("no answer in time")??;
    if !answer.status().is_success() {
        return answer.json::<Value>().await.map(drop);
    }
    let mut lines = Lines::default();
    // An event goes over lines; an empty one ends it (HTML Living Standard, section 9.2.6).
    let (mut kind, mut data) = (String::new(), Vec::new());
    while printer.wants_more() {
        let Some(line) = lines.next() else {
            let bytes = answer.more().await?.context("the stream ended")?;
            lines.push(&bytes);
            continue;
        };
        match line.split_once(':') {
            Some(("event", value)) => value.trim_start().clone_into(&mut kind),
            Some(("data", value)) => data.push(value.trim_start().to_owned()),
            Some(_) => {}
            None if !line.is_empty() || data.is_empty() => {}
            None if kind == "close" => {
                let close: Value = serde_json::from_str(&data.join("\n"))?;
                let reason = close["reason"].as_str().unwrap_or_default();
                bail!("closed with {}: {reason}", close["code"]);
            }
            None => {
                printer.print(&data.join("\n"))?;
                data.clear();
            }
        }
    }
    Ok(())
}

/// What a poll is answered with.
#[derive(Deserialize)]
struct Polled {
    id: String,
    events: Vec<Box<RawValue>>,
}

async fn by_polls(
    options: &ListenOptions,
    gateway: &Gateway,
    mut printer: Printer,
) -> anyhow::Result<()> {
    let mut last_seen = options.last_seen_id.clone();
    while printer.wants_more() {
        let query = query(options, &last_seen);
        let path = format!("/v1/poll?wait={POLL_SECONDS}&{query}");
        let polling = async {
            let asking = gateway.ask(Method::GET, &path, &options.token, String::new());
            asking.await?.json().await
        };
        let polled: Polled =
            tokio::time::timeout(Duration::from_secs(POLL_SECONDS) + PATIENCE, polling)
                .await
                .context("no answer in time")??;
        for event in polled.events {
            if printer.wants_more() {
                printer.print(event.get())?;
            }
        }
        if !polled.id.is_empty() {
            last_seen = vec![polled.id];
        }
    }
    Ok(())
}

/// Writes one frame a line, until enough messages came.
struct Printer {
    /// Messages still wanted; `None` for all there are.
    left: Option<u64>,
}

impl Printer {
    fn wants_more(&self) -> bool {
        self.left != Some(0)
    }

    fn print(&mut self, frame: &str) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Kind {
            r#type: String,
        }
        let kind: Kind = serde_json::from_str(frame)?;
        // In JSON line ends stand between values only, where a space is as good.
        let line = frame.replace(['\n', '\r'], " ");
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            // Whoever reads the pipe has enough.
            self.left = Some(0);
        } else if kind.r#type == "message" {
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        Ok(())
    }
}

/// Bytes of a stream as lines.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<String> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line);
        Some(line.trim_end_matches(['\n', '\r']).to_owned())
    }
}
