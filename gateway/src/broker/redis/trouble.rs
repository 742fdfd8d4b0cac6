//! Says what is wrong when it begins, when it changes, and once a minute while it lasts; not with each try.

use std::time::Duration;

use tokio::time::Instant;

/// How often a lasting trouble is told again.
const REMINDER: Duration = Duration::from_mins(1);

/// The trouble of one task.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<(String, Instant)>);

impl Trouble {
    /// Whether it is time to tell this.
    pub(super) fn is_news(&mut self, why: &str) -> bool {
        let known = self
            .0
            .as_ref()
            .is_some_and(|(told, at)| told == why && at.elapsed() < REMINDER);
        if !known {
            self.0 = Some((why.to_owned(), Instant::now()));
        }
        !known
    }

    /// Whatever comes next is news.
    pub(super) fn over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trouble_is_told_once_when_it_changes_and_now_and_then() {
        let mut trouble = Trouble::default();
        assert!(trouble.is_news("a"));
        assert!(!trouble.is_news("a"));
        assert!(trouble.is_news("b"));
        tokio::time::advance(REMINDER).await;
        assert!(trouble.is_news("b"));
        assert!(!trouble.is_news("b"));
        trouble.over();
        assert!(trouble.is_news("b"));
    }
}
