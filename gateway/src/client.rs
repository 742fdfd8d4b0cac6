//! `listen` and `send`: a tiny client for demos, docs and tests. It speaks plain `ws://` and `http://`.

use anyhow::{Context, bail};
use clap::Args;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

mod http;
mod listen;
mod socket;

use http::{Gateway, PATIENCE};
pub use listen::{ListenOptions, listen};

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

/// Publishes one message and prints its id.
pub async fn send(options: &SendOptions) -> anyhow::Result<()> {
    let data = as_json(&options.data)?;
    let gateway = Gateway::at(&options.url)?;
    let sending = async {
        if options.url.starts_with("ws") {
            send_by_websocket(options, &gateway, &data).await
        } else {
            send_by_http(options, &gateway, &data).await
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

/// What matters of a frame that answers.
#[derive(Deserialize)]
struct Answered {
    r#type: String,
    id: Option<String>,
    message: Option<String>,
}

async fn send_by_websocket(
    options: &SendOptions,
    gateway: &Gateway,
    data: &RawValue,
) -> anyhow::Result<String> {
    let mut socket = socket::connect(&gateway.url("ws", "/v1/ws"), &options.token).await?;
    let command = serde_json::json!({ "type": "publish", "ref": 1, "room": options.room, "key": options.key, "data": data });
    socket::send(&mut socket, command.to_string()).await?;
    loop {
        let text = socket::next_text(&mut socket).await?;
        let frame: Answered = serde_json::from_str(&text)?;
        match (frame.r#type.as_str(), frame.id) {
            ("ack", Some(id)) => {
                socket::close(socket).await;
                return Ok(id);
            }
            ("error", _) => bail!(frame.message.unwrap_or_else(|| text.to_string())),
            _ => {}
        }
    }
}

async fn send_by_http(
    options: &SendOptions,
    gateway: &Gateway,
    data: &RawValue,
) -> anyhow::Result<String> {
    let room: String = form_urlencoded::byte_serialize(options.room.as_bytes()).collect();
    let body = serde_json::json!({ "data": data, "key": options.key }).to_string();
    let path = format!("/v1/rooms/{room}/messages");
    let asking = gateway.ask(Method::POST, &path, &options.token, body);
    let answer: Value = asking.await?.json().await?;
    let id = answer["id"].as_str().context("an answer without an id")?;
    Ok(id.to_owned())
}
