//! Last stage, pure: what a Room's status says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rotunda_crds::{
    RoomStatus,
    conditions::{ConditionStatus, reason, room as condition, set_condition},
};

use super::{dereference::Facts, validate::Acceptance};
use crate::{
    cluster::model::Problem,
    digits::two_significant_digits,
    gateways::{RoomStats, Stats},
    key::Key,
};

/// Computes the status that a Room should have.
pub fn compute_status(facts: &Facts, acceptance: &Acceptance, now: &Time) -> RoomStatus {
    let room = &facts.room;
    let before = room.status.clone().unwrap_or_default();
    let generation = room.metadata.generation;
    let accepted = match acceptance {
        Acceptance::Accepted => (
            ConditionStatus::True,
            problem(reason::ACCEPTED, "Valid, and nothing stands in its way."),
        ),
        Acceptance::Refused(obstacle) => (ConditionStatus::False, obstacle.clone()),
    };
    let programmed = match acceptance {
        Acceptance::Accepted => compute_programmed(facts),
        Acceptance::Refused(obstacle) => (
            ConditionStatus::False,
            problem(obstacle.reason, "Isn't accepted, see condition Accepted."),
        ),
    };
    let ready = match (&accepted, &programmed) {
        ((ConditionStatus::True, _), (ConditionStatus::True, _)) => (
            ConditionStatus::True,
            problem(reason::READY, "In force on every gateway."),
        ),
        ((ConditionStatus::True, _), programmed) => programmed.clone(),
        (accepted, _) => accepted.clone(),
    };
    let mut conditions = before.conditions;
    for (type_, (status, problem)) in [
        (condition::ACCEPTED, accepted),
        (condition::PROGRAMMED, programmed),
        (condition::READY, ready),
    ] {
        set_condition(
            &mut conditions,
            type_,
            status,
            problem.reason,
            problem.message,
            generation,
            now.clone(),
        );
    }
    let counts = count(facts);
    RoomStatus {
        observed_generation: generation,
        conditions,
        active_rooms: Some(two_significant_digits(counts.active_rooms)),
        members: Some(two_significant_digits(counts.members)),
        messages_per_second: Some(two_significant_digits(counts.rate)),
    }
}

/// True only when every gateway that counts has said that it runs this generation.
fn compute_programmed(facts: &Facts) -> (ConditionStatus, Problem) {
    let total = facts.ready_pods.len();
    if total == 0 {
        return (
            ConditionStatus::False,
            problem(
                reason::NO_GATEWAYS,
                "No gateway pod is ready, so none runs it.",
            ),
        );
    }
    let wanted = facts.room.metadata.generation.unwrap_or(0);
    let mut running = 0;
    let mut silent = Vec::new();
    for uid in &facts.ready_pods {
        let report = facts.report.pods.get(uid);
        match report {
            Some(report) if report.silent => silent.push(report.name.as_str()),
            Some(report) => match report
                .stats
                .as_deref()
                .and_then(|stats| entry_of(facts, stats))
            {
                Some(RoomStats {
                    policy_error: Some(error),
                    ..
                }) => {
                    let text = format!("Gateway {} can't use its policy: {error}.", report.name);
                    return (
                        ConditionStatus::False,
                        problem(reason::INVALID_ACCESS, text),
                    );
                }
                Some(entry) if entry.generation >= wanted => running += 1,
                _ => {}
            },
            // Ready since a moment ago, and not asked yet.
            None => {}
        }
    }
    if running == total {
        let text = format!("All {total} ready gateways run generation {wanted}.");
        (ConditionStatus::True, problem(reason::PROGRAMMED, text))
    } else if silent.is_empty() {
        let text = format!("{running} of {total} ready gateways run generation {wanted}.");
        (ConditionStatus::False, problem(reason::PENDING, text))
    } else {
        silent.sort_unstable();
        let text = format!(
            "No answer from {}, so that nobody can tell what it runs; {running} of {total} ready gateways run generation \
             {wanted}.",
            silent.join(", ")
        );
        (
            ConditionStatus::Unknown,
            problem(reason::GATEWAY_SILENT, text),
        )
    }
}

fn entry_of<'a>(facts: &Facts, stats: &'a Stats) -> Option<&'a RoomStats> {
    stats.room(facts.room.namespace(), facts.room.name())
}

struct Counts {
    active_rooms: u64,
    members: u64,
    rate: u64,
}

/// Members add up. A room may be open on several gateways, whose names of rooms we don't know: the fullest gateway's count is
/// what is certain.
fn count(facts: &Facts) -> Counts {
    let entries = || {
        facts
            .report
            .answers()
            .filter_map(|stats| entry_of(facts, stats))
    };
    let rate = facts
        .report
        .rates
        .get(&Key::new(facts.room.namespace(), facts.room.name()))
        .copied()
        .unwrap_or(0.0);
    Counts {
        active_rooms: entries().map(|room| room.active_rooms).max().unwrap_or(0),
        members: entries().map(|room| room.members).sum(),
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is small and not negative"
        )]
        rate: rate.round() as u64,
    }
}

fn problem(reason: &'static str, message: impl Into<String>) -> Problem {
    Problem {
        reason,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
