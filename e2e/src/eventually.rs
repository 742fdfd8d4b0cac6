//! Waiting for what will be true in a while, without guessing for how long.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Tries again until `attempt` succeeds; after `limit`, fails with `what` and the last attempt's error.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    const PERIOD: Duration = Duration::from_millis(200);
    let start = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= limit => {
                return Err(error).with_context(|| format!("not within {limit:?}: {what}"));
            }
            Err(_) => tokio::time::sleep(PERIOD).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    #[tokio::test]
    async fn it_returns_what_the_first_success_gave() {
        let mut attempts = 0;
        let value = eventually("three attempts", Duration::from_mins(1), async || {
            attempts += 1;
            ensure!(attempts == 3, "only {attempts}");
            Ok(attempts)
        });
        assert_eq!(value.await.expect("the third succeeds"), 3);
    }

    #[tokio::test]
    async fn it_says_what_it_waited_for_and_why_the_last_attempt_failed() {
        let never = eventually(
            "the moon is here",
            Duration::ZERO,
            async || -> Result<()> { anyhow::bail!("it is far away") },
        );
        let error = format!("{:#}", never.await.expect_err("it never is"));
        assert_eq!(error, "not within 0ns: the moon is here: it is far away");
    }
}
