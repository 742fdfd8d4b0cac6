#![allow(
    clippy::needless_pass_by_value,
    reason = "literal JSON reads better without a borrow"
)]

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use rotunda_crds::{RealtimeCluster, Room};
use serde_json::{Value, json};

use super::*;
use crate::{
    gateways::{PodReport, Report, Stats},
    room::validate::validate,
};

fn parse<K: serde::de::DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).expect("an object of that kind")
}

fn room(name: &str, created: &str, spec: Value) -> Room {
    let mut whole = json!({ "clusterRef": { "name": "chat" } });
    for (field, value) in spec.as_object().cloned().unwrap_or_default() {
        whole[field] = value;
    }
    parse(json!({
        "apiVersion": "rotunda.dev/v1alpha1", "kind": "Room",
        "metadata": { "name": name, "namespace": "demo", "uid": name, "generation": 2, "creationTimestamp": created },
        "spec": whole,
    }))
}

fn lobby() -> Room {
    room("lobby", "2026-01-02T00:00:00Z", json!({ "name": "lobby" }))
}

/// A Room that is let in by its cluster, which has these pods.
fn facts(room: Room, pods: &[(&str, Option<RoomStats>)]) -> Facts {
    let cluster: RealtimeCluster = parse(json!({
        "apiVersion": "rotunda.dev/v1alpha1", "kind": "RealtimeCluster",
        "metadata": { "name": "chat", "namespace": "demo" }, "spec": { "auth": {} },
    }));
    let mut report = Report::default();
    for (uid, entry) in pods {
        let stats = Stats {
            rooms: entry.clone().into_iter().collect(),
            ..Stats::default()
        };
        let pod = PodReport {
            name: format!("gateway-{uid}"),
            stats: Some(Arc::new(stats)),
            heard: tokio::time::Instant::now(),
            silent: false,
        };
        report.pods.insert((*uid).to_owned(), pod);
    }
    Facts {
        cluster: Some(Arc::new(cluster)),
        admitted: true,
        siblings: vec![room.clone()],
        ready_pods: pods.iter().map(|(uid, _)| (*uid).to_owned()).collect(),
        report: Arc::new(report),
        room: Arc::new(room),
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "a pod without the Room is the other case"
)]
fn running(generation: i64) -> Option<RoomStats> {
    Some(RoomStats {
        namespace: "demo".into(),
        name: "lobby".into(),
        generation,
        ..RoomStats::default()
    })
}

/// Status, reason and message of a condition.
fn told(facts: &Facts, type_: &str) -> (String, String, String) {
    let status = compute_status(facts, &validate(facts), &Time(Timestamp::UNIX_EPOCH));
    let condition = status
        .conditions
        .into_iter()
        .find(|condition| condition.type_ == type_)
        .expect("there");
    (condition.status, condition.reason, condition.message)
}

fn state(facts: &Facts, type_: &str) -> (String, String) {
    let (status, reason, _) = told(facts, type_);
    (status, reason)
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn programmed_only_when_every_ready_gateway_runs_this_generation() {
    let programmed =
        |pods: &[(&str, Option<RoomStats>)]| state(&facts(lobby(), pods), "Programmed");
    assert_eq!(
        programmed(&[("a", running(2)), ("b", running(2))]),
        is("True", "Programmed")
    );
    assert_eq!(
        programmed(&[("a", running(2)), ("b", running(1))]),
        is("False", "Pending")
    );
    assert_eq!(
        programmed(&[("a", running(2)), ("b", None)]),
        is("False", "Pending")
    );
    assert_eq!(programmed(&[]), is("False", "NoGateways"));
}

#[test]
fn a_pod_that_is_not_asked_yet_does_not_count_as_running_it() {
    let mut facts = facts(lobby(), &[("a", running(2))]);
    facts.ready_pods.push("b".to_owned());
    assert_eq!(state(&facts, "Programmed"), is("False", "Pending"));
}

#[test]
fn a_silent_gateway_makes_it_unknown_and_is_named() {
    let mut facts = facts(lobby(), &[("a", running(2)), ("b", running(2))]);
    let mut report = facts.report.as_ref().clone();
    report.pods.get_mut("b").expect("there").silent = true;
    facts.report = Arc::new(report);
    let (status, reason, message) = told(&facts, "Programmed");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("Unknown", "GatewaySilent")
    );
    assert!(message.contains("gateway-b"), "{message}");
    assert_eq!(state(&facts, "Ready"), is("Unknown", "GatewaySilent"));
}

#[test]
fn a_policy_that_a_gateway_cannot_use_is_not_programmed() {
    let broken = running(2).map(|entry| RoomStats {
        policy_error: Some("no such function".into()),
        ..entry
    });
    assert_eq!(
        state(&facts(lobby(), &[("a", broken)]), "Programmed"),
        is("False", "InvalidAccess")
    );
}

#[test]
fn ready_is_accepted_and_programmed() {
    assert_eq!(
        state(&facts(lobby(), &[("a", running(2))]), "Ready"),
        is("True", "Ready")
    );
    assert_eq!(
        state(&facts(lobby(), &[("a", running(1))]), "Ready"),
        is("False", "Pending")
    );
}

#[test]
fn the_younger_of_two_rooms_with_one_name_is_refused_and_told_about_the_older() {
    let older = room("hall", "2026-01-01T00:00:00Z", json!({ "name": "lobby" }));
    let mut young = facts(lobby(), &[("a", None)]);
    young.siblings.push(older.clone());
    let (status, reason, message) = told(&young, "Accepted");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Clash"));
    assert!(
        message.contains("Room \"hall\" in namespace \"demo\" is older"),
        "{message}"
    );
    let mut old = facts(older, &[]);
    old.siblings.push(lobby());
    assert_eq!(state(&old, "Accepted"), is("True", "Accepted"));
}

#[test]
fn a_cluster_that_does_not_exist_or_does_not_let_it_in_refuses() {
    let mut facts = facts(lobby(), &[("a", running(2))]);
    facts.admitted = false;
    assert_eq!(state(&facts, "Accepted"), is("False", "NotAllowed"));
    facts.cluster = None;
    assert_eq!(state(&facts, "Accepted"), is("False", "ClusterNotFound"));
    assert_eq!(state(&facts, "Programmed"), is("False", "ClusterNotFound"));
}

#[test]
fn an_expression_that_does_not_compile_is_refused_with_its_field() {
    let room = room(
        "lobby",
        "2026-01-02T00:00:00Z",
        json!({ "name": "lobby", "access": { "join": "user.nosuch ==" } }),
    );
    let (status, reason, message) = told(&facts(room, &[("a", running(1))]), "Accepted");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "InvalidAccess")
    );
    assert!(message.starts_with("spec.access.join: "), "{message}");
}

#[test]
fn a_pattern_that_cannot_be_used_is_refused() {
    let room = room(
        "bad",
        "2026-01-02T00:00:00Z",
        json!({ "pattern": "no spaces *" }),
    );
    assert_eq!(
        state(&facts(room, &[]), "Accepted"),
        is("False", "InvalidSpec")
    );
}

#[test]
fn members_add_up_and_active_rooms_are_what_is_certain() {
    let counted = |active_rooms, members| {
        running(2).map(|entry| RoomStats {
            active_rooms,
            members,
            ..entry
        })
    };
    let mut facts = facts(lobby(), &[("a", counted(1, 200)), ("b", counted(1, 137))]);
    let mut report = facts.report.as_ref().clone();
    report.rates.insert(Key::new("demo", "lobby"), 17.6);
    facts.report = Arc::new(report);
    let status = compute_status(&facts, &validate(&facts), &Time(Timestamp::UNIX_EPOCH));
    assert_eq!(
        (
            status.active_rooms,
            status.members,
            status.messages_per_second
        ),
        (Some(1), Some(340), Some(18))
    );
}
