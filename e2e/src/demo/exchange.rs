//! One client writes, another reads: with the gateway's own command-line client, as a user would.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout},
    time::timeout,
};

use crate::local::{
    command::{command, output},
    step::step,
};

const ROOM: &str = "lobby";
/// The variable that the client takes its token from, out of sight of `ps`.
const TOKEN: &str = "ROTUNDA_TOKEN";
const DATA: &str = r#"{"text":"Hello Bob, this is Alice."}"#;
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a message from alice to bob and shows it arriving.
pub(super) async fn show(gateway: &Path, examples: &Path, url: &str) -> Result<()> {
    let alice = token(gateway, examples, "alice").await?;
    let bob = token(gateway, examples, "bob").await?;

    let mut listening = command(gateway, ["listen", "--url", url, "--room", ROOM])
        .env(TOKEN, &bob)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting bob's client")?;
    let stdout = listening.stdout.take().context("a piped standard output")?;
    let mut frames = BufReader::new(stdout).lines();
    step("bob joins the lobby", next_frame(&mut frames, "joined")).await?;
    let message = step("alice sends a message", async {
        let send = ["send", "--url", url, "--room", ROOM, DATA];
        output(command(gateway, send).env(TOKEN, &alice)).await?;
        next_frame(&mut frames, "message").await
    })
    .await?;
    println!("    bob received: {message}");
    listening.kill().await.context("ending bob's client")
}

/// Waits until something listens at `address`.
pub(super) async fn wait_for(address: &str, serving: &mut Child) -> Result<()> {
    const PERIOD: Duration = Duration::from_millis(50);
    let listens = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! {
        () = listens => Ok(()),
        ended = serving.wait() => bail!("the gateway has ended ({})", ended?),
    }
}

async fn token(gateway: &Path, examples: &Path, user: &str) -> Result<String> {
    let printed = output(command(gateway, ["token", "--user", user]).arg(examples)).await?;
    Ok(printed.trim().to_owned())
}

async fn next_frame(frames: &mut Lines<BufReader<ChildStdout>>, kind: &str) -> Result<String> {
    let find = async {
        while let Some(line) = frames.next_line().await? {
            let is_it =
                serde_json::from_str::<Value>(&line).is_ok_and(|frame| frame["type"] == kind);
            if is_it {
                return Ok(line);
            }
        }
        bail!("bob's client ended before a frame of the type {kind} came");
    };
    timeout(PATIENCE, find)
        .await
        .with_context(|| format!("no frame of the type {kind} came in {PATIENCE:?}"))?
}
