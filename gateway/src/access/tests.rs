//! Who may, who may not, and what those are told.

use std::sync::Arc;

use rotunda_crds::config::{GatewayConfig, RoomConfig, RoomMatch, RoomPolicy};
use rotunda_crds::realtime_cluster::UndeclaredRooms;

use super::*;
use crate::ids::UserId;
use crate::policy::{Policies, PublishCounters};

fn identity(user: &str, claims: &str, anonymous: bool) -> Identity {
    Identity {
        user: UserId::parse(user).unwrap(),
        claims: claims.into(),
        anonymous,
        ..Identity::anonymous()
    }
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn policy_of(
    name: &str,
    matches: Option<RoomMatch>,
    access: AccessConfig,
    undeclared: UndeclaredRooms,
) -> Arc<Policy> {
    let rooms = matches.map(|matches| RoomConfig {
        namespace: "demo".to_owned(),
        name: "it".to_owned(),
        generation: 1,
        creation_timestamp: None,
        matches,
        policy: RoomPolicy {
            access,
            ..RoomPolicy::default()
        },
    });
    let config = GatewayConfig {
        rooms: rooms.into_iter().collect(),
        undeclared_rooms: undeclared,
        ..GatewayConfig::default()
    };
    let policies = Policies::new(&config, &PublishCounters::default()).unwrap();
    Arc::clone(policies.of(&room(name)).unwrap())
}

fn may(policy: &Policy, action: Action, identity: &Identity, name: &str) -> bool {
    check(policy, action, identity, &room(name)).is_ok()
}

#[test]
fn expressions_see_the_claims_and_a_missing_claim_denies() {
    let access = AccessConfig {
        join: "room.segments[1] in user.claims.teams".to_owned(),
        ..AccessConfig::default()
    };
    let pattern = RoomMatch::Pattern("team:*".to_owned());
    let policy = policy_of("team:red", Some(pattern), access, UndeclaredRooms::Deny);
    let red = identity("alice", r#"{"teams":["red"]}"#, false);
    assert!(may(&policy, Action::Join, &red, "team:red"));
    assert!(!may(&policy, Action::Join, &red, "team:blue"));
    assert!(!may(
        &policy,
        Action::Join,
        &identity("bob", "{}", false),
        "team:red"
    ));
}

#[test]
fn the_default_lets_in_whoever_has_a_token() {
    let name = RoomMatch::Name("lobby".to_owned());
    let policy = policy_of(
        "lobby",
        Some(name),
        AccessConfig::default(),
        UndeclaredRooms::Deny,
    );
    for action in Action::ALL {
        assert!(may(
            &policy,
            action,
            &identity("alice", "{}", false),
            "lobby"
        ));
        assert!(!may(
            &policy,
            action,
            &identity("anonymous-1", "{}", true),
            "lobby"
        ));
    }
}

#[test]
fn an_expression_that_does_not_compile_denies_and_is_told() {
    let access = AccessConfig {
        join: "room.segments[".to_owned(),
        ..AccessConfig::default()
    };
    let policy = policy_of(
        "lobby",
        Some(RoomMatch::Name("lobby".to_owned())),
        access,
        UndeclaredRooms::Deny,
    );
    assert!(policy.access.error().is_some());
    assert!(!may(
        &policy,
        Action::Publish,
        &identity("alice", "{}", false),
        "lobby"
    ));
}

#[test]
fn a_users_room_is_that_users_alone() {
    let (alice, bob) = (identity("alice", "{}", false), identity("bob", "{}", false));
    let open = AccessConfig {
        join: "true".to_owned(),
        publish: "true".to_owned(),
        ..AccessConfig::default()
    };
    let declared = policy_of(
        "user:alice",
        Some(RoomMatch::Pattern("user:*".to_owned())),
        open,
        UndeclaredRooms::Deny,
    );
    assert!(may(&declared, Action::Join, &alice, "user:alice"));
    assert!(!may(&declared, Action::Join, &bob, "user:alice"));
    assert!(may(&declared, Action::Publish, &bob, "user:alice"));

    let denied = policy_of(
        "user:alice",
        None,
        AccessConfig::default(),
        UndeclaredRooms::Deny,
    );
    assert!(may(&denied, Action::Join, &alice, "user:alice"));
    assert!(may(&denied, Action::Publish, &alice, "user:alice"));
    assert!(!may(&denied, Action::Publish, &bob, "user:alice"));

    let allowed = policy_of(
        "user:alice",
        None,
        AccessConfig::default(),
        UndeclaredRooms::Allow,
    );
    assert!(!may(&allowed, Action::Join, &bob, "user:alice"));
    assert!(!may(&allowed, Action::Publish, &bob, "user:alice"));
    assert!(may(&allowed, Action::Publish, &alice, "user:alice"));
}

fn told(policy: &Policy, action: Action, identity: &Identity, name: &str) -> String {
    let refused = check(policy, action, identity, &room(name)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    refused.message
}

#[test]
fn a_refusal_says_which_rule_it_comes_from() {
    let access = AccessConfig {
        join: "user.claims.teams.exists(t, t == 'red')".to_owned(),
        publish: "user.id == 'root'".to_owned(),
        ..AccessConfig::default()
    };
    let name = || Some(RoomMatch::Name("lobby".to_owned()));
    let policy = policy_of("lobby", name(), access, UndeclaredRooms::Deny);
    let alice = identity("alice", r#"{"secret":"hunter2"}"#, false);
    for (action, expected) in [
        (
            Action::Join,
            "you may not join the room lobby: `access.join` of Room demo/it comes to no answer: no such key `teams`",
        ),
        (
            Action::Publish,
            "you may not publish to the room lobby: `access.publish` of Room demo/it says no",
        ),
    ] {
        assert_eq!(told(&policy, action, &alice, "lobby"), expected);
    }
    let broken = AccessConfig {
        join: "room.segments[".to_owned(),
        ..AccessConfig::default()
    };
    let policy = policy_of("lobby", name(), broken, UndeclaredRooms::Deny);
    assert_eq!(
        told(&policy, Action::Members, &alice, "lobby"),
        "you may not see the members of the room lobby: `access` of Room demo/it doesn't compile, so nothing is allowed"
    );
    let open = policy_of("any", None, AccessConfig::default(), UndeclaredRooms::Allow);
    assert_eq!(
        told(&open, Action::Join, &Identity::anonymous(), "any"),
        "you may not join the room any: `access.join` by default says no"
    );
    let own = policy_of(
        "user:bob",
        None,
        AccessConfig::default(),
        UndeclaredRooms::Deny,
    );
    assert_eq!(
        told(&own, Action::Join, &alice, "user:bob"),
        "you may not join the room user:bob: it is another user's own"
    );
}

#[test]
fn what_a_token_gives_up_is_denied_whatever_the_policy_says_also_in_its_users_own_room() {
    let narrowed = Identity {
        capabilities: serde_json::from_str(r#"["rooms:join"]"#).unwrap(),
        ..identity("alice", "{}", false)
    };
    let open = AccessConfig {
        join: "true".to_owned(),
        publish: "true".to_owned(),
        ..AccessConfig::default()
    };
    let name = RoomMatch::Name("lobby".to_owned());
    let lobby = policy_of("lobby", Some(name), open, UndeclaredRooms::Deny);
    let own = policy_of(
        "user:alice",
        None,
        AccessConfig::default(),
        UndeclaredRooms::Deny,
    );
    for (policy, room) in [(&lobby, "lobby"), (&own, "user:alice")] {
        assert!(may(policy, Action::Join, &narrowed, room));
        assert!(
            told(policy, Action::Publish, &narrowed, room)
                .ends_with("the token's `capabilities` don't hold `rooms:publish`")
        );
    }
    // And no capability widens a policy.
    let closed = AccessConfig {
        join: "false".to_owned(),
        ..AccessConfig::default()
    };
    let name = RoomMatch::Name("vault".to_owned());
    let vault = policy_of("vault", Some(name), closed, UndeclaredRooms::Deny);
    assert!(!may(&vault, Action::Join, &narrowed, "vault"));
}

#[test]
fn what_was_allowed_once_is_remembered_for_that_room_policy_and_token_alone() {
    let access = |teams: &str| AccessConfig {
        publish: format!("room.segments[1] in user.claims.{teams}"),
        ..AccessConfig::default()
    };
    let pattern = || Some(RoomMatch::Pattern("team:*".to_owned()));
    let policy = policy_of(
        "team:red",
        pattern(),
        access("teams"),
        UndeclaredRooms::Deny,
    );
    let red = identity("alice", r#"{"teams":["red"],"former":[]}"#, false);
    for _ in 0..2 {
        assert!(may(&policy, Action::Publish, &red, "team:red"));
        assert!(!may(&policy, Action::Publish, &red, "team:blue"));
        assert!(
            red.allowed
                .holds(policy.access.id, Action::Publish, &room("team:red"))
        );
    }
    let next = policy_of(
        "team:red",
        pattern(),
        access("former"),
        UndeclaredRooms::Deny,
    );
    assert!(!may(&next, Action::Publish, &red, "team:red"));
    let refreshed = Identity {
        claims: r#"{"teams":[]}"#.into(),
        ..red.clone()
    };
    assert!(!may(&policy, Action::Publish, &refreshed, "team:red"));
}
