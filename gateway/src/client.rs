//! `listen` and `send`: a tiny client for demos, docs and tests. It speaks plain `ws://` and `http://`.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use form_urlencoded::Serializer;
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri, header};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long connecting and each answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What `listen` takes.
#[derive(Debug, Args)]
pub struct ListenOptions {
    /// The endpoint, as the RealtimeCluster's status shows it
    #[arg(long, default_value = "ws://127.0.0.1:8080/v1/ws")]
    url: String,
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
    /// Go on after this id, and get what was missed; belongs to the --room at the same place
    #[arg(long, value_name = "ID")]
    last_seen_id: Vec<String>,
    /// End after this many messages; by default it goes on for ever
    #[arg(long)]
    count: Option<u64>,
    /// End with an error when that many seconds passed before --count messages came
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// What `send` takes.
#[derive(Debug, Args)]
pub struct SendOptions {
    /// The endpoint: http:// publishes by a request, ws:// over a WebSocket
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The token; see `rotunda-gateway token`
    #[arg(
        long,
        env = "ROTUNDA_TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    token: String,
    /// The room to publish to
    #[arg(long)]
    room: String,
    /// An idempotency key: sending again with the same one within five minutes gives the same id
    #[arg(long)]
    key: Option<String>,
    /// The message: JSON, or else a text that is sent as a JSON string
    data: String,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What matters of a server's frame.
#[derive(Deserialize)]
struct Frame {
    r#type: String,
    id: Option<String>,
    message: Option<String>,
}

async fn connect(url: &str, token: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Socket> {
    let query: String = parameters
        .iter()
        .fold(
            Serializer::new(String::new()),
            |mut query, (name, value)| {
                query.append_pair(name, value);
                query
            },
        )
        .finish();
    let separator = if url.contains('?') { '&' } else { '?' };
    let mut request = format!("{url}{separator}{query}")
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

/// The next text frame; an error when the connection ends.
async fn next_text(socket: &mut Socket) -> anyhow::Result<Utf8Bytes> {
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

/// Prints frames until `--count` messages came.
pub async fn listen(options: &ListenOptions) -> anyhow::Result<()> {
    let listening = async {
        let rooms = options.room.iter().map(|room| ("room", room.as_str()));
        let cursors = options
            .last_seen_id
            .iter()
            .map(|id| ("last_seen_id", id.as_str()));
        let parameters: Vec<_> = rooms.chain(cursors).collect();
        let mut socket = connect(&options.url, &options.token, &parameters).await?;
        let mut messages = 0;
        while options.count.is_none_or(|count| messages < count) {
            let text = next_text(&mut socket).await?;
            let mut out = std::io::stdout().lock();
            // Whoever reads the pipe may have enough.
            if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
                break;
            }
            messages += u64::from(serde_json::from_str::<Frame>(&text)?.r#type == "message");
        }
        socket.close(None).await.ok();
        Ok(())
    };
    match options.timeout {
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), listening)
            .await
            .with_context(|| format!("not enough messages within {seconds} seconds"))?,
        None => listening.await,
    }
}

/// Publishes one message and prints its id.
pub async fn send(options: &SendOptions) -> anyhow::Result<()> {
    let data = as_json(&options.data)?;
    let sending = async {
        if options.url.starts_with("ws") {
            send_by_websocket(options, &data).await
        } else {
            send_by_http(options, &data).await
        }
    };
    let id = tokio::time::timeout(PATIENCE, sending)
        .await
        .context("no answer in time; whether it was published is unknown")??;
    println!("{id}");
    Ok(())
}

fn as_json(data: &str) -> anyhow::Result<Box<RawValue>> {
    let raw = RawValue::from_string(data.to_owned());
    Ok(raw.or_else(|_| serde_json::value::to_raw_value(data))?)
}

async fn send_by_websocket(options: &SendOptions, data: &RawValue) -> anyhow::Result<String> {
    let mut socket = connect(&options.url, &options.token, &[]).await?;
    let command = serde_json::json!({ "type": "publish", "ref": 1, "room": options.room, "key": options.key, "data": data });
    socket.send(Message::text(command.to_string())).await?;
    loop {
        let text = next_text(&mut socket).await?;
        let frame: Frame = serde_json::from_str(&text)?;
        match (frame.r#type.as_str(), frame.id) {
            ("ack", Some(id)) => {
                socket.close(None).await.ok();
                return Ok(id);
            }
            ("error", _) => bail!(frame.message.unwrap_or_else(|| text.to_string())),
            _ => {}
        }
    }
}

async fn send_by_http(options: &SendOptions, data: &RawValue) -> anyhow::Result<String> {
    let base: Uri = options
        .url
        .parse()
        .context("the URL must be like http://host:port")?;
    if base.scheme_str() != Some("http") {
        bail!("the URL must start with http:// or ws://");
    }
    let authority = base.authority().context("the URL needs a host")?;
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)))
        .await
        .with_context(|| format!("can't connect to {}", options.url))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let room: String = form_urlencoded::byte_serialize(options.room.as_bytes()).collect();
    let body = serde_json::json!({ "data": data, "key": options.key });
    let request = hyper::Request::post(format!("/v1/rooms/{room}/messages"))
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {}", options.token))
        .body(body.to_string())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1 << 20).await?;
    drop(sender);
    connection.abort();
    let answer: serde_json::Value = serde_json::from_slice(&body)
        .with_context(|| format!("an answer that is no JSON, with status {status}"))?;
    match answer["id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => bail!(
            "{}",
            answer["error"]["message"]
                .as_str()
                .unwrap_or(status.as_str())
        ),
    }
}
