//! Redis's pod goes, with its volume and without one.

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

#[tokio::test]
async fn with_storage_a_deleted_redis_pod_costs_no_message() -> Result<()> {
    with_temp_ns("storage", async |namespace| {
        let storage = json!({ "size": "1Gi", "onDelete": "Delete" });
        let chat = Chat::start(
            &namespace,
            &json!({ "redis": { "managed": { "storage": storage } } }),
        )
        .await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let pods = chat.gateways(2).await?;
        let redis = chat.redis().await?;

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
        for user in &mut users {
            user.got(10).await?;
        }

        delete(&namespace, &chat, &redis).await?;

        // Nobody was disconnected, and what was said before, meanwhile and since is all there.
        let reached = publisher.count();
        for user in &mut users {
            user.got(reached + 10).await?;
        }
        let count = publisher.finish().await?;
        for user in users {
            let story = user.finish(count).await?;
            story.ensure_whole(count)?;
            ensure!(
                story.moves == 0 && story.cuts.is_empty(),
                "{:?}",
                story.cuts
            );
        }
        let mut carol = chat.client("carol").await?;
        let history = carol
            .request(
                json!({ "type": "history", "room": "lobby", "limit": 1000 }),
                "history",
            )
            .await?;
        let messages = history["messages"].as_array().context("no messages")?;
        ensure!(
            messages.len() as u64 == count && messages[0]["data"] == 0,
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
        let mut bob = chat.client_on(&pods[1], "bob").await?;
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

/// Deletes a pod, and waits for the one that takes its place.
async fn delete(namespace: &Namespace, chat: &Chat, redis: &RunningPod) -> Result<()> {
    const LIMIT: Duration = Duration::from_mins(1);
    namespace.kubectl(&["delete", "pod", &redis.name]).await?;
    eventually("another Redis pod", LIMIT, async || {
        ensure!(chat.redis().await?.uid != redis.uid, "it is still there");
        Ok(())
    })
    .await
}

async fn publish_until_stored(client: &mut RealtimeClient, data: &str) -> Result<String> {
    const LIMIT: Duration = Duration::from_mins(1);
    eventually("a message can be stored", LIMIT, async || {
        client.publish("lobby", data).await
    })
    .await
}
