//! A room's users on this gateway, and what the broker has been told of them.
//!
//! Joining and leaving the broker's count are calls that take time, while connections come and go. For each user at most one call is under
//! way; when it returns, what is wanted by then decides about the next one. So no leave can overtake a join, whatever the order in
//! which connections end. It makes no calls itself: it says which one is next.

use std::collections::HashMap;

use crate::broker::Leave;
use crate::ids::UserId;

/// The users of one room that have connections here.
#[derive(Debug, Default)]
pub struct LocalUsers {
    users: HashMap<UserId, Entry>,
}

#[derive(Debug)]
struct Entry {
    connections: u32,
    /// How the last connection went.
    leave: Leave,
    told: Told,
    /// That it left is to be told at once, though the broker may have been told that it lingers.
    hastened: bool,
}

/// Where the broker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Absent,
    Present,
    /// A call is under way.
    Busy,
}

/// What the broker must be told next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Join,
    Leave(Leave),
}

impl LocalUsers {
    /// A connection of the user is in the room.
    pub fn add(&mut self, user: &UserId) {
        let entry = self.users.entry(user.clone()).or_insert(Entry {
            connections: 0,
            leave: Leave::Linger,
            told: Told::Absent,
            hastened: false,
        });
        entry.connections += 1;
        entry.hastened = false;
    }

    /// A connection of the user is no longer in the room.
    pub fn remove(&mut self, user: &UserId, leave: Leave) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.connections = entry.connections.saturating_sub(1);
            entry.leave = leave;
            if entry.connections == 0 && entry.told == Told::Absent {
                self.users.remove(user);
            }
        }
    }

    /// A departure that is under way is told at once, not after a while; whether there is one.
    pub fn hasten(&mut self, user: &UserId) -> bool {
        let Some(entry) = self.users.get_mut(user) else {
            return false;
        };
        let lingers = entry.connections == 0 && entry.leave == Leave::Linger;
        if lingers {
            entry.leave = Leave::Now;
            entry.hastened = true;
        }
        lingers
    }

    /// The call to make now, if any; until [`done`](Self::done) nobody else gets one for this user.
    pub fn next_call(&mut self, user: &UserId) -> Option<Call> {
        let entry = self.users.get_mut(user)?;
        let call = match (entry.told, entry.connections) {
            (Told::Absent, 1..) => Call::Join,
            (Told::Present, 0) => Call::Leave(entry.leave),
            (Told::Absent, 0) if entry.hastened => Call::Leave(Leave::EndLinger),
            _ => return None,
        };
        entry.told = Told::Busy;
        entry.hastened = false;
        Some(call)
    }

    /// A call ended; `present` is where the broker stands now.
    pub fn done(&mut self, user: &UserId, present: bool) {
        let Some(entry) = self.users.get_mut(user) else {
            return;
        };
        entry.told = if present { Told::Present } else { Told::Absent };
        if entry.connections == 0 && !present && !entry.hastened {
            self.users.remove(user);
        }
    }

    /// Whether nobody is here and nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Users with connections here.
    pub fn len(&self) -> usize {
        self.users.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> UserId {
        UserId::parse("alice").unwrap()
    }

    #[test]
    fn only_the_first_connection_joins_and_only_the_last_one_leaves() {
        let mut users = LocalUsers::default();
        users.add(&alice());
        assert_eq!(users.next_call(&alice()), Some(Call::Join));
        users.done(&alice(), true);
        users.add(&alice());
        assert_eq!(users.next_call(&alice()), None);
        users.remove(&alice(), Leave::Now);
        assert_eq!(users.next_call(&alice()), None);
        users.remove(&alice(), Leave::Linger);
        assert_eq!(users.next_call(&alice()), Some(Call::Leave(Leave::Linger)));
        users.done(&alice(), false);
        assert!(users.is_empty());
    }

    #[test]
    fn a_leave_during_a_join_waits_for_its_end() {
        let mut users = LocalUsers::default();
        users.add(&alice());
        assert_eq!(users.next_call(&alice()), Some(Call::Join));
        users.remove(&alice(), Leave::Now);
        assert_eq!(users.next_call(&alice()), None);
        assert!(!users.is_empty());
        users.done(&alice(), true);
        assert_eq!(users.next_call(&alice()), Some(Call::Leave(Leave::Now)));
    }

    #[test]
    fn a_return_during_a_leave_joins_again() {
        let mut users = LocalUsers::default();
        users.add(&alice());
        users.next_call(&alice());
        users.done(&alice(), true);
        users.remove(&alice(), Leave::Now);
        assert_eq!(users.next_call(&alice()), Some(Call::Leave(Leave::Now)));
        users.add(&alice());
        users.done(&alice(), false);
        assert_eq!(users.next_call(&alice()), Some(Call::Join));
    }

    #[test]
    fn a_departure_under_way_can_be_told_at_once() {
        let mut users = LocalUsers::default();
        assert!(!users.hasten(&alice()));
        users.add(&alice());
        users.next_call(&alice());
        users.done(&alice(), true);
        assert!(!users.hasten(&alice()), "it is here");
        users.remove(&alice(), Leave::Linger);
        assert!(users.hasten(&alice()));
        assert_eq!(users.next_call(&alice()), Some(Call::Leave(Leave::Now)));
        users.done(&alice(), false);
        assert!(users.is_empty());
    }

    #[test]
    fn a_linger_that_is_being_told_is_ended_by_the_next_call_unless_the_user_is_back() {
        for back in [false, true] {
            let mut users = LocalUsers::default();
            users.add(&alice());
            users.next_call(&alice());
            users.done(&alice(), true);
            users.remove(&alice(), Leave::Linger);
            assert_eq!(users.next_call(&alice()), Some(Call::Leave(Leave::Linger)));
            assert!(users.hasten(&alice()));
            if back {
                users.add(&alice());
            }
            users.done(&alice(), false);
            let next = users.next_call(&alice());
            if back {
                assert_eq!(next, Some(Call::Join));
                continue;
            }
            assert_eq!(next, Some(Call::Leave(Leave::EndLinger)));
            users.done(&alice(), false);
            assert!(users.is_empty());
        }
    }

    #[test]
    fn a_failed_join_leaves_nothing_behind() {
        let mut users = LocalUsers::default();
        users.add(&alice());
        assert_eq!(users.next_call(&alice()), Some(Call::Join));
        users.done(&alice(), false);
        users.remove(&alice(), Leave::Now);
        assert!(users.is_empty());
    }
}
