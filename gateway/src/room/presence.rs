//! A room's members: what the broker is told of those here, and what listeners are told of all.

use super::state::MembersRead;
use super::{Room, Todo};
use crate::broker::Members;
use crate::ids::UserId;
use crate::presence::Call;

impl Room {
    /// What the broker must be told about a user.
    pub fn next_call(&self, user: &UserId) -> Option<Call> {
        self.state.lock().users.next_call(user)
    }

    /// Has a departure of a user that is under way told at once; whether there is one.
    pub fn hasten(&self, user: &UserId) -> bool {
        self.state.lock().users.hasten(user)
    }

    /// A call about a user ended: where the broker stands, and the count it gave.
    pub fn call_done(&self, user: &UserId, present: bool, count: Option<u64>) {
        let mut state = self.state.lock();
        state.users.done(user, present);
        state.count = count.unwrap_or(state.count);
    }

    /// Users in the room over all gateways; `None` where presence is off.
    pub fn count(&self) -> Option<u64> {
        let state = self.state.lock();
        // Before the first event the broker's last answer is all there is; the own users are there for sure.
        state
            .policy
            .counts_members()
            .then(|| state.count.max(state.users.len() as u64))
    }

    /// Users (or connections, where presence is off) through this gateway.
    pub fn local_members(&self) -> usize {
        let state = self.state.lock();
        if state.policy.counts_members() {
            state.users.len()
        } else {
            state.subscribers.len()
        }
    }

    /// Tells the gathered changes of presence.
    pub fn flush_presence(&self) {
        self.state.lock().flush_presence(&self.name);
    }

    /// How many names a read of the members needs. `None` when nobody wants to know any more.
    pub fn begin_members_read(&self) -> Option<usize> {
        let mut state = self.state.lock();
        let wanted = !state.subscribers.is_empty() && state.policy.counts_members();
        state.members_read = if wanted {
            MembersRead::UnderWay
        } else {
            MembersRead::Done
        };
        wanted.then_some(state.policy.presence_names)
    }

    /// Takes what was read, and says what is to be done then.
    pub fn take_members(&self, members: Members) -> Todo {
        self.state.lock().on_members(&self.name, members)
    }

    /// Whether the members have to be read once more. If not, the reading has ended.
    pub fn end_members_read(&self) -> bool {
        let before = std::mem::take(&mut self.state.lock().members_read);
        before == MembersRead::Again
    }
}
