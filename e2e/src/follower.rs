//! Traffic that goes on whatever happens: followers stay in a room as a client library does, a publisher counts upwards.
//! In the end it is known whether a message was lost, doubled, or out of order.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    eventually::eventually,
    http,
    realtime::{Closed, Delivered, RealtimeClient},
};

/// How long a follower tries to get a connection, and a publisher to get a message through.
const PATIENCE: Duration = Duration::from_mins(1);

/// A user who stays in a room: moves on when told to, comes back when cut off, and asks for what was missed.
#[derive(Debug)]
pub struct Follower {
    task: JoinHandle<Result<Story>>,
    seen: watch::Receiver<usize>,
    stop: CancellationToken,
}

/// What a follower lived through.
#[derive(Debug, Clone, Default)]
pub struct Story {
    /// The messages, as they came.
    pub messages: Vec<Delivered>,
    /// How often it was told to move on, and did.
    pub moves: u32,
    /// How its connections ended that it did not leave by itself.
    pub cuts: Vec<Closed>,
    /// How often the gateway could not promise that nothing was missed.
    pub unrecovered: u32,
    /// The `gap` frames.
    pub gaps: Vec<Value>,
}

impl Story {
    /// That it got each of the numbers that a publisher sent, in order, once, without a doubt.
    pub fn ensure_whole(&self, count: u64) -> Result<()> {
        let numbers: Vec<u64> = self
            .messages
            .iter()
            .filter_map(|message| message.data.as_u64())
            .collect();
        let expected: Vec<u64> = (0..count).collect();
        let differs = numbers.iter().zip(&expected).position(|(a, b)| a != b);
        ensure!(
            numbers == expected,
            "of {count} messages {} came; the first that differs: {:?}; around it {:?}; cuts: {:?}",
            numbers.len(),
            differs,
            differs.map(|at| &numbers[at.saturating_sub(2)..numbers.len().min(at + 3)]),
            self.cuts,
        );
        ensure!(
            self.unrecovered == 0 && self.gaps.is_empty(),
            "{} joins were not recovered, gaps: {:?}",
            self.unrecovered,
            self.gaps
        );
        Ok(())
    }
}

impl Follower {
    /// Joins a room through an endpoint, `ws://…/v1/ws`.
    pub async fn join(endpoint: &str, token: &str, room: &str) -> Result<Self> {
        let mut connection = Connection {
            endpoint: endpoint.to_owned(),
            token: token.to_owned(),
            room: room.to_owned(),
            last_seen_id: None,
            story: Story::default(),
        };
        let client = connection.open().await?;
        let (sender, seen) = watch::channel(0);
        let stop = CancellationToken::new();
        let task = tokio::spawn(connection.follow(client, sender, stop.clone()));
        Ok(Self { task, seen, stop })
    }

    /// How many messages it has got so far.
    pub fn seen(&self) -> usize {
        *self.seen.borrow()
    }

    /// Waits until it has got that many messages; then leaves and tells its story.
    pub async fn finish(self, count: u64) -> Result<Story> {
        let count = usize::try_from(count)?;
        let all = eventually("the follower has every message", PATIENCE, async || {
            ensure!(
                self.seen() >= count || self.task.is_finished(),
                "{} of {count}",
                self.seen()
            );
            Ok(())
        })
        .await;
        self.stop.cancel();
        let story = self.task.await??;
        match all {
            Ok(()) => Ok(story),
            // Which message it is that never came says more than how many did.
            Err(error) => story
                .ensure_whole(count as u64)
                .context(error)
                .map(|()| story),
        }
    }
}

struct Connection {
    endpoint: String,
    token: String,
    room: String,
    last_seen_id: Option<String>,
    story: Story,
}

impl Connection {
    async fn follow(
        mut self,
        mut client: RealtimeClient,
        seen: watch::Sender<usize>,
        stop: CancellationToken,
    ) -> Result<Story> {
        let mut move_at: Option<tokio::time::Instant> = None;
        loop {
            let moving = async {
                match move_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => {
                    client.close().await.ok();
                    return Ok(self.story);
                }
                () = moving => {
                    let next = self.open().await?;
                    std::mem::replace(&mut client, next).close().await.ok();
                    self.story.moves += 1;
                    move_at = None;
                }
                frame = client.any() => match frame? {
                    Ok(frame) => {
                        if frame["type"] == "reconnect" {
                            let after = Duration::from_millis(frame["after_ms"].as_u64().unwrap_or(0));
                            move_at.get_or_insert(tokio::time::Instant::now() + after);
                        }
                        self.take(&frame)?;
                        seen.send_replace(self.story.messages.len());
                    }
                    Err(closed) => {
                        self.story.cuts.push(closed);
                        client = self.open().await?;
                        move_at = None;
                    }
                }
            }
        }
    }

    fn take(&mut self, frame: &Value) -> Result<()> {
        let id = |name: &str| frame[name].as_str().map(str::to_owned);
        match frame["type"].as_str() {
            Some("message") => {
                let message = Delivered::read(frame)?;
                self.last_seen_id = Some(message.id.clone());
                self.story.messages.push(message);
            }
            Some("gap") => {
                self.last_seen_id = id("next").or(self.last_seen_id.take());
                self.story.gaps.push(frame.clone());
            }
            Some("left") => bail!("{frame} was not asked for"),
            _ => {}
        }
        Ok(())
    }

    /// Connects and joins, again and again; what came after the last message follows.
    async fn open(&mut self) -> Result<RealtimeClient> {
        let start = Instant::now();
        loop {
            match self.try_open().await {
                Ok(client) => return Ok(client),
                Err(error) if start.elapsed() > PATIENCE => {
                    return Err(error.context("no connection to be had"));
                }
                Err(_) => {
                    let pause = rand::rng().random_range(50..500);
                    sleep(Duration::from_millis(pause)).await;
                }
            }
        }
    }

    async fn try_open(&mut self) -> Result<RealtimeClient> {
        let mut client = RealtimeClient::connect(&self.endpoint, &self.token).await?;
        let joined = match &self.last_seen_id {
            Some(id) => client.resume(&self.room, id).await?,
            None => client.join(&self.room).await?,
        };
        if joined["recovered"] == false {
            self.story.unrecovered += 1;
        }
        self.last_seen_id = joined["id"].as_str().map(str::to_owned);
        Ok(client)
    }
}

/// Publishes 0, 1, 2, … into a room, each until it is acknowledged.
#[derive(Debug)]
pub struct Publisher {
    task: JoinHandle<Result<u64>>,
    stop: CancellationToken,
}

impl Publisher {
    /// Starts, with a pause between two messages. `address` is `host:port` of gateways.
    pub fn start(address: &str, token: &str, room: &str, pause: Duration) -> Self {
        let stop = CancellationToken::new();
        let url = format!("http://{address}/v1/rooms/{room}/messages");
        let task = tokio::spawn(publish(url, format!("Bearer {token}"), pause, stop.clone()));
        Self { task, stop }
    }

    /// Stops; returns how many were acknowledged.
    pub async fn finish(self) -> Result<u64> {
        self.stop.cancel();
        self.task.await?
    }
}

async fn publish(
    url: String,
    authorization: String,
    pause: Duration,
    stop: CancellationToken,
) -> Result<u64> {
    const RETRY: Duration = Duration::from_millis(100);
    // Unlike any other publisher's: an earlier one may have been in the room.
    let run: u64 = rand::rng().random();
    let headers = [("authorization", authorization.as_str())];
    let mut count = 0_u64;
    while !stop.is_cancelled() {
        let body = json!({ "data": count, "key": format!("{run:x}-{count}") });
        let start = Instant::now();
        // With a key it may be sent again whatever came of the first try.
        while let Err(error) = try_publish(&url, &headers, &body).await {
            ensure!(
                start.elapsed() < PATIENCE,
                "message {count} was never acknowledged: {error:#}"
            );
            sleep(RETRY).await;
        }
        count += 1;
        sleep(pause).await;
    }
    Ok(count)
}

async fn try_publish(url: &str, headers: &[(&str, &str)], body: &Value) -> Result<Value> {
    http::post(url, headers, body).await?.json()
}
