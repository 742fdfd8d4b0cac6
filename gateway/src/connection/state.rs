//! What a connection is doing, as one value that owns the commands under way.
//!
//! The loop of a [`session`](super::session) or of an [event stream](super::sse) goes by it: it polls the command that runs, reads
//! while there is a place for the next one, and ends when the state says why. `docs/protocol.md` shows it as a diagram, and a test here
//! compares the two.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::dialect::CloseReason;

/// A command, or the joins that came with the request, on its way; an error ends the connection. Boxed: an idle connection holds none.
pub(super) type Running = Pin<Box<dyn Future<Output = Result<(), CloseReason>> + Send>>;

/// See the module.
pub(super) enum State {
    /// Nothing is asked of the gateway.
    Idle,
    /// A command is carried out, and the next one is read meanwhile.
    Busy { running: Running },
    /// The next one has come and waits its turn: nothing more is read, so that a client that asks faster than it is served is slowed down
    /// by its own socket.
    Saturated { running: Running, next: Running },
    /// It ends.
    Closing { reason: CloseReason },
}

impl State {
    /// Begins, with what came along with the request.
    pub(super) fn new(first: Option<Running>) -> Self {
        first.map_or(Self::Idle, |running| Self::Busy { running })
    }

    /// A command has come, while [reading](Self::is_reading): it begins, or is the next one.
    pub(super) fn take(&mut self, command: Running) {
        *self = match mem::replace(self, Self::Idle) {
            Self::Idle => Self::Busy { running: command },
            Self::Busy { running } => Self::Saturated {
                running,
                next: command,
            },
            other => other,
        };
    }

    /// Goes on with the command under way. Ready each time that one is done.
    pub(super) fn poll_running(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (Self::Busy { running } | Self::Saturated { running, .. }) = self else {
            return Poll::Pending;
        };
        let done = ready!(running.as_mut().poll(context));
        *self = match (done, mem::replace(self, Self::Idle)) {
            (Err(reason), _) => Self::Closing { reason },
            (Ok(()), Self::Saturated { next, .. }) => Self::Busy { running: next },
            (Ok(()), _) => Self::Idle,
        };
        Poll::Ready(())
    }

    /// Ends it, and what is under way with it. The first reason stands.
    pub(super) fn close(&mut self, reason: CloseReason) {
        if self.closing().is_none() {
            *self = Self::Closing { reason };
        }
    }

    /// Whether there is a place for another command.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self, Self::Idle | Self::Busy { .. })
    }

    /// Why it ends, once it does.
    pub(super) fn closing(&self) -> Option<CloseReason> {
        match self {
            Self::Closing { reason } => Some(*reason),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::future::{pending, ready};

    use futures::task::noop_waker_ref;

    use super::*;
    use crate::testing::diagram;

    /// A state that isn't named here doesn't compile.
    fn name(state: &State) -> &'static str {
        match state {
            State::Idle => "Idle",
            State::Busy { .. } => "Busy",
            State::Saturated { .. } => "Saturated",
            State::Closing { .. } => "Closing",
        }
    }

    fn done(result: Result<(), CloseReason>) -> Running {
        Box::pin(ready(result))
    }

    fn for_ever() -> Running {
        Box::pin(pending())
    }

    /// Whether a command is done.
    fn poll(state: &mut State) -> bool {
        let context = &mut Context::from_waker(noop_waker_ref());
        state.poll_running(context).is_ready()
    }

    /// Each state, with a command that ends like this where one runs.
    fn each(running: fn() -> Running) -> [State; 4] {
        let saturated = State::Saturated {
            running: running(),
            next: for_ever(),
        };
        [
            State::Idle,
            State::Busy { running: running() },
            saturated,
            State::Closing {
                reason: CloseReason::Client,
            },
        ]
    }

    #[test]
    fn the_diagram_of_the_protocol_shows_these_states_and_how_one_follows_the_other() {
        let mut follows = BTreeSet::new();
        let mut act = |running: fn() -> Running, act: fn(&mut State)| {
            for mut state in each(running) {
                let before = name(&state);
                act(&mut state);
                if name(&state) != before {
                    follows.insert((before.to_owned(), name(&state).to_owned()));
                }
            }
        };
        act(for_ever, |state| {
            if state.is_reading() {
                state.take(for_ever());
            }
        });
        act(for_ever, |state| assert!(!poll(state)));
        act(
            || done(Ok(())),
            |state| {
                poll(state);
            },
        );
        act(
            || done(Err(CloseReason::Unavailable)),
            |state| {
                poll(state);
            },
        );
        act(for_ever, |state| state.close(CloseReason::Lost));
        for first in [None, Some(for_ever())] {
            follows.insert(("[*]".to_owned(), name(&State::new(first)).to_owned()));
        }
        follows.insert(("Closing".to_owned(), "[*]".to_owned()));
        assert_eq!(diagram("The states of a connection"), follows);
    }

    #[test]
    fn commands_are_carried_out_in_order_and_no_third_is_read() {
        let mut state = State::new(None);
        assert!(state.is_reading() && !poll(&mut state));
        state.take(done(Ok(())));
        state.take(done(Err(CloseReason::Unavailable)));
        assert!(!state.is_reading());
        assert!(poll(&mut state));
        assert!(state.is_reading() && state.closing().is_none());
        assert!(poll(&mut state));
        assert_eq!(state.closing(), Some(CloseReason::Unavailable));
        assert!(!state.is_reading() && !poll(&mut state));
    }

    #[test]
    fn the_first_reason_stands() {
        let mut state = State::new(Some(for_ever()));
        state.close(CloseReason::Drained);
        state.close(CloseReason::Lost);
        assert_eq!(state.closing(), Some(CloseReason::Drained));
    }
}
