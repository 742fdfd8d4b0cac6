//! A Redis that holds its writes or its answers back: nobody has left, nobody comes twice.

use super::*;

/// Longer than a lease holds.
const PAUSE: Duration = Duration::from_secs(3);

async fn nobody_leaves_or_comes_twice_while_redis_pauses(what: &str) {
    let server = Server::start(&[]);
    let prefix = some_prefix();
    let a = gateway_on_redis(config(), &server.url(), &prefix).await;
    let b = gateway_on_redis(config(), &server.url(), &prefix).await;
    let mut alice = Watcher::enter(&a, "alice").await;
    let mut bob = Watcher::enter(&b, "bob").await;
    let dave = Watcher::enter(&b, "dave").await;
    alice.sees(&["alice", "bob", "dave"]).await;
    bob.sees(&["alice", "bob", "dave"]).await;
    // Until both might sweep.
    tokio::time::sleep(TTL).await;
    let pause = PAUSE.as_millis().to_string();
    server.run(&["CLIENT", "PAUSE", &pause, what]);
    // Told as soon as it can be.
    actions::leave(&b, &dave.client.connection, &room(LOBBY)).unwrap();
    tokio::time::sleep(PAUSE).await;
    eventually("both are back", || a.ready().is_ok() && b.ready().is_ok()).await;
    for watcher in [&mut alice, &mut bob] {
        watcher.sees(&["alice", "bob"]).await;
    }
    // Until both might sweep again, and have.
    tokio::time::sleep(TTL + Duration::from_secs(2)).await;
    let mut carol = Watcher::enter(&b, "carol").await;
    for watcher in [&mut alice, &mut bob, &mut carol] {
        watcher.sees(&["alice", "bob", "carol"]).await;
        for name in ["alice", "bob", "carol"] {
            let (joined, left) = watcher.told_of(name);
            assert!(joined <= 1, "{name} is told to have come {joined} times");
            assert_eq!(left, 0, "{name} is told to have left");
        }
        assert!(watcher.told_of("dave").1 <= 1, "he left once");
    }
    assert_eq!(members(&a).await, names(&["alice", "bob", "carol"]));
}

#[tokio::test]
async fn while_redis_takes_no_writes_nobody_leaves_or_comes_twice() {
    nobody_leaves_or_comes_twice_while_redis_pauses("WRITE").await;
}

#[tokio::test]
async fn while_redis_answers_nobody_nobody_leaves_or_comes_twice() {
    nobody_leaves_or_comes_twice_while_redis_pauses("ALL").await;
}
