//! Deleted messages: who is told, once, and in order with the messages.

use super::*;
use crate::broker::contract::{RETENTION, eventually};
use crate::broker::redis::tests::proxy::Proxy;
use crate::broker::redis::tests::server::standalone;
use crate::broker::redis::tests::some_prefix;
use crate::testing::gateway_on_redis;

#[tokio::test(start_paused = true)]
async fn a_deletion_is_told_to_live_members() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    broker.say("lobby", 2);
    let lobby = room("lobby");
    broker.delete_messages(&lobby, RETENTION).await.unwrap();
    broker.say("lobby", 1);
    assert_eq!(
        alice.story(5).await[3..],
        ["gap 1-2 1-3 deleted", "message 1-4"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_was_not_announced_is_told_by_the_next_message_or_the_next_look() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    let lobby = room("lobby");
    broker.say("lobby", 1);
    broker.faults.lock().lose = 1;
    broker.delete_messages(&lobby, RETENTION).await.unwrap();
    broker.say("lobby", 1);
    assert_eq!(
        alice.story(4).await[2..],
        ["gap 1-1 1-2 deleted", "message 1-3"]
    );
    broker.faults.lock().lose = 1;
    broker.delete_messages(&lobby, RETENTION).await.unwrap();
    broker.interrupt("lobby");
    broker.interrupt("lobby");
    assert_eq!(alice.story(1).await, ["gap 1-3 1-4 deleted"]);
    alice.hears_nothing_more().await;
}

#[tokio::test(start_paused = true)]
async fn who_was_away_is_told_of_the_deletion_and_gets_what_came_after() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    broker.say("lobby", 3);
    let lobby = room("lobby");
    broker.delete_messages(&lobby, RETENTION).await.unwrap();
    broker.say("lobby", 1);
    let mut alice = joined(&gateway, "alice", Some(at(1, 1))).await;
    assert_eq!(
        alice.story(3).await,
        [
            "joined 1-4 recovered=false replayed=1",
            "gap 1-1 1-4 deleted",
            "message 1-5"
        ]
    );
    let mut bob = joined(&gateway, "bob", Some(at(1, 3))).await;
    assert_eq!(
        bob.story(3).await,
        [
            "joined 1-3 recovered=true replayed=1",
            "gap 1-3 1-4 deleted",
            "message 1-5"
        ]
    );
}

#[tokio::test]
async fn a_gateway_that_was_cut_off_tells_its_clients_of_a_deletion() {
    let prefix = some_prefix();
    let server = standalone();
    let proxy = Proxy::to(server.port).await;
    let cut = gateway_on_redis(config(&["lobby"]), &proxy.url(), &prefix).await;
    let other = gateway_on_redis(config(&["lobby"]), &server.url(), &prefix).await;
    let mut alice = Client::connect(&cut, "alice");
    alice.join(&cut, "lobby").await;
    let publish = async |data: &[u8]| {
        let actor = crate::actions::Actor::Server {
            key: "test",
            from: None,
        };
        let published = crate::actions::publish(&other, actor, &room("lobby"), data, None).await;
        published.unwrap().position
    };
    let seen = publish(b"1").await;
    alice.next_of("message").await;
    // Nobody listens at port 1.
    proxy.lead_to(1);
    eventually("it is cut off", || cut.ready().is_err()).await;
    let lobby = room("lobby");
    crate::actions::delete_messages(&other, &lobby)
        .await
        .unwrap();
    let next = publish(b"2").await;
    proxy.lead_to(server.port);
    let gap = alice.next_of("gap").await;
    assert_eq!(gap["reason"], "deleted");
    assert_eq!(gap["after"], seen.to_string());
    assert_eq!(gap["next"], seen.next().to_string());
    assert_eq!(alice.next_of("message").await["id"], next.to_string());
    // One that is deleted while nothing else happens.
    proxy.lead_to(1);
    eventually("it is cut off", || cut.ready().is_err()).await;
    crate::actions::delete_messages(&other, &lobby)
        .await
        .unwrap();
    proxy.lead_to(server.port);
    assert_eq!(alice.next_of("gap").await["reason"], "deleted");
}
