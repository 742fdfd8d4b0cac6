//! What clients and servers can do, apart from how they asked: access, limits, then the broker. WebSocket commands and HTTP requests
//! end up in the same functions.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use rotunda_crds::RoomName;
use rotunda_crds::access::Action;

use crate::access;
use crate::auth::{AuthError, Capability, Identity};
use crate::broker::{
    IdempotencyKey, Leave, Members, Publication, Published, Retention, UserPresence,
};
use crate::connection::Connection;
use crate::control::Order;
use crate::dialect::command::Token;
use crate::dialect::event::Reference;
use crate::dialect::{ErrorCode, Failure};
use crate::gateway::Gateway;
use crate::history::{Page, PageQuery};
use crate::hub::unavailable;
use crate::ids::{Position, UserId};
use crate::policy::Policy;

/// Most names in one answer about members.
const MAX_MEMBERS: usize = 1000;

/// How long the empty log of a room that nobody declares is kept for those who come back to it.
const UNDECLARED_RETENTION: Retention = Retention {
    max_messages: 1,
    max_age: Duration::from_hours(24),
};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Actor<'a> {
    /// A client, held to the room's access.
    User(&'a Identity),
    /// The application's own server, by the name of its API key; it may do anything, as anyone.
    Server {
        key: &'a str,
        from: Option<&'a UserId>,
    },
}

impl Actor<'_> {
    /// The room's policy, if this may be done there.
    fn admitted_to(
        self,
        gateway: &Gateway,
        room: &RoomName,
        action: Action,
    ) -> Result<Arc<Policy>, Failure> {
        let settings = gateway.settings();
        let policy = settings.policies.of(room);
        match (self, policy) {
            (Self::User(identity), Some(policy)) => access::check(policy, action, identity, room)?,
            (Self::User(_), None) => return Err(access::undeclared(room)),
            (Self::Server { .. }, Some(_)) => {}
            (Self::Server { .. }, None) => {
                let message =
                    format!("no Room resource matches {room}, and undeclared rooms are denied");
                return Err(Failure::new(ErrorCode::NotFound, message));
            }
        }
        policy.cloned().ok_or_else(|| access::undeclared(room))
    }

    /// `"from":…` for a body.
    fn write_from(self, body: &mut BytesMut) {
        let from = match self {
            Self::User(identity) => Some(&identity.user),
            Self::Server { from, .. } => from,
        };
        body.put_slice(br#""from":"#);
        write_json(body, &from);
    }

    fn scope(self) -> String {
        match self {
            Self::User(identity) => format!("u:{}", identity.user),
            Self::Server { key, .. } => format!("k:{key}"),
        }
    }
}

fn write_json(body: &mut BytesMut, value: &impl serde::Serialize) {
    serde_json::to_writer(body.writer(), value).expect("plain data into memory can't fail");
}

/// Puts a connection into a room. What it answers goes through the connection's outbox.
pub async fn join(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    room: &RoomName,
    last_seen: Option<Position>,
    reference: &Reference,
) -> Result<(), Failure> {
    let policy = Actor::User(&connection.identity()).admitted_to(gateway, room, Action::Join)?;
    let max = gateway.settings().config.limits.rooms_per_connection as usize;
    connection.add_room(room, max).map_err(|_| {
        Failure::new(
            ErrorCode::TooManyRooms,
            format!("a connection can be in {max} rooms"),
        )
    })?;
    gateway
        .hub
        .join(connection, room, last_seen, &policy, reference)
        .await?;
    // A config that came meanwhile may have looked at the room just before this connection was in it.
    let settings = gateway.settings();
    let now = settings.policies.of(room);
    if !now.is_some_and(|now| Arc::ptr_eq(now, &policy)) {
        gateway.hub.apply_policy_of(room, &settings.policies);
    }
    Ok(())
}

/// Takes a connection out of a room.
pub fn leave(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    room: &RoomName,
) -> Result<(), Failure> {
    connection.remove_room(room);
    if gateway.hub.leave(connection, room, Leave::Now) {
        Ok(())
    } else {
        Err(Failure::new(
            ErrorCode::NotJoined,
            format!("this connection is not in the room {room}"),
        ))
    }
}

/// Stores and fans out a message. `data` is JSON, as it came.
pub async fn publish(
    gateway: &Gateway,
    actor: Actor<'_>,
    room: &RoomName,
    data: &[u8],
    key: Option<String>,
) -> Result<Published, Failure> {
    let policy = actor.admitted_to(gateway, room, Action::Publish)?;
    check_size(&policy, data)?;
    let mut body = BytesMut::with_capacity(data.len() + 64);
    actor.write_from(&mut body);
    body.put_slice(br#","data":"#);
    body.put_slice(data);
    let publication = Publication {
        body: body.freeze(),
        key: key.map(|key| IdempotencyKey {
            scope: actor.scope(),
            key,
        }),
        retention: policy.retention,
        durability: policy.durability,
        rate_limit: policy.messages_per_second,
    };
    let published = gateway
        .hub
        .broker()
        .publish(room, publication)
        .await
        .map_err(|error| unavailable(&error))?;
    if !published.duplicate {
        gateway.metrics.messages_published.inc();
        if let Some(resource) = &policy.resource {
            resource.published.inc();
        }
    }
    Ok(published)
}

/// Fans out a signal.
pub async fn signal(
    gateway: &Gateway,
    actor: Actor<'_>,
    room: &RoomName,
    name: &str,
    data: Option<&[u8]>,
) -> Result<(), Failure> {
    let policy = actor.admitted_to(gateway, room, Action::Signal)?;
    check_size(&policy, data.unwrap_or_default())?;
    let mut body = BytesMut::with_capacity(data.map_or(0, <[u8]>::len) + 96);
    actor.write_from(&mut body);
    body.put_slice(br#","name":"#);
    write_json(&mut body, &name);
    if let Some(data) = data {
        body.put_slice(br#","data":"#);
        body.put_slice(data);
    }
    gateway
        .hub
        .broker()
        .signal(room, body.freeze())
        .await
        .map_err(|error| unavailable(&error))?;
    gateway.metrics.signals.inc();
    Ok(())
}

fn check_size(policy: &Policy, data: &[u8]) -> Result<(), Failure> {
    if data.len() > policy.message_bytes {
        let message = format!(
            "`data` has {} bytes, the room takes {}",
            data.len(),
            policy.message_bytes
        );
        return Err(Failure::new(ErrorCode::TooLarge, message));
    }
    Ok(())
}

/// Reads a page.
pub async fn history(
    gateway: &Gateway,
    actor: Actor<'_>,
    room: &RoomName,
    query: &PageQuery,
) -> Result<Page, Failure> {
    let policy = actor.admitted_to(gateway, room, Action::History)?;
    let chunk = gateway
        .hub
        .read(room, query.range(), query.limit, policy.retention)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(query.page(chunk, &policy.retention))
}

/// Who is in a room.
pub async fn members(
    gateway: &Gateway,
    actor: Actor<'_>,
    room: &RoomName,
) -> Result<Members, Failure> {
    let policy = actor.admitted_to(gateway, room, Action::Members)?;
    let names = match policy.presence {
        _ if !policy.counts_members() => return Ok(Members::default()),
        rotunda_crds::room::PresenceMode::Count => 0,
        _ => MAX_MEMBERS,
    };
    let mut members = gateway
        .hub
        .broker()
        .members(room, names.max(1))
        .await
        .map_err(|error| unavailable(&error))?;
    members.members.truncate(names);
    Ok(members)
}

/// Whether a user is online: for the user itself, for whoever's token has the capability, and for servers.
pub async fn user(
    gateway: &Gateway,
    actor: Actor<'_>,
    user: &UserId,
) -> Result<UserPresence, Failure> {
    if let Actor::User(identity) = actor
        && identity.user != *user
        && !identity.has(Capability::UsersRead)
    {
        return Err(Failure::new(
            ErrorCode::Forbidden,
            format!(
                "you may ask about yourself; about others only with the capability `{}` in the token",
                Capability::UsersRead.as_str()
            ),
        ));
    }
    gateway
        .hub
        .broker()
        .user_presence(user)
        .await
        .map_err(|error| unavailable(&error))
}

/// Deletes a room's stored messages, also in a room that nobody declares any more.
pub async fn delete_messages(gateway: &Gateway, room: &RoomName) -> Result<(), Failure> {
    let settings = gateway.settings();
    let policy = settings.policies.of(room);
    let retention = policy.map_or(UNDECLARED_RETENTION, |policy| policy.retention);
    gateway
        .hub
        .broker()
        .delete_messages(room, retention)
        .await
        .map_err(|error| unavailable(&error))
}

/// Ends all of a user's connections, on every gateway: those that are open when this returns end within moments.
pub async fn disconnect(gateway: &Gateway, user: UserId) -> Result<(), Failure> {
    gateway.order(&Order::Disconnect { user }).await
}

/// Takes a user out of a room, on every gateway. It may join again if the room's policy lets it.
pub async fn remove(
    gateway: &Gateway,
    actor: Actor<'_>,
    room: RoomName,
    user: UserId,
) -> Result<(), Failure> {
    actor.admitted_to(gateway, &room, Action::Members)?;
    gateway.order(&Order::Remove { room, user }).await
}

/// Takes a newer token for a connection. Only one of the same user: who someone is can't change under their memberships. What they may can:
/// rooms that the new token doesn't open are left.
pub async fn refresh(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    token: &Token,
) -> Result<(), Failure> {
    let identity = gateway
        .settings()
        .authenticator
        .authenticate(Some(&token.0))
        .await
        .map_err(AuthError::failure)?;
    if identity.user != connection.user {
        return Err(Failure::new(
            ErrorCode::Unauthorized,
            "the token is another user's; open another connection for it",
        ));
    }
    connection.set_identity(identity);
    let settings = gateway.settings();
    for room in connection.rooms() {
        let policy = settings.policies.of(&room);
        gateway.hub.review(connection, &room, policy);
    }
    Ok(())
}
