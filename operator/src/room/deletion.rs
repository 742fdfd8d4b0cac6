//! `deletionPolicy: Delete`: the history goes with the Room. A finalizer holds the Room until what is stored of its rooms
//! has been deleted from Redis.
//!
//! It never holds for long: a cluster that is gone, or whose managed Redis goes with it, releases at once; a Redis that
//! can't be reached is tried for ten minutes.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{controller::Action, events::EventType},
};
use rotunda_crds::{
    Room,
    config::{RoomConfig, RoomMatch},
    pattern::{RoomMatcher, RoomPattern, precedence},
    room::DeletionPolicy,
    room_name::RoomName,
};
use serde_json::json;

use super::{Error, reference};
use crate::{
    cluster::model::RedisTarget, context::Context, error_chain::describe, key::Key, notify, redis,
};

/// Name of the finalizer.
pub const FINALIZER: &str = "rotunda.dev/history";
/// How long deletion is tried.
const PATIENCE: Duration = Duration::from_mins(10);
/// Pause before looking again whether the gateways have let go.
const SOON: Duration = Duration::from_secs(1);

/// Sets or takes away the finalizer of a Room that lives, as its policy says.
pub async fn prepare(ctx: &Context, room: &Room) -> Result<(), Error> {
    let wanted = room.spec.deletion_policy() == DeletionPolicy::Delete;
    if wanted == has_finalizer(room) {
        return Ok(());
    }
    write_finalizer(ctx, room, wanted).await
}

/// Deletes what is stored of a Room on its way out, and lets it go.
pub async fn finish(ctx: &Context, room: &Room) -> Result<Action, Error> {
    if !has_finalizer(room) {
        return Ok(Action::await_change());
    }
    let (namespace, name) = room.cluster_key();
    let cluster_key = Key::new(namespace, name);
    let release = match plan_release(ctx, room, &cluster_key) {
        Plan::Release => true,
        Plan::Wait => false,
        Plan::Delete(target, prefix) => {
            let rooms = RoomsOf::new(ctx, room, &cluster_key);
            let matches = |name: &str| rooms.contains(name);
            match redis::delete_rooms(&target, name, namespace, &prefix, &matches).await {
                Ok(keys) => {
                    tracing::info!(room = %Key::of(room), keys, "deleted the history of a room");
                    true
                }
                Err(error) if is_overdue(room) => {
                    give_up(ctx, room, &describe(&error)).await;
                    true
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    if release {
        write_finalizer(ctx, room, false).await?;
        return Ok(Action::await_change());
    }
    if is_overdue(room) {
        give_up(ctx, room, "the cluster wasn't ready for it").await;
        write_finalizer(ctx, room, false).await?;
        return Ok(Action::await_change());
    }
    Ok(Action::requeue(SOON))
}

enum Plan {
    /// Nothing to delete, or it goes anyway.
    Release,
    /// The gateways may still write, or it isn't known yet where to.
    Wait,
    /// Delete there, below that key prefix.
    Delete(RedisTarget, String),
}

fn plan_release(ctx: &Context, room: &Room, cluster_key: &Key) -> Plan {
    let Some(cluster) = ctx.stores.cluster(cluster_key) else {
        return Plan::Release;
    };
    let target = ctx
        .validated
        .lock()
        .get(cluster_key)
        .map(|validated| validated.redis.clone());
    if cluster.metadata.deletion_timestamp.is_some()
        && !matches!(target, Some(RedisTarget::External { .. }))
    {
        return Plan::Release;
    }
    // The config comes first: gateways that don't answer just now tell nothing about what they still run.
    let config = ctx.configs.lock().get(cluster_key).cloned();
    let still_runs = config
        .iter()
        .flat_map(|config| &config.rooms)
        .any(|other| is_entry_of(other, room))
        || ctx
            .gateways
            .report(cluster_key)
            .answers()
            .any(|stats| stats.room(room.namespace(), room.name()).is_some());
    match target {
        Some(target) if !still_runs => Plan::Delete(target, cluster.key_prefix()),
        _ => Plan::Wait,
    }
}

/// The rooms whose policy a Room was: those that it matches, and no other Room matches first.
struct RoomsOf {
    own: Option<RoomMatcher>,
    first: Vec<RoomMatcher>,
}

impl RoomsOf {
    fn new(ctx: &Context, room: &Room, cluster: &Key) -> Self {
        let Some(text) = room.spec.match_text() else {
            return Self {
                own: None,
                first: Vec::new(),
            };
        };
        let wanted = if room.spec.pattern.is_some() {
            RoomMatch::Pattern(text.to_owned())
        } else {
            RoomMatch::Name(text.to_owned())
        };
        let config = ctx.configs.lock().get(cluster).cloned();
        let others = config.iter().flat_map(|config| &config.rooms);
        // An equal match is that of a younger Room that takes over: then the rooms are its own now.
        let before = |other: &&RoomConfig| {
            precedence(&other.matches, &wanted).is_lt() || other.matches == wanted
        };
        Self {
            own: matcher(&wanted),
            first: others
                .filter(before)
                .filter_map(|other| matcher(&other.matches))
                .collect(),
        }
    }

    fn contains(&self, name: &str) -> bool {
        let (Some(own), Ok(name)) = (&self.own, RoomName::parse(name)) else {
            return false;
        };
        own.matches(&name) && !self.first.iter().any(|other| other.matches(&name))
    }
}

fn is_entry_of(entry: &RoomConfig, room: &Room) -> bool {
    entry.namespace == room.namespace() && entry.name == room.name()
}

fn matcher(wanted: &RoomMatch) -> Option<RoomMatcher> {
    match wanted {
        RoomMatch::Name(text) => RoomName::parse(text).ok().map(RoomMatcher::Name),
        RoomMatch::Pattern(text) => RoomPattern::parse(text).ok().map(RoomMatcher::Pattern),
    }
}

fn has_finalizer(room: &Room) -> bool {
    room.finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER)
}

fn is_overdue(room: &Room) -> bool {
    let Some(since) = &room.metadata.deletion_timestamp else {
        return false;
    };
    Timestamp::now().duration_since(since.0).unsigned_abs() > PATIENCE
}

async fn give_up(ctx: &Context, room: &Room, why: &str) {
    let note = format!("the history of this room stays in Redis until it expires: {why}");
    notify::publish(
        &ctx.recorder,
        &reference(room),
        EventType::Warning,
        "HistoryNotDeleted",
        note,
    )
    .await;
}

/// With the resource version as a precondition: a list is replaced as a whole.
async fn write_finalizer(ctx: &Context, room: &Room, present: bool) -> Result<(), Error> {
    let mut finalizers: Vec<String> = room.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    if present {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": room.resource_version() } });
    let api: Api<Room> = Api::namespaced(ctx.client.clone(), room.namespace());
    match api
        .patch(room.name(), &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::Finalizer(error)),
    }
}
