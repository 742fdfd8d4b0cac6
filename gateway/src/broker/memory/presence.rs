//! Who is in a room, and which users are connected at all, for the memory engine.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::super::millis;
use super::super::{Departed, Member, Members, PresenceChange, UserPresence};
use crate::ids::UserId;

/// How long it is remembered when a user was last connected.
const LAST_SEEN_MS: u64 = 30 * 24 * 3600 * 1000;

/// The most users remembered that aren't connected; those gone longest give way.
const MAX_OFFLINE: usize = 100_000;

#[derive(Debug)]
enum Stay {
    Here,
    Lingering { left_ms: u64, until_ms: u64 },
}

#[derive(Debug, Default)]
pub(super) struct Presence {
    members: BTreeMap<UserId, Stay>,
}

impl Presence {
    /// What to announce, if the user wasn't there.
    pub(super) fn join(&mut self, user: &UserId) -> Option<PresenceChange> {
        let before = self.members.insert(user.clone(), Stay::Here);
        before.is_none().then(|| PresenceChange {
            joined: vec![user.clone()],
            left: Vec::new(),
            count: self.count(),
        })
    }

    pub(super) fn leave(&mut self, user: &UserId, now_ms: u64) -> Option<PresenceChange> {
        self.members.remove(user)?;
        Some(self.departed(user, now_ms))
    }

    /// Whether the user was there and now lingers.
    pub(super) fn linger(&mut self, user: &UserId, now_ms: u64, ttl: Duration) -> bool {
        let Some(stay @ Stay::Here) = self.members.get_mut(user) else {
            return false;
        };
        *stay = Stay::Lingering {
            left_ms: now_ms,
            until_ms: now_ms.saturating_add(millis(ttl)),
        };
        true
    }

    /// What to announce, if the user is still away.
    pub(super) fn end_linger(&mut self, user: &UserId, now_ms: u64) -> Option<PresenceChange> {
        match self.members.get(user)? {
            Stay::Lingering { left_ms, until_ms } if *until_ms <= now_ms => {
                let left_ms = *left_ms;
                self.members.remove(user);
                Some(self.departed(user, left_ms))
            }
            _ => None,
        }
    }

    pub(super) fn members(&self, limit: usize) -> Members {
        Members {
            members: self
                .members
                .keys()
                .take(limit)
                .map(|user| Member { user: user.clone() })
                .collect(),
            count: self.count(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.members.len() as u64
    }

    fn departed(&self, user: &UserId, last_seen_ms: u64) -> PresenceChange {
        PresenceChange {
            joined: Vec::new(),
            left: vec![Departed {
                user: user.clone(),
                last_seen_ms,
            }],
            count: self.count(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Users {
    users: HashMap<UserId, UserPresence>,
}

impl Users {
    pub(super) fn set_online(&mut self, user: &UserId, online: bool, now_ms: u64) {
        let presence = self.users.entry(user.clone()).or_insert(UserPresence {
            online: false,
            last_seen_ms: None,
        });
        if presence.online && !online {
            presence.last_seen_ms = Some(now_ms);
        }
        presence.online = online;
    }

    pub(super) fn get(&self, user: &UserId) -> UserPresence {
        self.users.get(user).copied().unwrap_or(UserPresence {
            online: false,
            last_seen_ms: None,
        })
    }

    pub(super) fn tidy(&mut self, now_ms: u64) {
        self.forget_before(now_ms.saturating_sub(LAST_SEEN_MS));
        let mut seen: Vec<u64> = self
            .users
            .values()
            .filter(|user| !user.online)
            .filter_map(|user| user.last_seen_ms)
            .collect();
        if seen.len() > MAX_OFFLINE {
            let surplus = seen.len() - MAX_OFFLINE;
            let (_, youngest_surplus, _) = seen.select_nth_unstable(surplus - 1);
            let limit = *youngest_surplus + 1;
            self.forget_before(limit);
        }
    }

    fn forget_before(&mut self, limit_ms: u64) {
        self.users.retain(|_, user| {
            user.online || user.last_seen_ms.is_some_and(|seen| seen >= limit_ms)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).expect("a fine name")
    }

    #[test]
    fn the_longest_gone_are_forgotten_first() {
        let mut users = Users::default();
        for n in 0..=MAX_OFFLINE as u64 {
            let user = user(&n.to_string());
            users.set_online(&user, true, n);
            users.set_online(&user, false, n);
        }
        users.tidy(0);
        assert_eq!(users.users.len(), MAX_OFFLINE);
        assert_eq!(users.get(&user("0")).last_seen_ms, None);
        assert_eq!(users.get(&user("1")).last_seen_ms, Some(1));
    }

    #[test]
    fn last_seen_is_kept_thirty_days() {
        let mut users = Users::default();
        users.set_online(&user("alice"), true, 0);
        users.set_online(&user("alice"), false, 5);
        users.tidy(5 + LAST_SEEN_MS);
        assert_eq!(users.get(&user("alice")).last_seen_ms, Some(5));
        users.tidy(6 + LAST_SEEN_MS);
        assert_eq!(users.get(&user("alice")).last_seen_ms, None);
    }
}
