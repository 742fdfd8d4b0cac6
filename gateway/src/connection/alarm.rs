//! A connection's timer, which costs a delivery next to nothing: it is only looked at when its time has come.
//!
//! Polling a timer of tokio's registers the task anew, in memory that nothing else of a delivery touches. The task that waits is
//! always the same one, so once is enough.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until};

/// Rings once, at its time, until it is set anew.
#[derive(Debug)]
pub(super) struct Alarm {
    at: Instant,
    timer: Pin<Box<Sleep>>,
    /// Whom the timer wakes.
    registered: Option<Waker>,
}

impl Alarm {
    pub(super) fn at(at: Instant) -> Self {
        Self {
            at,
            timer: Box::pin(sleep_until(at)),
            registered: None,
        }
    }

    /// Sets it to another time.
    pub(super) fn reset(&mut self, at: Instant) {
        self.at = at;
        self.timer.as_mut().reset(at);
        self.registered = None;
    }

    /// Ready once its time has come.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let waits = self
            .registered
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()));
        if waits && Instant::now() < self.at {
            return Poll::Pending;
        }
        // A task that has used up its turn is put off, without a word to the timer.
        self.registered = coop::has_budget_remaining().then(|| context.waker().clone());
        self.timer.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use futures::task::noop_waker_ref;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_its_time_and_again_when_it_is_set_anew() {
        let start = Instant::now();
        let mut alarm = Alarm::at(start + HOUR);
        for time in 1..=3 {
            poll_fn(|context| alarm.poll(context)).await;
            assert_eq!(start.elapsed(), HOUR * time);
            alarm.reset(start + HOUR * (time + 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_wakes_whoever_polled_it_last() {
        let mut alarm = Alarm::at(Instant::now() + HOUR);
        let nobody = &mut Context::from_waker(noop_waker_ref());
        assert!(alarm.poll(nobody).is_pending());
        poll_fn(|context| alarm.poll(context)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_for_a_task_that_had_used_up_its_turn_when_it_first_looked() {
        let start = Instant::now();
        let mut alarm = Alarm::at(start + HOUR);
        let mut first = true;
        poll_fn(|context| {
            while first && coop::has_budget_remaining() {
                assert!(pin!(coop::consume_budget()).poll(context).is_ready());
            }
            first = false;
            alarm.poll(context)
        })
        .await;
        assert_eq!(start.elapsed(), HOUR);
    }
}
