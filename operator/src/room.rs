//! The controller of Rooms. It writes statuses only: the policy itself travels in the config that the cluster's controller
//! renders from all Rooms.
//!
//! ```text
//! dereference (from memory) → validate (pure) → status (pure, then written)
//! ```
//!
//! A Room whose history goes with it has a finalizer, see [`deletion`].

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp,
};
use kube::{
    Resource,
    runtime::{controller::Action, events::EventType},
};
use rotunda_crds::{
    Room,
    conditions::{is_true, room as condition},
};
use thiserror::Error;

use crate::{
    context::{Context, is_paused},
    error_chain::{as_sentence, describe},
    key::Key,
    metrics::Kind,
    notify::{self, Polarity},
    redis,
};

pub mod deletion;
pub mod dereference;
pub mod status;
pub mod validate;

/// Looked at again after this long, whatever happened.
const CALM: Duration = Duration::from_mins(5);

/// What can go wrong with the world outside; each is tried again, later with each failure.
#[derive(Debug, Error)]
pub enum Error {
    /// The status could not be written.
    #[error("could not write the status")]
    Status(#[source] kube::Error),
    /// The finalizer could not be set or taken away.
    #[error("could not write the finalizer")]
    Finalizer(#[source] kube::Error),
    /// The stored messages could not be deleted.
    #[error("could not delete the stored messages")]
    Redis(#[from] redis::Error),
}

impl Error {
    /// For Events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Status(_) => "StatusFailed",
            Self::Finalizer(_) => "FinalizerFailed",
            Self::Redis(error) => error.reason(),
        }
    }
}

/// Says in a Room's status what has become of it.
pub async fn reconcile(room: Arc<Room>, ctx: Arc<Context>) -> Result<Action, Error> {
    let key = Key::of(room.as_ref());
    let facts = dereference::dereference(&ctx, room.clone());
    if !facts.is_handled(&ctx.settings) {
        ctx.forget_room(&key);
        return Ok(Action::await_change());
    }
    if room.metadata.deletion_timestamp.is_some() {
        return deletion::finish(&ctx, &room).await;
    }
    if ctx.stores.is_leaving(&key.namespace) {
        return Ok(Action::await_change());
    }
    deletion::prepare(&ctx, &room).await?;
    if is_paused(room.as_ref()) {
        return Ok(Action::await_change());
    }
    let acceptance = validate::validate(&facts);
    let status = status::compute_status(&facts, &acceptance, &now());
    ctx.metrics.set_ready(
        Kind::Room,
        key.clone(),
        is_true(&status.conditions, condition::READY),
    );
    if room.status.as_ref() != Some(&status) {
        ctx.status
            .write::<Room, _>(&key, &status)
            .await
            .map_err(Error::Status)?;
        let before = room.status.clone().unwrap_or_default().conditions;
        if let Some(note) = notify::compute_note(
            &before,
            &status.conditions,
            condition::ACCEPTED,
            Polarity::Verdict,
        ) {
            notify::publish(
                &ctx.recorder,
                &reference(&room),
                note.type_,
                &note.reason,
                note.text,
            )
            .await;
        }
    }
    Ok(Action::requeue(CALM))
}

/// After a failure: tells it, and says when to try again.
pub fn on_error(room: &Room, error: &Error, ctx: &Context, delay: Duration) {
    ctx.metrics.failed(Kind::Room, error.reason());
    tracing::warn!(
        kind = Kind::Room.as_str(),
        object = %Key::of(room),
        reason = error.reason(),
        error = describe(error),
        retry_in = ?delay,
        "reconcile failed"
    );
    let (recorder, object) = (ctx.recorder.clone(), reference(room));
    let (reason, text) = (
        error.reason(),
        as_sentence(&format!("{}; it is tried again", describe(error))),
    );
    ctx.tasks.spawn(async move {
        notify::publish(&recorder, &object, EventType::Warning, reason, text).await;
    });
}

/// The object of an Event. Without its version: Events about any version of it belong together.
fn reference(room: &Room) -> ObjectReference {
    let mut reference = room.object_ref(&());
    reference.resource_version = None;
    reference
}

fn now() -> Time {
    Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH))
}
