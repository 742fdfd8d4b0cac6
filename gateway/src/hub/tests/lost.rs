//! A replica that takes over without the newest messages, on a real cluster: every client is told where the old history ends, and all agree on what
//! comes after it.

use super::*;
use crate::broker::contract::eventually;
use crate::broker::redis::tests::server::Cluster;
use crate::broker::redis::tests::some_prefix;
use crate::testing::gateway_on_redis;

const LOBBY: &str = "lobby";

async fn publish(gateway: &Gateway) -> Result<Position, Failure> {
    let actor = actions::Actor::Server {
        key: "test",
        from: None,
    };
    let published = actions::publish(gateway, actor, &room(LOBBY), b"1", None).await;
    published.map(|published| published.position)
}

/// Publishes so many, from the first moment at which it can be done.
async fn publish_at_once(gateway: &Gateway, count: usize) -> Vec<Position> {
    let mut positions = Vec::new();
    while positions.len() < count {
        match publish(gateway).await {
            Ok(position) => positions.push(position),
            Err(failure) => assert!(
                matches!(
                    failure.code,
                    ErrorCode::Unavailable | ErrorCode::OutcomeUnknown
                ),
                "{failure:?}"
            ),
        }
    }
    positions
}

fn messages(positions: &[Position]) -> Vec<String> {
    let message = |position: &Position| format!("message {position}");
    positions.iter().map(message).collect()
}

#[tokio::test]
async fn after_a_failover_that_lost_messages_all_clients_of_both_gateways_are_told_and_agree() {
    let mut cluster = Cluster::start_with_replicas(1);
    let prefix = some_prefix();
    let a = gateway_on_redis(config(&[LOBBY]), &cluster.url(), &prefix).await;
    let b = gateway_on_redis(config(&[LOBBY]), &cluster.url(), &prefix).await;
    let mut alice = joined(&a, "alice", None).await;
    let mut bob = joined(&b, "bob", None).await;
    let kept = publish_at_once(&a, 5).await;
    let log = format!("{prefix}:{{{LOBBY}}}:log");
    cluster.servers[0].run(&["WAIT", "1", "0"]);
    // The replica is locked out, so that it lacks what comes now.
    cluster.servers[1].run(&["CONFIG", "SET", "masterauth", "wrong"]);
    cluster.servers[0].run(&["CLIENT", "KILL", "TYPE", "replica"]);
    let lost = publish_at_once(&b, 3).await;
    for client in [&mut alice, &mut bob] {
        let seen = client.story(9).await;
        assert_eq!(seen[1..], messages(&[&kept[..], &lost].concat()));
    }
    assert_eq!(cluster.servers[0].number(&["XLEN", &log]), 8);

    cluster.servers[0].kill();
    cluster.servers[1].run(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
    let (from_a, from_b) = tokio::join!(publish_at_once(&a, 20), publish_at_once(&b, 20));
    let mut new = [from_a, from_b].concat();
    new.sort_unstable();
    let epoch = new[0].epoch;
    assert!(epoch > kept[0].epoch);
    assert!(
        new.iter().all(|position| position.epoch == epoch),
        "one epoch, whoever found the change: {new:?}"
    );
    // One whose outcome is unknown may be stored, too.
    eventually("both see the last one", || {
        alice.drain();
        bob.drain();
        alice.has_id(new[39]) && bob.has_id(new[39])
    })
    .await;
    let last = usize::try_from(new[39].offset.0).expect("it fits");
    let all: Vec<Position> = (1..=new[39].offset.0)
        .map(|offset| Position::new(epoch.0, offset))
        .collect();
    let start = Position::new(epoch.0, 0);
    let told = [
        vec![format!("gap {} {start} failover", lost[2])],
        messages(&all),
    ]
    .concat();
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.story(1 + last).await, told);
    }

    // Whoever comes back is told the same, as far as they had come.
    let border = format!("gap {} {start} failover", kept[4]);
    let from_the_old = |seen: usize| {
        let replayed = kept.len() - seen + last;
        let joined = format!(
            "joined {} recovered=false replayed={replayed}",
            kept[seen - 1]
        );
        [
            vec![joined],
            messages(&kept[seen..]),
            vec![border.clone()],
            messages(&all),
        ]
        .concat()
    };
    let past_the_end = [
        vec![format!("joined {start} recovered=false replayed={last}")],
        told.clone(),
    ]
    .concat();
    let in_the_new = [
        vec![format!(
            "joined {} recovered=true replayed={}",
            all[2],
            last - 3
        )],
        messages(&all[3..]),
    ]
    .concat();
    for gateway in [&a, &b] {
        for (name, seen, expected) in [
            ("carol", kept[2], from_the_old(3)),
            ("dave", kept[4], from_the_old(5)),
            ("erin", lost[0], {
                let mut expected = past_the_end.clone();
                expected[1] = format!("gap {} {start} failover", lost[0]);
                expected
            }),
            ("frank", lost[2], past_the_end.clone()),
            ("grace", all[2], in_the_new.clone()),
        ] {
            let mut client = joined(gateway, name, Some(seen)).await;
            assert_eq!(client.story(expected.len()).await, expected, "{name}");
        }
    }
}
