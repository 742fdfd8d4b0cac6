//! A RealtimeCluster that is deleted takes everything along; its volumes only if they should go.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use rotunda_e2e::{
    chat::{CLUSTER, Chat},
    eventually::eventually,
    namespace::{Namespace, with_temp_ns},
};
use serde_json::json;

const LIMIT: Duration = Duration::from_mins(2);

#[tokio::test]
async fn deletion_leaves_nothing_behind_but_volumes_that_should_stay() -> Result<()> {
    with_temp_ns("deletion", async |namespace| {
        let before = objects(&namespace).await?;
        let kept = |on_delete: &str| {
            json!({
                "gateway": { "replicas": 1 },
                "redis": { "managed": { "storage": { "size": "1Gi", "onDelete": on_delete } } },
                "autoscaling": { "minReplicas": 1, "maxReplicas": 2, "targetCPUUtilization": 1000 },
            })
        };
        let chat = Chat::start(&namespace, &kept("Retain")).await?;
        // The second one's history goes with it, where it can: it must not hold anything up.
        chat.room_in_force("lobby", &json!({})).await?;
        chat.room_in_force("den", &json!({ "deletionPolicy": "Delete" }))
            .await?;
        let mut alice = chat.client("alice").await?;
        let id = alice.publish("lobby", "to be kept").await?;
        let made = objects(&namespace).await?.len() - before.len();
        ensure!(made > 20, "only {made} objects");

        delete(&namespace).await?;
        let secret = "secret/chat-jwt".to_owned();
        let rooms = ["room.rotunda.dev/den", "room.rotunda.dev/lobby"].map(str::to_owned);
        let volume = "persistentvolumeclaim/data-chat-redis-0-0".to_owned();
        let mut expected = before.clone();
        expected.extend([secret.clone(), volume]);
        expected.extend(rooms.clone());
        are_left(&namespace, &expected).await?;

        // With the volume, the cluster comes back with its history.
        let chat = Chat::start(&namespace, &kept("Retain")).await?;
        let mut bob = chat.client("bob").await?;
        let history = bob
            .request(json!({ "type": "history", "room": "lobby" }), "history")
            .await?;
        let message = &history["messages"].as_array().context("no messages")?[0];
        ensure!(
            message["id"] == id.as_str() && message["data"] == "to be kept",
            "{history}"
        );

        // And goes for good.
        chat.change(&kept("Delete")).await?;
        eventually(
            "the StatefulSet would take the volume along",
            LIMIT,
            async || {
                let path =
                    "--output=jsonpath={.spec.persistentVolumeClaimRetentionPolicy.whenDeleted}";
                let policy = namespace
                    .kubectl(&["get", "statefulset", "chat-redis-0", path])
                    .await?;
                ensure!(policy == "Delete", "{policy}");
                Ok(())
            },
        )
        .await?;
        delete(&namespace).await?;
        namespace
            .kubectl(&["delete", "rooms", "--all", "--timeout=20s"])
            .await?;
        expected = before;
        expected.insert(secret);
        are_left(&namespace, &expected).await
    })
    .await
}

async fn delete(namespace: &Namespace) -> Result<()> {
    namespace
        .kubectl(&["delete", "realtimecluster", CLUSTER, "--timeout=20s"])
        .await
        .map(drop)
}

async fn are_left(namespace: &Namespace, expected: &BTreeSet<String>) -> Result<()> {
    eventually("only what should be left is left", LIMIT, async || {
        let left = objects(namespace).await?;
        let too_many: Vec<_> = left.difference(expected).collect();
        let missing: Vec<_> = expected.difference(&left).collect();
        ensure!(
            too_many.is_empty() && missing.is_empty(),
            "still there: {too_many:?}, missing: {missing:?}"
        );
        Ok(())
    })
    .await
}

/// Every object in the namespace, as `kind/name`. Not Events, which go by their own clock, nor metrics, which are none.
async fn objects(namespace: &Namespace) -> Result<BTreeSet<String>> {
    let kinds = namespace
        .cluster()
        .kubectl(&[
            "api-resources",
            "--namespaced",
            "--verbs=list",
            "--output=name",
        ])
        .await?;
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events") && !kind.ends_with("metrics.k8s.io"))
        .collect();
    let names = namespace
        .kubectl(&[
            "get",
            &kinds.join(","),
            "--output=name",
            "--ignore-not-found",
        ])
        .await?;
    Ok(names.lines().map(str::to_owned).collect())
}
