//! The number of gateway pods: by `kubectl scale`, and across autoscaling that is switched on and off.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use rotunda_e2e::{
    chat::{CLUSTER, Chat, token},
    eventually::eventually,
    follower::{Follower, Publisher},
    namespace::with_temp_ns,
};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn kubectl_scale_changes_the_pods_and_no_client_misses_a_message() -> Result<()> {
    with_temp_ns("scaling", async |namespace| {
        // A CPU request that an idle gateway is far below: the autoscaler has no reason to act.
        let spec =
            json!({ "gateway": { "replicas": 1, "resources": { "requests": { "cpu": "200m" } } } });
        let chat = Chat::start(&namespace, &spec).await?;
        chat.room_in_force("lobby", &json!({})).await?;

        namespace
            .kubectl(&["scale", "rtc", CLUSTER, "--replicas=3"])
            .await?;
        let pods = chat.gateways(3).await?;
        eventually("the status tells of three", LIMIT, async || {
            let status = chat.get().await?.status.unwrap_or_default();
            ensure!(
                status.replicas == Some(3) && status.ready_replicas == Some(3),
                "{status:?}"
            );
            Ok(())
        })
        .await?;

        // One user on each pod, as things happen to be; the publisher goes through the LoadBalancer.
        let mut users = Vec::new();
        let endpoint = chat.endpoint().await?;
        for (pod, name) in pods.iter().zip(["alice", "bob", "carol"]) {
            users
                .push(Follower::join_at(&pod.endpoint(), &endpoint, &token(name)?, "lobby").await?);
        }
        let publisher = Publisher::start(
            &chat.address().await?,
            &token("dave")?,
            "lobby",
            Duration::from_millis(100),
        );

        // Autoscaling on: what runs, runs on, although one would be enough.
        let on = json!({ "minReplicas": 1, "maxReplicas": 5, "targetCPUUtilization": 90 });
        chat.patch(&json!({ "spec": { "autoscaling": on } }))
            .await?;
        eventually(
            "the autoscaler reads the CPU",
            Duration::from_mins(1),
            async || {
                let autoscaler: HorizontalPodAutoscaler =
                    namespace.api().get("chat-gateway").await?;
                let conditions = autoscaler
                    .status
                    .unwrap_or_default()
                    .conditions
                    .unwrap_or_default();
                let is_active = |active: &str| {
                    conditions.iter().any(|condition| {
                        condition.type_ == "ScalingActive" && condition.status == active
                    })
                };
                ensure!(is_active("True"), "{conditions:?}");
                Ok(())
            },
        )
        .await?;
        ensure!(chat.gateways(3).await? == pods);

        // And off.
        chat.patch(&json!({ "spec": { "autoscaling": null } }))
            .await?;
        eventually("the autoscaler is gone", LIMIT, async || {
            let autoscalers = namespace
                .kubectl(&["get", "horizontalpodautoscalers", "--output=name"])
                .await?;
            ensure!(autoscalers.is_empty(), "{autoscalers}");
            Ok(())
        })
        .await?;
        ensure!(chat.gateways(3).await? == pods);

        namespace
            .kubectl(&["scale", "rtc", CLUSTER, "--replicas=1"])
            .await?;
        chat.settled_gateways(1).await?;
        let count = publisher.finish().await?;
        let mut moves = 0;
        for user in users {
            let story = user.finish(count).await?;
            story.ensure_whole(count)?;
            ensure!(
                story.cuts.is_empty(),
                "all were told to move on before they were cut off: {:?}",
                story.cuts
            );
            moves += story.moves;
        }
        ensure!(
            moves >= 2,
            "those on the two pods that went moved on: {moves}"
        );
        Ok(())
    })
    .await
}
