//! Traffic that goes on whatever happens: followers stay in a room as a client library does, a publisher counts upwards.
//! In the end it is known whether a message was lost, doubled, or out of order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    http,
    realtime::{Closed, Delivered, RealtimeClient},
};

/// How long a follower tries to get a connection, and a publisher to get a message through.
const PATIENCE: Duration = Duration::from_mins(1);

/// A user who stays in a room: moves on when told to, comes back when cut off, and asks for what was missed.
#[derive(Debug)]
pub struct Follower {
    task: JoinHandle<Result<Story>>,
    /// The number to come next.
    next: watch::Receiver<u64>,
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
    /// That it got each number that a publisher sent, from 0, in order, once, without a doubt.
    pub fn ensure_whole(&self, count: u64) -> Result<()> {
        self.ensure_whole_from(0, count)
    }

    /// That it got each number, though it was told that a failover may have cost it some.
    pub fn ensure_each_came(&self, count: u64) -> Result<()> {
        self.ensure_each_came_from(0, count)?;
        let unexpected = self.gaps.iter().find(|gap| gap["reason"] != "failover");
        ensure!(unexpected.is_none(), "{unexpected:?}");
        Ok(())
    }

    /// The same without a doubt, for someone who joined while the publisher was at work.
    pub fn ensure_whole_since_joining(&self, count: u64) -> Result<()> {
        let first = self.numbers().next().unwrap_or(count);
        self.ensure_whole_from(first, count)
    }

    fn ensure_whole_from(&self, first: u64, count: u64) -> Result<()> {
        self.ensure_each_came_from(first, count)?;
        ensure!(
            self.unrecovered == 0 && self.gaps.is_empty(),
            "{} joins were not recovered, gaps: {:?}",
            self.unrecovered,
            self.gaps
        );
        Ok(())
    }

    fn ensure_each_came_from(&self, first: u64, count: u64) -> Result<()> {
        let numbers: Vec<u64> = self.numbers().collect();
        let expected: Vec<u64> = (first..count).collect();
        let wrong =
            (0..numbers.len().max(expected.len())).find(|&at| numbers.get(at) != expected.get(at));
        if let Some(at) = wrong {
            bail!(
                "of {} messages {} came; from the first wrong one on: {:?}, not {:?}; {} moves, cuts: {:?}, gaps: {:?}",
                expected.len(),
                numbers.len(),
                numbers.iter().skip(at).take(5).collect::<Vec<_>>(),
                expected.get(at),
                self.moves,
                self.cuts,
                self.gaps,
            );
        }
        Ok(())
    }

    fn numbers(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.messages
            .iter()
            .filter_map(|message| message.data.as_u64())
    }
}

impl Follower {
    /// Joins a room through an endpoint, `ws://…/v1/ws`.
    pub async fn join(endpoint: &str, token: &str, room: &str) -> Result<Self> {
        Self::join_at(endpoint, endpoint, token, room).await
    }

    /// Joins a room through one endpoint, and will come back through another.
    pub async fn join_at(first: &str, endpoint: &str, token: &str, room: &str) -> Result<Self> {
        let mut connection = Connection {
            endpoint: first.to_owned(),
            token: token.to_owned(),
            room: room.to_owned(),
            last_seen_id: None,
            story: Story::default(),
        };
        let client = connection.open().await?;
        endpoint.clone_into(&mut connection.endpoint);
        let (sender, next) = watch::channel(0);
        let stop = CancellationToken::new();
        let task = tokio::spawn(connection.follow(client, sender, stop.clone()));
        Ok(Self { task, next, stop })
    }

    /// Waits until it has got the number before `next`.
    pub async fn got(&mut self, next: u64) -> Result<()> {
        let wait = self.next.wait_for(|&got| got >= next);
        timeout(PATIENCE, wait)
            .await
            .with_context(|| format!("number {next} never came"))?
            .map(drop)
            .context("it has given up")
    }

    /// Waits until it has got the last of a publisher's `count` numbers; then leaves and tells its story.
    pub async fn finish(mut self, count: u64) -> Result<Story> {
        // One that never gets it has its story to tell as well: what is missing says more than that something is.
        self.got(count).await.ok();
        self.stop.cancel();
        self.task.await?
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
        next: watch::Sender<u64>,
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
                    let opened = self.open().await?;
                    std::mem::replace(&mut client, opened).close().await.ok();
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
                        if let Some(number) = self.story.numbers().next_back() {
                            next.send_replace(number + 1);
                        }
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
    task: JoinHandle<Result<()>>,
    count: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Publisher {
    /// Starts, with a pause between two messages. `address` is `host:port` of gateways.
    pub fn start(address: &str, token: &str, room: &str, pause: Duration) -> Self {
        let stop = CancellationToken::new();
        let count = Arc::new(AtomicU64::new(0));
        let publishing = Publishing {
            url: format!("http://{address}/v1/rooms/{room}/messages"),
            authorization: format!("Bearer {token}"),
            pause,
            count: count.clone(),
        };
        let task = tokio::spawn(publishing.run(stop.clone()));
        Self { task, count, stop }
    }

    /// How many were acknowledged so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Stops; returns how many were acknowledged.
    pub async fn finish(self) -> Result<u64> {
        self.stop.cancel();
        self.task.await??;
        Ok(self.count.load(Ordering::Relaxed))
    }
}

struct Publishing {
    url: String,
    authorization: String,
    pause: Duration,
    count: Arc<AtomicU64>,
}

impl Publishing {
    async fn run(self, stop: CancellationToken) -> Result<()> {
        const RETRY: Duration = Duration::from_millis(100);
        // Unlike any other publisher's: an earlier one may have been in the room.
        let run: u64 = rand::rng().random();
        while !stop.is_cancelled() {
            let count = self.count.load(Ordering::Relaxed);
            let body = json!({ "data": count, "key": format!("{run:x}-{count}") });
            let start = Instant::now();
            // With a key it may be sent again whatever came of the first try.
            while let Err(error) = self.try_publish(&body).await {
                ensure!(
                    start.elapsed() < PATIENCE,
                    "message {count} was never acknowledged: {error:#}"
                );
                sleep(RETRY).await;
            }
            self.count.store(count + 1, Ordering::Relaxed);
            sleep(self.pause).await;
        }
        Ok(())
    }

    async fn try_publish(&self, body: &Value) -> Result<Value> {
        let headers = [("authorization", self.authorization.as_str())];
        http::post(&self.url, &headers, body).await?.json()
    }
}
