use proptest::prelude::*;

use super::{
    simulation::{Mishap, World},
    *,
};
use crate::redis::{
    slots::SLOT_COUNT,
    topology::{State, View},
};

fn wanted(shards: u32, replicas_per_shard: u32) -> Wanted {
    Wanted {
        shards,
        replicas_per_shard,
        persistent: false,
    }
}

fn settled(wanted: Wanted) -> World {
    let mut world = World::new(wanted);
    assert_eq!(world.settle(), Plan::Settled);
    world.assert_complete();
    world
}

fn view_mut(topology: &mut Topology, member: usize) -> &mut View {
    match &mut topology.members[member].state {
        State::Up(view) => view,
        State::NotStarted | State::Silent(_) => panic!("the pod answers"),
    }
}

#[test]
fn a_single_pod_gets_all_slots_in_one_step() {
    let mut world = World::new(wanted(1, 0));
    assert!(matches!(world.turn(), Plan::Do(Step::AssignSlots { slots, .. }) if slots.is_all()));
    assert_eq!(world.turn(), Plan::Settled);
}

#[test]
fn several_shards_share_the_slots_evenly() {
    assert_eq!(settled(wanted(3, 1)).slots_by_shard(), [5462, 5461, 5461]);
    assert_eq!(
        settled(wanted(5, 0)).slots_by_shard(),
        [3277, 3277, 3277, 3277, 3276]
    );
}

#[test]
fn a_pod_out_of_reach_keeps_slots_from_being_given_out() {
    let mut world = World::new(wanted(2, 0));
    world.suffer(1, Mishap::OutOfReach);
    let Plan::Wait(problem) = world.settle() else {
        panic!("it must wait")
    };
    assert!(
        problem.message.contains("chat-redis-1-0"),
        "{}",
        problem.message
    );
    world.recover();
    assert_eq!(world.settle(), Plan::Settled);
    world.assert_complete();
}

#[test]
fn a_volume_that_cannot_be_asked_keeps_slots_from_being_given_out() {
    let mut world = World::new(Wanted {
        persistent: true,
        ..wanted(1, 1)
    });
    world.suffer(0, Mishap::Pending);
    assert!(
        matches!(world.settle(), Plan::Wait(_)),
        "the pod that hasn't started may have all the data"
    );
}

#[test]
fn a_pending_replica_without_a_volume_does_not_hold_up_a_new_cluster() {
    let mut world = World::new(wanted(1, 1));
    world.suffer(1, Mishap::Pending);
    assert_eq!(world.settle(), Plan::Settled);
    assert_eq!(world.slots_by_shard(), [usize::from(SLOT_COUNT)]);
}

#[test]
fn the_replica_of_a_lone_primary_takes_over_once_the_pod_is_replaced() {
    let mut world = settled(wanted(1, 1));
    world.suffer(0, Mishap::Replaced);
    assert!(matches!(world.turn(), Plan::Do(Step::TakeOver { .. })));
    assert_eq!(world.settle(), Plan::Settled);
    world.assert_complete();
}

#[test]
fn nobody_takes_over_from_a_primary_that_is_only_out_of_reach() {
    let mut world = settled(wanted(1, 1));
    let owners = world.owners();
    world.suffer(0, Mishap::OutOfReach);
    assert!(matches!(world.settle(), Plan::Wait(_)));
    assert_eq!(world.owners(), owners);
}

#[test]
fn redis_is_left_to_elect_a_replica_where_it_can() {
    let mut world = settled(wanted(3, 1));
    world.suffer(0, Mishap::Replaced);
    let plan = plan(&world.observe(), wanted(3, 1));
    assert!(!matches!(plan, Plan::Do(Step::TakeOver { .. })), "{plan:?}");
    assert_eq!(world.settle(), Plan::Settled);
    world.assert_complete();
}

#[test]
fn the_slots_of_a_shard_that_is_lost_with_all_copies_are_given_out_again() {
    let mut world = settled(wanted(3, 0));
    world.suffer(1, Mishap::Replaced);
    assert!(matches!(world.turn(), Plan::Do(Step::Forget { slots, .. }) if slots.len() == 5461));
    assert_eq!(world.settle(), Plan::Settled);
    world.assert_complete();
}

#[test]
fn pods_that_all_moved_are_introduced_again() {
    let mut world = settled(wanted(3, 1));
    let owners = world.owners();
    for pod in 0..world.pod_count() {
        world.suffer(pod, Mishap::Moved);
    }
    assert!(matches!(world.turn(), Plan::Do(Step::Meet { .. })));
    assert_eq!(world.settle(), Plan::Settled);
    assert_eq!(world.owners(), owners);
}

#[test]
fn more_shards_than_the_data_is_spread_over_are_refused_and_not_introduced() {
    let small = settled(wanted(1, 0)).observe();
    let mut topology = World::new(wanted(2, 0)).observe();
    topology.members[0] = small.members[0].clone();
    let Plan::Refused(problem) = plan(&topology, wanted(2, 0)) else {
        panic!("it must be refused")
    };
    assert_eq!(problem.reason, "ScaleOutUnsupported");
    assert!(
        problem.message.ends_with("back to 1"),
        "{}",
        problem.message
    );
}

#[test]
fn fewer_shards_than_the_data_is_spread_over_are_refused() {
    let topology = settled(wanted(3, 0)).observe();
    let Plan::Refused(problem) = plan(&topology, wanted(1, 0)) else {
        panic!("it must be refused")
    };
    assert_eq!(problem.reason, "ScaleInUnsupported");
    assert!(
        problem.message.ends_with("back to 3"),
        "{}",
        problem.message
    );
}

#[test]
fn two_clusters_with_data_are_never_joined() {
    let mut topology = settled(wanted(2, 0)).observe();
    let other = view_mut(&mut topology, 1);
    other.peers.clear();
    other.id = NodeId("of-another-cluster".to_owned());
    view_mut(&mut topology, 0).peers.clear();
    let Plan::Refused(problem) = plan(&topology, wanted(2, 0)) else {
        panic!("it must be refused")
    };
    assert_eq!(problem.reason, "SplitRedis");
    assert!(
        problem.message.contains("chat-redis-0-0") && problem.message.contains("chat-redis-1-0")
    );
}

#[test]
fn a_node_with_keys_is_not_overwritten_as_a_replica() {
    let mut topology = settled(wanted(1, 1)).observe();
    let replica = view_mut(&mut topology, 1);
    replica.role = Role::Primary;
    replica.keys = 7;
    assert!(
        matches!(plan(&topology, wanted(1, 1)), Plan::Refused(problem) if problem.reason == "UnexpectedKeys")
    );
}

#[test]
fn without_any_answer_it_waits_and_names_the_pods() {
    let mut world = World::new(wanted(1, 0));
    world.suffer(0, Mishap::OutOfReach);
    let Plan::Wait(problem) = world.turn() else {
        panic!("it must wait")
    };
    assert!(
        problem.message.contains("chat-redis-0-0"),
        "{}",
        problem.message
    );
}

fn mishaps() -> impl Strategy<Value = Vec<(usize, Mishap, u8)>> {
    let mishap = prop_oneof![
        Just(Mishap::Replaced),
        Just(Mishap::Moved),
        Just(Mishap::OutOfReach),
        Just(Mishap::Pending),
    ];
    prop::collection::vec((0..16_usize, mishap, 0..6_u8), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever happens to the pods, and whenever: no step does harm (the world checks each one), and once all pods
    /// answer the layout becomes whole.
    #[test]
    fn any_history_ends_in_a_whole_layout(
        shards in 1..5_u32,
        replicas in 0..3_u32,
        persistent: bool,
        gossip: bool,
        history in mishaps(),
    ) {
        let mut world = World::new(Wanted { shards, replicas_per_shard: replicas, persistent });
        world.gossip = gossip;
        for (pod, mishap, turns) in history {
            world.suffer(pod % world.pod_count(), mishap);
            for _ in 0..turns {
                world.turn();
            }
            if turns == 5 {
                world.recover();
            }
        }
        world.recover();
        prop_assert_eq!(world.settle(), Plan::Settled);
        world.assert_complete();
    }

    /// As long as every shard keeps a copy, no slot changes hands but to a replica, and none is given out again.
    #[test]
    fn moving_pods_never_moves_slots(shards in 1..5_u32, replicas in 0..3_u32, moved in prop::collection::vec(0..16_usize, 0..12)) {
        let mut world = settled(wanted(shards, replicas));
        let owners = world.owners();
        for pod in moved {
            world.suffer(pod % world.pod_count(), Mishap::Moved);
            world.turn();
        }
        prop_assert_eq!(world.settle(), Plan::Settled);
        prop_assert_eq!(world.owners(), owners);
    }
}
