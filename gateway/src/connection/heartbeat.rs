//! When a connection is due for something: a ping, the end of waiting for an answer, the end of its token. One timer serves all three.

use std::sync::OnceLock;
use std::time::Duration;

use rand::Rng;
use rotunda_crds::config::HeartbeatConfig;
use tokio::time::Instant;

/// Far enough to be never, near enough not to overflow.
const NEVER: Duration = Duration::from_hours(30 * 365 * 24);

/// Connections wake up on ticks that they share: a hundred for one wake-up of a thread cost far less than a hundred wake-ups.
const TICK: Duration = Duration::from_millis(100);

/// Where the ticks count from.
static FIRST_TICK: OnceLock<Instant> = OnceLock::new();

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Ping,
    /// No sign of life since the ping.
    Dead,
    /// The token's time is over.
    Expired,
    Nothing,
}

/// The deadlines of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    next_ping: Instant,
    answer_by: Option<Instant>,
    expires: Instant,
}

impl Heartbeat {
    /// As configured.
    pub fn of(config: &HeartbeatConfig, now: Instant) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds.max(1)));
        Self::new(
            seconds(config.interval_seconds),
            seconds(config.timeout_seconds),
            now,
        )
    }

    /// The first ping comes anywhere within the interval, so that connections that came together don't ping together.
    pub fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        let first = interval.mul_f64(rand::rng().random_range(0.5..=1.0));
        Self {
            interval,
            timeout,
            next_ping: now + first,
            answer_by: None,
            expires: now + NEVER,
        }
    }

    /// The token counts for that long from now.
    pub fn expires_in(&mut self, remaining: Option<Duration>, now: Instant) {
        self.expires = now + remaining.unwrap_or(NEVER).min(NEVER);
    }

    /// Something came from the client; whether that moved the deadline.
    pub fn alive(&mut self) -> bool {
        self.answer_by.take().is_some()
    }

    fn deadline(&self) -> Instant {
        self.answer_by
            .unwrap_or(self.next_ping)
            .min(self.next_ping)
            .min(self.expires)
    }

    /// When to see what is due: the first tick from the deadline on.
    pub fn wake_at(&self) -> Instant {
        let deadline = self.deadline();
        let first = *FIRST_TICK.get_or_init(Instant::now);
        let over = deadline.saturating_duration_since(first).as_nanos() % TICK.as_nanos();
        match u64::try_from(over) {
            Ok(over) if over > 0 => deadline + TICK.saturating_sub(Duration::from_nanos(over)),
            _ => deadline,
        }
    }

    /// What is due now. `reading` is false while nothing is read from the client: then its silence says nothing.
    pub fn due(&mut self, now: Instant, reading: bool) -> Due {
        if self.expires <= now {
            return Due::Expired;
        }
        if self.answer_by.is_some_and(|by| by <= now) {
            if reading {
                return Due::Dead;
            }
            self.answer_by = Some(now + self.timeout);
        }
        if self.next_ping <= now {
            self.next_ping = now + self.interval;
            // A ping that is still unanswered keeps its own deadline.
            self.answer_by.get_or_insert(now + self.timeout);
            return Due::Ping;
        }
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn start() -> (Heartbeat, Instant) {
        let now = Instant::now();
        (Heartbeat::new(INTERVAL, TIMEOUT, now), now)
    }

    #[tokio::test]
    async fn silence_after_a_ping_is_death() {
        let (mut heartbeat, now) = start();
        assert_eq!(heartbeat.due(now, true), Due::Nothing);
        let ping = now + INTERVAL;
        assert_eq!(heartbeat.due(ping, true), Due::Ping);
        assert_eq!(heartbeat.deadline(), ping + TIMEOUT);
        assert_eq!(heartbeat.due(ping + TIMEOUT, true), Due::Dead);
    }

    #[tokio::test]
    async fn connections_wake_up_together_and_never_early() {
        let (one, now) = start();
        let other = Heartbeat::new(INTERVAL, TIMEOUT, now + Duration::from_millis(1));
        for heartbeat in [&one, &other] {
            let late = heartbeat.wake_at() - heartbeat.deadline();
            assert!(late < TICK);
        }
        let apart = one.wake_at().max(other.wake_at()) - one.wake_at().min(other.wake_at());
        assert_eq!(apart.as_nanos() % TICK.as_nanos(), 0);
    }

    #[tokio::test]
    async fn an_answer_keeps_the_connection() {
        let (mut heartbeat, now) = start();
        heartbeat.due(now + INTERVAL, true);
        assert!(heartbeat.alive());
        assert!(!heartbeat.alive());
        assert_eq!(heartbeat.due(now + INTERVAL + TIMEOUT, true), Due::Nothing);
        assert_eq!(heartbeat.deadline(), now + INTERVAL * 2);
    }

    #[tokio::test]
    async fn silence_of_a_client_nobody_reads_from_says_nothing() {
        let (mut heartbeat, now) = start();
        heartbeat.due(now + INTERVAL, true);
        let late = now + INTERVAL + TIMEOUT;
        assert_eq!(heartbeat.due(late, false), Due::Nothing);
        assert_eq!(heartbeat.due(late + TIMEOUT, true), Due::Dead);
    }

    #[tokio::test]
    async fn a_token_ends_and_a_newer_one_moves_the_end() {
        let (mut heartbeat, now) = start();
        heartbeat.expires_in(Some(Duration::from_secs(5)), now);
        assert_eq!(heartbeat.deadline(), now + Duration::from_secs(5));
        heartbeat.expires_in(Some(Duration::from_mins(1)), now);
        assert_eq!(
            heartbeat.due(now + Duration::from_secs(5), true),
            Due::Nothing
        );
        assert_eq!(
            heartbeat.due(now + Duration::from_mins(1), true),
            Due::Expired
        );
        heartbeat.expires_in(None, now);
        assert_ne!(
            heartbeat.due(now + Duration::from_mins(1), true),
            Due::Expired
        );
    }
}
