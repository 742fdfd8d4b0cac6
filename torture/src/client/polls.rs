//! A chain of polls, long or plain: each goes on after the id of the answer before, at any gateway. An answer that is lost is asked for again.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Duration, sleep};

use super::Trouble;
use super::feed::{Asked, Item};
use super::frame::Frame;
use super::http::{Ask, ask, refused};
use super::wishes::Wishes;
use crate::arena::Arena;

/// How long a long poll waits, in seconds. Short, so that there are many.
const WAIT_SECONDS: u64 = 4;

/// How long a gateway may take beyond that.
const PATIENCE: Duration = Duration::from_secs(4);

/// The longest time between two plain polls, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 600;

pub struct Polls {
    arena: Arc<Arena>,
    token: String,
    wishes: Wishes,
    wait_seconds: u64,
    random: StdRng,
    /// What is left of the last answer.
    items: VecDeque<Item>,
    /// The last answer said that there is more, or there was none yet.
    at_once: bool,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    events: Vec<Box<RawValue>>,
    more: bool,
}

impl Polls {
    pub fn new(arena: &Arc<Arena>, token: &str, wishes: Wishes, waits: bool, seed: u64) -> Self {
        Self {
            arena: Arc::clone(arena),
            token: token.to_owned(),
            wishes,
            wait_seconds: if waits { WAIT_SECONDS } else { 0 },
            random: StdRng::seed_from_u64(seed),
            items: VecDeque::new(),
            at_once: true,
        }
    }

    /// The next item, of this answer or of the next.
    pub async fn next(&mut self) -> Result<Item, Trouble> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(item);
            }
            self.poll().await?;
        }
    }

    async fn poll(&mut self) -> Result<(), Trouble> {
        if self.wait_seconds == 0 && !self.at_once {
            let pause = self.random.random_range(0..LONGEST_PAUSE_MS);
            sleep(Duration::from_millis(pause)).await;
        }
        let gateway = self.random.random_range(0..self.arena.gateways.count());
        let asked = Asked {
            at: self.arena.clock.now(),
            gateway,
            after: self.wishes.positions()?,
        };
        let request = Ask {
            method: hyper::Method::GET,
            path: format!(
                "/v1/poll?{}&wait={}",
                self.wishes.query(),
                self.wait_seconds
            ),
            token: &self.token,
            headers: Vec::new(),
            body: String::new(),
        };
        let patience = Duration::from_secs(self.wait_seconds) + PATIENCE;
        let answer = ask(self.arena.gateways.address(gateway), request, patience).await?;
        if !answer.status.is_success() {
            return Err(refused(answer.status, &answer.body));
        }
        let Answer { id, events, more } = serde_json::from_slice(&answer.body)
            .map_err(|error| Trouble::Nonsense(format!("a poll's answer: {error}")))?;
        // From here on nothing waits: an answer is taken whole or not at all.
        self.items.push_back(Item::Asked(asked));
        for event in events {
            self.items
                .push_back(Item::Frame(Frame::of_raw(&event)?, None));
        }
        self.items.push_back(Item::Place(id.clone()));
        self.wishes.go_on_after(id);
        self.at_once = more;
        Ok(())
    }
}
