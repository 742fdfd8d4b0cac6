//! Whether every change of a room's presence was heard.
//!
//! Each announcement carries its version and that of the one before; `here` keeps the newest. A subscription notes the version heard last. What
//! doesn't follow it, and what the quiet check or a renewed subscription finds instead of it, means that something was missed: the room is
//! told to read its members. Versions are times, so those of two histories hardly ever agree by chance; within one they rise.

use super::super::super::Event;
use super::super::subscribe::{Subscription, Subscriptions};
use super::super::wire::Announcement;

impl Subscriptions {
    /// Hands on a change of presence, and tells whether there was one before it that wasn't heard.
    pub(in crate::broker::redis) fn announce(
        &self,
        subscription: &Subscription,
        announcement: Announcement,
    ) {
        let mut state = subscription.state();
        // Older than what the room was told to read.
        if announcement.version <= state.announced {
            return;
        }
        // Before the first look at `here` nothing can be said to be missing.
        let missed = state.known && announcement.previous != state.announced;
        state.announced = announcement.version;
        drop(state);
        self.deliver(subscription, Event::Presence(announcement.change));
        if missed {
            self.deliver(subscription, Event::PresenceMissed);
        }
    }

    /// `here` was found to have another version than was heard, and it was no matter of time.
    pub(in crate::broker::redis) fn miss_announcement(
        &self,
        subscription: &Subscription,
        found: u64,
    ) {
        tracing::info!(room = %subscription.room, "a change of presence was missed");
        subscription.state().announced = found;
        self.deliver(subscription, Event::PresenceMissed);
    }
}
