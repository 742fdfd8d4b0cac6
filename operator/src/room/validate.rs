//! Second stage, pure: may this Room be in force, and if not, what has to be changed?

use rotunda_crds::{
    Room, access::AccessRules, clash::find_clashes, conditions::reason, config::AccessConfig,
    pattern::RoomPattern, room_name::RoomName,
};

use super::dereference::Facts;
use crate::cluster::model::Problem;

/// Whether a Room may be in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// It may.
    Accepted,
    /// It may not, and why.
    Refused(Problem),
}

/// Judges a Room; the first obstacle is told.
pub fn validate(facts: &Facts) -> Acceptance {
    let obstacle = find_cluster_problem(facts)
        .or_else(|| find_match_problem(&facts.room))
        .or_else(|| find_clash(facts))
        .or_else(|| find_access_problem(&facts.room));
    obstacle.map_or(Acceptance::Accepted, Acceptance::Refused)
}

fn find_cluster_problem(facts: &Facts) -> Option<Problem> {
    let (namespace, name) = facts.room.cluster_key();
    let own = facts.room.namespace();
    if facts.cluster.is_none() {
        return problem(
            reason::CLUSTER_NOT_FOUND,
            format!(
                "RealtimeCluster \"{name}\" doesn't exist in namespace \"{namespace}\". Create it, or make this Room anew \
                 with another spec.clusterRef; what there is: kubectl get realtimeclusters -A."
            ),
        );
    }
    if facts.admitted {
        return None;
    }
    problem(
        reason::NOT_ALLOWED,
        format!(
            "RealtimeCluster \"{name}\" in namespace \"{namespace}\" doesn't let Rooms of namespace \"{own}\" in. Its owner can \
             do so by spec.allowedRooms."
        ),
    )
}

fn find_match_problem(room: &Room) -> Option<Problem> {
    let spec = &room.spec;
    let text = spec.match_text();
    let error = match (text, spec.pattern.is_some()) {
        (None, _) => {
            return problem(
                reason::INVALID_SPEC,
                "Set exactly one of spec.name and spec.pattern.".to_owned(),
            );
        }
        (Some(text), true) => RoomPattern::parse(text)
            .err()
            .map(|error| ("pattern", text, error.to_string())),
        (Some(text), false) => RoomName::parse(text)
            .err()
            .map(|error| ("name", text, error.to_string())),
    };
    let (field, text, error) = error?;
    problem(
        reason::INVALID_SPEC,
        format!("spec.{field} \"{text}\" can't be used: {error}."),
    )
}

fn find_clash(facts: &Facts) -> Option<Problem> {
    let is_this = |room: &Room| {
        room.namespace() == facts.room.namespace() && room.name() == facts.room.name()
    };
    let clash = find_clashes(&facts.siblings)
        .into_iter()
        .find(|clash| is_this(&facts.siblings[clash.loser]))?;
    let winner = &facts.siblings[clash.winner];
    let what = if facts.room.spec.pattern.is_some() {
        "pattern"
    } else {
        "name"
    };
    problem(
        reason::CLASH,
        format!(
            "Room \"{}\" in namespace \"{}\" is older and has the same {what} \"{}\" in the same cluster, so this one isn't in \
             force. Delete one of the two.",
            winner.name(),
            winner.namespace(),
            facts.room.spec.match_text().unwrap_or_default()
        ),
    )
}

fn find_access_problem(room: &Room) -> Option<Problem> {
    let error = AccessRules::compile(&AccessConfig::from(&room.spec.access)).err()?;
    problem(
        reason::INVALID_ACCESS,
        format!(
            "{}. Until it is put right the policy before it stays in force; where there is none, nobody gets in.",
            crate::error_chain::describe(&error)
        ),
    )
}

// An Option because that is what each caller returns.
#[allow(
    clippy::unnecessary_wraps,
    reason = "keeps each check a chain of early returns"
)]
fn problem(reason: &'static str, message: String) -> Option<Problem> {
    Some(Problem { reason, message })
}
