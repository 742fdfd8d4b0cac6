//! Redis goes and comes back, with a volume and without one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rotunda_e2e::{
    chat::{Chat, token},
    eventually::eventually,
    follower::{Follower, Publisher},
    namespace::{Namespace, RunningPod, with_temp_ns},
    realtime::RealtimeClient,
};
use serde_json::json;

/// How long a new pod may take to be found by all.
const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn with_storage_a_deleted_and_a_killed_redis_cost_no_member_a_message() -> Result<()> {
    const ROUNDS: usize = if cfg!(feature = "full") { 4 } else { 1 };
    /// The most that one page of history holds.
    const PAGE: u64 = 1000;
    /// What is published in two seconds.
    const FORGOTTEN: u64 = 100;
    with_temp_ns("storage", async |namespace| {
        let storage = json!({ "size": "1Gi", "onDelete": "Delete" });
        let chat = Chat::start(
            &namespace,
            &json!({ "redis": { "managed": { "storage": storage } } }),
        )
        .await?;
        chat.room_in_force("lobby", &json!({ "history": { "maxMessages": 100_000 } }))
            .await?;
        let pods = chat.gateways(2).await?;
        let endpoint = chat.endpoint().await?;
        let mut users = Vec::new();
        for pod in &pods {
            users.push(
                Follower::join_at(&pod.endpoint(), &endpoint, &token(&pod.name)?, "lobby").await?,
            );
        }
        let publisher = Publisher::start(
            &pods[0].address(),
            &token("writer")?,
            "lobby",
            Duration::from_millis(20),
        );
        go_on(&publisher, &mut users).await?;

        for _ in 0..ROUNDS {
            delete(&namespace, &chat, &chat.redis().await?).await?;
            go_on(&publisher, &mut users).await?;
            chat.redis().await?.kill("redis-server").await?;
            go_on(&publisher, &mut users).await?;
        }

        // Nobody was disconnected, and what was said before, meanwhile and since is all there.
        let count = publisher.finish().await?;
        for user in users {
            let story = user.finish(count).await?;
            story.ensure_each_came(count)?;
            // Each new process is told of once: nobody can know that it has all that the one before had.
            ensure!(story.gaps.len() == 2 * ROUNDS, "{:?}", story.gaps);
            ensure!(
                story.moves == 0 && story.cuts.is_empty(),
                "{:?}",
                story.cuts
            );
        }
        let mut carol = chat.client("carol").await?;
        let history = carol
            .request(
                json!({ "type": "history", "room": "lobby", "limit": PAGE }),
                "history",
            )
            .await?;
        let messages = history["messages"].as_array().context("no messages")?;
        // Redis puts off writing its file for up to two seconds while it is being synchronized: a killed one may forget what it
        // acknowledged then. That is what the gap was about.
        let forgotten = count.min(PAGE).saturating_sub(messages.len() as u64);
        ensure!(
            forgotten <= FORGOTTEN * ROUNDS as u64,
            "{} of {count}",
            messages.len()
        );
        ensure!(chat.gateways(2).await? == pods);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_storage_what_was_lost_is_told() -> Result<()> {
    with_temp_ns("no-storage", async |namespace| {
        let chat = Chat::start(&namespace, &json!({})).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let pods = chat.gateways(2).await?;
        let redis = chat.redis().await?;
        let mut alice = chat.client_on(&pods[0], "alice").await?;
        let mut bob = chat.client_on(&pods[1], "bob").await?;
        alice.join("lobby").await?;
        bob.join("lobby").await?;
        alice.publish("lobby", "before").await?;
        let before = bob.expect_message("lobby").await?;
        bob.cut_off();
        alice.publish("lobby", "missed by bob").await?;

        delete(&namespace, &chat, &redis).await?;

        // Alice stays connected; what she writes from now on is stored again.
        let after = publish_until_stored(&mut alice, "after").await?;
        let mut bob = eventually("bob's gateway has found Redis too", LIMIT, async || {
            chat.client_on(&pods[1], "bob").await
        })
        .await?;
        let joined = bob.resume("lobby", &before.id).await?;
        ensure!(joined["recovered"] == false, "{joined}");
        let gap = bob.expect("gap").await?;
        ensure!(
            gap["after"] == before.id && gap["reason"] == "failover",
            "{gap}"
        );
        let message = bob.expect_message("lobby").await?;
        ensure!(
            message.id == after && message.data == "after",
            "{message:?}"
        );
        alice
            .expect_where("her own message", |frame| frame["id"] == after.as_str())
            .await?;
        Ok(())
    })
    .await
}

/// Waits until messages come again that were published from now on.
async fn go_on(publisher: &Publisher, users: &mut [Follower]) -> Result<()> {
    const SOME: u64 = 10;
    let next = publisher.count() + SOME;
    for user in users {
        user.got(next).await?;
    }
    Ok(())
}

/// Deletes a pod, and waits for the one that takes its place.
async fn delete(namespace: &Namespace, chat: &Chat, redis: &RunningPod) -> Result<()> {
    namespace.kubectl(&["delete", "pod", &redis.name]).await?;
    eventually("another Redis pod", LIMIT, async || {
        ensure!(chat.redis().await?.uid != redis.uid, "it is still there");
        Ok(())
    })
    .await
}

async fn publish_until_stored(client: &mut RealtimeClient, data: &str) -> Result<String> {
    eventually("a message can be stored", LIMIT, async || {
        client.publish("lobby", data).await
    })
    .await
}
