//! Redis with several shards, each with a replica: any pod may go.

use std::time::Duration;

use anyhow::{Result, ensure};
use rotunda_e2e::{
    chat::{Chat, REDIS, token},
    eventually::eventually,
    follower::{Follower, Publisher},
    namespace::with_temp_ns,
};
use serde_json::json;

/// Enough that each of three shards has one, most likely.
const ROOMS: [&str; 6] = ["lobby", "den", "hut", "attic", "cellar", "garden"];

#[tokio::test]
async fn every_redis_pod_in_turn_may_go_where_each_shard_has_a_replica() -> Result<()> {
    const PODS: usize = 6;
    with_temp_ns("shards", async |namespace| {
        let chat = Chat::start(
            &namespace,
            &json!({ "redis": { "managed": { "shards": 3, "replicasPerShard": 1 } } }),
        )
        .await?;
        chat.room_in_force("rooms", &json!({ "name": null, "pattern": "*" }))
            .await?;
        let pods = chat.gateways(2).await?;
        let endpoint = chat.endpoint().await?;
        let mut traffic = Vec::new();
        for room in ROOMS {
            let user =
                Follower::join_at(&pods[1].endpoint(), &endpoint, &token("reader")?, room).await?;
            let pause = Duration::from_millis(100);
            traffic.push((
                user,
                Publisher::start(&pods[0].address(), &token("writer")?, room, pause),
            ));
        }

        for pod in namespace.ready_pods(REDIS, PODS).await? {
            namespace.kubectl(&["delete", "pod", &pod.name]).await?;
            namespace.ready_pods(REDIS, PODS).await?;
            eventually(
                "the shards are whole again",
                Duration::from_mins(1),
                async || {
                    let status = chat.get().await?.status.unwrap_or_default();
                    let degraded = status
                        .conditions
                        .iter()
                        .find(|condition| condition.type_ == "Degraded");
                    ensure!(
                        degraded.is_some_and(|condition| condition.status == "False"),
                        "{degraded:?}"
                    );
                    Ok(())
                },
            )
            .await?;
        }

        for (user, publisher) in traffic {
            let count = publisher.finish().await?;
            user.finish(count).await?.ensure_whole(count)?;
        }
        Ok(())
    })
    .await
}
