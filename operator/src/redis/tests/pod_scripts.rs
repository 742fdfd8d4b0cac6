//! The scripts of a Redis pod: start, probe, stop.

use super::*;

#[tokio::test]
async fn an_empty_primary_waits_for_its_replica_to_take_over() {
    let mut servers = start(wanted(3, 1));
    settle(&servers, wanted(3, 1)).await;
    write(&servers, "{a}kept", "yes").await;
    eventually("a replica has the key", async || {
        (look(&servers)
            .await
            .up()
            .filter(|(_, view)| view.keys == 1)
            .count()
            == 2)
            .then_some(())
    })
    .await;
    let topology = look(&servers).await;
    let holder = topology
        .up()
        .position(|(_, view)| view.serves() && view.keys == 1)
        .expect("one owns the key");

    servers[holder].kill();
    std::fs::remove_dir_all(servers[holder].folder().join("data/appendonlydir"))
        .expect("the AOF can be deleted");
    servers[holder].replace(true);
    let (status, _) = settle(&servers, wanted(3, 1)).await;
    assert!(matches!(status.ready, Verdict::Yes(_)), "{status:?}");
    assert_eq!(
        read(&servers, "{a}kept").await.as_deref(),
        Some("yes"),
        "the replica's data survived"
    );
}

#[tokio::test]
async fn the_probe_tells_whether_redis_answers() {
    let mut servers = start(wanted(1, 0));
    eventually("it answers", async || {
        servers[0].run("ping.sh", &[]).0.then_some(())
    })
    .await;
    let (live, _) = servers[0].run("ping.sh", &["live"]);
    assert!(live, "without slots it is as ready as with them");
    servers[0].kill();
    let (ready, said) = servers[0].run("ping.sh", &[]);
    assert!(!ready && said.contains("refused"), "{said}");
}

#[tokio::test]
async fn a_primary_that_is_stopped_hands_over_to_its_replica() {
    let servers = start(wanted(1, 1));
    settle(&servers, wanted(1, 1)).await;
    let topology = look(&servers).await;
    let primary = topology
        .up()
        .position(|(_, view)| view.serves())
        .expect("there is a primary");
    eventually("the replica is in sync for the primary too", async || {
        let (done, _) = servers[primary].run("stop.sh", &[]);
        assert!(done, "it never stands in the way");
        let topology = look(&servers).await;
        topology
            .up()
            .nth(primary)
            .is_some_and(|(_, view)| view.role != Role::Primary)
            .then_some(())
    })
    .await;
    let (again, _) = servers[primary].run("stop.sh", &[]);
    assert!(again, "a replica just stops");
}
