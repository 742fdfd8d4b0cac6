//! The work queue of a controller: what asks for a reconcile pushes a [`Key`] with the time it may be gathered for, the
//! controller takes each key once, when the earliest of those times is over. A steady stream of requests never delays a
//! key for longer than that (a debounce that starts anew with each request would).

use std::time::Duration;

use futures::{Stream, stream};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::time::DelayQueue;

use crate::key::Key;

/// The side that asks for work; cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {
    sender: mpsc::UnboundedSender<(Key, Duration)>,
}

/// The side that hands it out.
#[derive(Debug)]
pub struct Requests {
    receiver: mpsc::UnboundedReceiver<(Key, Duration)>,
}

/// A new queue.
pub fn queue() -> (Queue, Requests) {
    // Unbounded, but drained without waiting for the controller: what stays is one entry a key.
    let (sender, receiver) = mpsc::unbounded_channel();
    (Queue { sender }, Requests { receiver })
}

impl Queue {
    /// Asks for a reconcile of `key` as soon as possible.
    pub fn push(&self, key: Key) {
        self.push_within(key, Duration::ZERO);
    }

    /// Asks for a reconcile of `key` once `window` is over, together with all that is asked until then.
    pub fn push_within(&self, key: Key, window: Duration) {
        // Refused only when the controller has ended, and then there is nobody to tell.
        drop(self.sender.send((key, window)));
    }
}

/// Keys that wait, and until when.
#[derive(Default)]
struct Waiting {
    timers: DelayQueue<Key>,
    entries: std::collections::HashMap<Key, (tokio_util::time::delay_queue::Key, Instant)>,
}

impl Waiting {
    fn add(&mut self, key: Key, window: Duration) {
        let due = Instant::now() + window;
        match self.entries.get_mut(&key) {
            Some((_, earlier)) if *earlier <= due => {}
            Some((timer, later)) => {
                self.timers.reset_at(timer, due);
                *later = due;
            }
            None => {
                let timer = self.timers.insert_at(key.clone(), due);
                self.entries.insert(key, (timer, due));
            }
        }
    }

    async fn next(&mut self) -> Key {
        match futures::StreamExt::next(&mut self.timers).await {
            Some(expired) => {
                let key = expired.into_inner();
                self.entries.remove(&key);
                key
            }
            None => std::future::pending().await,
        }
    }
}

impl Requests {
    /// The gathered keys; ends when all [`Queue`]s are gone.
    pub fn gathered(self) -> impl Stream<Item = Key> + Send + 'static {
        stream::unfold(
            (self.receiver, Waiting::default()),
            |(mut receiver, mut waiting)| async move {
                loop {
                    tokio::select! {
                        request = receiver.recv() => {
                            let (key, window) = request?;
                            waiting.add(key, window);
                        }
                        key = waiting.next() => return Some((key, (receiver, waiting))),
                    }
                }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::StreamExt;

    use super::*;

    const WINDOW: Duration = Duration::from_millis(300);

    fn key(name: &str) -> Key {
        Key::new("demo", name)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_within_the_window_become_one() {
        let (queue, requests) = queue();
        let mut keys = pin!(requests.gathered());
        let start = Instant::now();
        for _ in 0..20 {
            queue.push_within(key("chat"), WINDOW);
        }
        assert_eq!(keys.next().await, Some(key("chat")));
        assert_eq!(start.elapsed().as_millis() / 10, 30);
        drop(queue);
        assert_eq!(keys.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn steady_requests_do_not_starve_a_key() {
        let (queue, requests) = queue();
        let mut keys = pin!(requests.gathered());
        let start = Instant::now();
        let feed = async {
            for _ in 0..50 {
                queue.push_within(key("chat"), WINDOW);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = feed => panic!("the key was starved"),
            taken = keys.next() => assert_eq!(taken, Some(key("chat"))),
        }
        assert!(start.elapsed() < WINDOW * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_urgent_request_overtakes_a_gathered_one() {
        let (queue, requests) = queue();
        let mut keys = pin!(requests.gathered());
        queue.push_within(key("slow"), WINDOW);
        queue.push_within(key("chat"), WINDOW * 10);
        queue.push(key("chat"));
        assert_eq!(keys.next().await, Some(key("chat")));
        assert_eq!(keys.next().await, Some(key("slow")));
    }
}
