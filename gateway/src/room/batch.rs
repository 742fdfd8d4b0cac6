//! Changes of presence gathered over a moment, for rooms that ask for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::{Departed, Member, Members, PresenceChange};
use crate::ids::UserId;

/// What is to be told at the end of the moment. However many come and go, it holds no more names than a frame may have.
#[derive(Debug, Default)]
pub(super) struct PresenceBatch {
    names: Names,
    /// `None` while there is nothing to tell.
    count: Option<u64>,
}

#[derive(Debug)]
enum Names {
    /// Since the last frame. Who came and went within it isn't named at all.
    Changes {
        joined: BTreeSet<UserId>,
        left: BTreeMap<UserId, u64>,
    },
    /// Everyone, since a change was missed.
    All(BTreeSet<UserId>),
    TooMany,
}

impl Default for Names {
    fn default() -> Self {
        Self::Changes {
            joined: BTreeSet::new(),
            left: BTreeMap::new(),
        }
    }
}

/// What a frame tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Changes(PresenceChange),
    All(Members),
    Count(u64),
}

impl PresenceBatch {
    /// Takes a change, of which at most so many names may be told; true for the first one, which starts the time.
    pub(super) fn add(&mut self, change: PresenceChange, most: usize) -> bool {
        self.names.add(change.joined, change.left);
        self.names.limit(most);
        self.count.replace(change.count).is_none()
    }

    /// As [`add`](Self::add), with a fresh list of the members that makes up for what was missed.
    pub(super) fn replace(&mut self, members: Members, most: usize) -> bool {
        self.names = if members.members.len() as u64 == members.count {
            Names::All(
                members
                    .members
                    .into_iter()
                    .map(|member| member.user)
                    .collect(),
            )
        } else {
            Names::TooMany
        };
        self.names.limit(most);
        self.count.replace(members.count).is_none()
    }

    /// What is to be told.
    pub(super) fn take(&mut self) -> Option<Told> {
        let Self { names, count } = std::mem::take(self);
        let count = count?;
        Some(match names {
            Names::Changes { joined, left } => Told::Changes(PresenceChange {
                joined: joined.into_iter().collect(),
                left: left
                    .into_iter()
                    .map(|(user, last_seen_ms)| Departed { user, last_seen_ms })
                    .collect(),
                count,
            }),
            Names::All(users) => Told::All(Members {
                members: users.into_iter().map(|user| Member { user }).collect(),
                count,
            }),
            Names::TooMany => Told::Count(count),
        })
    }
}

impl Names {
    fn add(&mut self, came: Vec<UserId>, went: Vec<Departed>) {
        match self {
            Self::Changes { joined, left } => {
                for user in came {
                    if left.remove(&user).is_none() {
                        joined.insert(user);
                    }
                }
                for departed in went {
                    if !joined.remove(&departed.user) {
                        left.insert(departed.user, departed.last_seen_ms);
                    }
                }
            }
            Self::All(users) => {
                users.extend(came);
                for departed in went {
                    users.remove(&departed.user);
                }
            }
            Self::TooMany => {}
        }
    }

    fn limit(&mut self, most: usize) {
        let names = match self {
            Self::Changes { joined, left } => joined.len() + left.len(),
            Self::All(users) => users.len(),
            Self::TooMany => return,
        };
        // Where none may be told, there is nothing to tell but the count.
        if names > most || most == 0 {
            *self = Self::TooMany;
        }
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

    fn left(name: &str, count: u64) -> PresenceChange {
        PresenceChange {
            joined: vec![],
            left: vec![Departed {
                user: user(name),
                last_seen_ms: 1,
            }],
            count,
        }
    }

    fn members(names: &[&str], count: u64) -> Members {
        Members {
            members: names
                .iter()
                .map(|name| Member { user: user(name) })
                .collect(),
            count,
        }
    }

    #[test]
    fn who_came_and_went_within_a_batch_is_not_named() {
        let mut batch = PresenceBatch::default();
        assert!(batch.add(joined(&["alice", "bob"], 2), 100));
        assert!(!batch.add(left("bob", 1), 100));
        let told = Told::Changes(joined(&["alice"], 1));
        assert_eq!(batch.take(), Some(told));
        assert_eq!(batch.take(), None);
    }

    #[test]
    fn a_crowd_is_only_counted_and_its_names_are_not_kept() {
        let mut batch = PresenceBatch::default();
        for number in 0..10_000 {
            batch.add(joined(&[&format!("user{number}")], number + 1), 100);
        }
        assert!(matches!(batch.names, Names::TooMany));
        assert_eq!(batch.take(), Some(Told::Count(10_000)));
        batch.add(joined(&["alice"], 10_001), 100);
        assert!(matches!(batch.take(), Some(Told::Changes(_))));
        batch.add(joined(&["bob"], 10_002), 0);
        assert_eq!(batch.take(), Some(Told::Count(10_002)));
    }

    #[test]
    fn a_fresh_list_takes_the_place_of_what_was_gathered_and_goes_with_what_follows() {
        let mut batch = PresenceBatch::default();
        batch.add(joined(&["alice"], 1), 100);
        assert!(!batch.replace(members(&["bob", "carol"], 2), 100));
        batch.add(left("bob", 1), 100);
        batch.add(joined(&["dora"], 2), 100);
        assert_eq!(
            batch.take(),
            Some(Told::All(members(&["carol", "dora"], 2)))
        );
        assert!(batch.replace(members(&["bob"], 500), 100));
        assert_eq!(batch.take(), Some(Told::Count(500)), "it isn't whole");
    }
}
