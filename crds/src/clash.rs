//! Rooms that want the same name or pattern in the same cluster: the older one has it, the younger ones lose.

use std::{cmp::Ordering, collections::HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::room::Room;

/// A Room that lost against another one, both as indexes into what was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The younger one.
    pub loser: usize,
    /// The oldest one.
    pub winner: usize,
}

/// Finds the Rooms that lose. Rooms that are being deleted take no part.
pub fn find_clashes(rooms: &[Room]) -> Vec<Clash> {
    type Wanted<'a> = ((&'a str, &'a str), Option<&'a str>, Option<&'a str>);
    let mut winners: HashMap<Wanted<'_>, usize> = HashMap::new();
    let mut order: Vec<usize> = (0..rooms.len()).collect();
    order.retain(|index| rooms[*index].metadata.deletion_timestamp.is_none());
    order.sort_by(|a, b| older_first(&rooms[*a], &rooms[*b]));
    let mut clashes = Vec::new();
    for index in order {
        let room = &rooms[index];
        let wanted = (
            room.cluster_key(),
            room.spec.name.as_deref(),
            room.spec.pattern.as_deref(),
        );
        let winner = *winners.entry(wanted).or_insert(index);
        if winner != index {
            clashes.push(Clash {
                loser: index,
                winner,
            });
        }
    }
    clashes
}

/// The older one first, then by namespace and name.
pub fn older_first(a: &Room, b: &Room) -> Ordering {
    by_age(a.creation_timestamp(), b.creation_timestamp())
        .then_with(|| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())))
}

/// The older one first; what has no time comes last.
pub(crate) fn by_age(a: Option<&Time>, b: Option<&Time>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str, spec: &str, created: &str) -> Room {
        let text = format!(
            "apiVersion: rotunda.dev/v1alpha1\nkind: Room\nmetadata: {{ namespace: a, name: {name}, creationTimestamp: {created} }}\nspec: {spec}"
        );
        serde_yaml::from_str(&text).expect("a Room")
    }

    #[test]
    fn the_older_of_two_equal_matches_wins_in_any_order() {
        let old = room(
            "z",
            "{ clusterRef: { name: c }, pattern: 'a:*' }",
            "2024-01-01T00:00:00Z",
        );
        let young = room(
            "a",
            "{ clusterRef: { name: c }, pattern: 'a:*' }",
            "2024-01-02T00:00:00Z",
        );
        let elsewhere = room(
            "b",
            "{ clusterRef: { name: d }, pattern: 'a:*' }",
            "2023-01-01T00:00:00Z",
        );
        let wider = room(
            "w",
            "{ clusterRef: { name: c }, pattern: 'a:**' }",
            "2023-01-01T00:00:00Z",
        );
        let rooms = [young.clone(), old.clone(), elsewhere, wider];
        assert_eq!(
            find_clashes(&rooms),
            [Clash {
                loser: 0,
                winner: 1
            }]
        );
        assert_eq!(
            find_clashes(&[old, young]),
            [Clash {
                loser: 1,
                winner: 0
            }]
        );
    }

    #[test]
    fn rooms_of_one_second_are_told_apart_by_name_and_one_being_deleted_gives_way() {
        let spec = "{ clusterRef: { name: c }, name: lobby }";
        let b = room("b", spec, "2024-01-01T00:00:00Z");
        let mut a = room("a", spec, "2024-01-01T00:00:00Z");
        assert_eq!(
            find_clashes(&[b.clone(), a.clone()]),
            [Clash {
                loser: 0,
                winner: 1
            }]
        );
        a.metadata.deletion_timestamp = a.metadata.creation_timestamp.clone();
        assert_eq!(find_clashes(&[b, a]), []);
    }
}
