//! Events for people: one when a condition changes for better or worse, never one for each reconcile.

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::runtime::events::{Event, EventType, Recorder};

use crate::error_chain::{describe, is_namespace_gone};

/// What the operator was doing, in every Event.
const ACTION: &str = "Reconcile";
/// Longest note that the API server takes, in bytes.
const MAX_NOTE_BYTES: usize = 1024;

/// How a condition reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polarity {
    /// True is good: Ready.
    Positive,
    /// True is bad: Stalled.
    Negative,
    /// True is good, and anything else is news from the start on: Accepted.
    Verdict,
}

/// One Event to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// Normal or Warning.
    pub type_: EventType,
    /// CamelCase.
    pub reason: String,
    /// A sentence.
    pub text: String,
}

/// What to tell about one condition, given its state before and after. Nothing where it stays the same, nor where a
/// resource merely starts out in the worse state without a reason to act.
pub fn compute_note(
    before: &[Condition],
    after: &[Condition],
    type_: &str,
    polarity: Polarity,
) -> Option<Note> {
    let find = |conditions: &[Condition]| {
        conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .cloned()
    };
    let (before, after) = (find(before), find(after)?);
    let bad = |condition: &Condition| match polarity {
        Polarity::Positive | Polarity::Verdict => condition.status != "True",
        Polarity::Negative => condition.status != "False",
    };
    let was_bad = before.as_ref().map(bad);
    let same = before
        .as_ref()
        .is_some_and(|before| before.reason == after.reason && before.message == after.message);
    let worth_telling = match (was_bad, bad(&after), polarity) {
        // Good, as before or from the start (of which only readiness is worth telling); or not ready from the start, or still
        // not: that is how everything starts, and other conditions tell why.
        (Some(false), false, _)
        | (None, false, Polarity::Negative | Polarity::Verdict)
        | (None | Some(true), true, Polarity::Positive) => false,
        (Some(true), true, Polarity::Negative | Polarity::Verdict) => !same,
        _ => true,
    };
    worth_telling.then(|| Note {
        type_: if bad(&after) {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: after.reason.clone(),
        text: after.message.clone(),
    })
}

/// Publishes one Event. A failure to do so is logged: nothing depends on Events.
pub async fn publish(
    recorder: &Recorder,
    object: &ObjectReference,
    type_: EventType,
    reason: &str,
    mut note: String,
) {
    if note.len() > MAX_NOTE_BYTES {
        note.truncate(note.floor_char_boundary(MAX_NOTE_BYTES));
    }
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: ACTION.to_owned(),
        secondary: None,
    };
    match recorder.publish(&event, object).await {
        Ok(()) => {}
        Err(error) if is_namespace_gone(&error) => {}
        // The Event that this one would have continued is gone; it isn't worth more than a line.
        Err(error) => tracing::warn!(
            reason,
            error = describe(&error),
            "could not publish an event"
        ),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;

    fn condition(type_: &str, status: &str, message: &str) -> Vec<Condition> {
        vec![Condition {
            type_: type_.into(),
            status: status.into(),
            reason: "Because".into(),
            message: message.into(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }]
    }

    fn ready(before: Option<&str>, after: &str) -> Option<EventType> {
        let before = before
            .map(|status| condition("Ready", status, "a"))
            .unwrap_or_default();
        compute_note(
            &before,
            &condition("Ready", after, "b"),
            "Ready",
            Polarity::Positive,
        )
        .map(|note| note.type_)
    }

    #[test]
    fn becoming_ready_and_losing_it_are_told_once() {
        assert_eq!(ready(None, "False"), None);
        assert_eq!(ready(Some("False"), "False"), None);
        assert_eq!(ready(Some("False"), "True"), Some(EventType::Normal));
        assert_eq!(ready(None, "True"), Some(EventType::Normal));
        assert_eq!(ready(Some("True"), "True"), None);
        assert_eq!(ready(Some("True"), "False"), Some(EventType::Warning));
        assert_eq!(ready(Some("True"), "Unknown"), Some(EventType::Warning));
    }

    #[test]
    fn a_new_cause_of_a_stall_is_told_again() {
        let stalled = |message| condition("Stalled", "True", message);
        let note = |before: &[Condition], after: &[Condition]| {
            compute_note(before, after, "Stalled", Polarity::Negative)
        };
        let told = note(&[], &stalled("Secret a is missing")).expect("told");
        assert_eq!(
            (told.type_, told.text.as_str()),
            (EventType::Warning, "Secret a is missing")
        );
        assert_eq!(
            note(
                &stalled("Secret a is missing"),
                &stalled("Secret a is missing")
            ),
            None
        );
        assert!(
            note(
                &stalled("Secret a is missing"),
                &stalled("Secret b is missing")
            )
            .is_some()
        );
        assert_eq!(note(&[], &condition("Stalled", "False", "")), None);
        assert!(
            note(
                &stalled("Secret a is missing"),
                &condition("Stalled", "False", "")
            )
            .is_some()
        );
    }
}
