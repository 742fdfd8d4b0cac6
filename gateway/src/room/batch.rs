//! Changes of presence gathered over a moment, for rooms that ask for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::{Departed, PresenceChange};
use crate::ids::UserId;

/// Most names in one frame; past that only the count is told.
const MAX_NAMES: usize = 100;

/// What has changed since the last frame. Who came and went within it isn't named at all.
#[derive(Debug, Default)]
pub(super) struct PresenceBatch {
    joined: BTreeSet<UserId>,
    left: BTreeMap<UserId, u64>,
    count: Option<u64>,
}

impl PresenceBatch {
    /// Takes a change; true for the first one, which starts the time.
    pub(super) fn add(&mut self, change: PresenceChange) -> bool {
        for user in change.joined {
            if self.left.remove(&user).is_none() {
                self.joined.insert(user);
            }
        }
        for departed in change.left {
            if !self.joined.remove(&departed.user) {
                self.left.insert(departed.user, departed.last_seen_ms);
            }
        }
        self.count.replace(change.count).is_none()
    }

    /// What is to be told, and whether with names.
    pub(super) fn take(&mut self) -> Option<(PresenceChange, bool)> {
        let batch = std::mem::take(self);
        let names = batch.joined.len() + batch.left.len() <= MAX_NAMES;
        let change = PresenceChange {
            count: batch.count?,
            joined: batch.joined.into_iter().collect(),
            left: batch
                .left
                .into_iter()
                .map(|(user, last_seen_ms)| Departed { user, last_seen_ms })
                .collect(),
        };
        Some((change, names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn joined(names: &[&str], count: u64) -> PresenceChange {
        PresenceChange {
            joined: names.iter().map(|name| user(name)).collect(),
            left: vec![],
            count,
        }
    }

    #[test]
    fn who_came_and_went_within_a_batch_is_not_named() {
        let mut batch = PresenceBatch::default();
        assert!(batch.add(joined(&["alice", "bob"], 2)));
        let left = PresenceChange {
            joined: vec![],
            left: vec![Departed {
                user: user("bob"),
                last_seen_ms: 1,
            }],
            count: 1,
        };
        assert!(!batch.add(left));
        assert_eq!(batch.take(), Some((joined(&["alice"], 1), true)));
        assert_eq!(batch.take(), None);
    }

    #[test]
    fn a_crowd_is_only_counted() {
        let mut batch = PresenceBatch::default();
        let names: Vec<_> = (0..101).map(|n| format!("user{n:03}")).collect();
        batch.add(joined(
            &names.iter().map(String::as_str).collect::<Vec<_>>(),
            101,
        ));
        let (change, names) = batch.take().unwrap();
        assert_eq!((change.count, names), (101, false));
    }
}
