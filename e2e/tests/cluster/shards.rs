//! More shards for a Redis that runs.

use anyhow::{Result, ensure};
use rotunda_crds::RealtimeCluster;
use rotunda_e2e::{
    chat::{CLUSTER, Chat},
    namespace::with_temp_ns,
};
use serde_json::json;

#[tokio::test]
async fn more_shards_than_before_are_declined_in_a_sentence_and_nobody_is_disturbed() -> Result<()>
{
    with_temp_ns("more-shards", async |namespace| {
        let of = |shards: u32| json!({ "redis": { "managed": { "shards": shards, "replicasPerShard": 0 } } });
        let chat = Chat::start(&namespace, &of(1)).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let mut alice = chat.client("alice").await?;
        alice.join("lobby").await?;

        chat.change(&of(3)).await?;
        let message =
            namespace.expect_condition::<RealtimeCluster>(CLUSTER, "Degraded", "True", "ScaleOutUnsupported").await?;
        ensure!(message.contains("set spec.redis.managed.shards back to 1"), "{message}");
        chat.ready().await?;
        alice.publish("lobby", "undisturbed").await?;

        chat.change(&of(1)).await?;
        namespace.expect_condition::<RealtimeCluster>(CLUSTER, "Degraded", "True", "NoReplicas").await?;
        alice.publish("lobby", "as before").await?;
        Ok(())
    })
    .await
}
