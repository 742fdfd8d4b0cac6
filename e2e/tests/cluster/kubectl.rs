//! How the two kinds look to somebody with `kubectl`.

use std::time::Duration;

use anyhow::{Result, ensure};
use rotunda_e2e::{
    chat::Chat,
    cluster::Cluster,
    eventually::eventually,
    namespace::{Namespace, with_temp_ns},
};
use serde_json::json;

#[tokio::test]
async fn kubectl_explains_every_field() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let said = cluster
        .kubectl(&["explain", "rtc.spec.gateway.drainSeconds"])
        .await?;
    for part in [
        "KIND:       RealtimeCluster",
        "FIELD: drainSeconds <integer>",
        "Seconds that a leaving pod takes to hand its connections over. Default: 60.",
    ] {
        ensure!(said.contains(part), "{part:?} is missing:\n{said}");
    }
    for kind in ["realtimecluster", "room"] {
        let said = cluster.kubectl(&["explain", kind, "--recursive"]).await?;
        ensure!(!said.contains("<no description>"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_get_shows_what_matters() -> Result<()> {
    with_temp_ns("columns", async |namespace| {
        let chat = Chat::start(&namespace, &json!({ "gateway": { "replicas": 1 } })).await?;
        chat.room_in_force("teams", &json!({ "name": null, "pattern": "team:*" }))
            .await?;
        let endpoint = chat.endpoint().await?;
        let mut alice = chat.client("alice").await?;
        alice.join("team:red").await?;

        shows(
            &namespace,
            "rtc",
            &[
                "NAME",
                "READY",
                "ENDPOINT",
                "GATEWAYS",
                "CONNECTIONS",
                "SHARDS",
                "AGE",
            ],
            &["chat", "True", &endpoint, "1", "1", "1"],
        )
        .await?;
        shows(
            &namespace,
            "rooms",
            &[
                "NAME", "CLUSTER", "MATCH", "ACCEPTED", "MEMBERS", "MSG/S", "AGE",
            ],
            &["teams", "chat", "team:*", "True", "1", "0"],
        )
        .await?;
        let both = namespace
            .kubectl(&["get", "rotunda", "--output=name"])
            .await?;
        ensure!(
            both == "realtimecluster.rotunda.dev/chat\nroom.rotunda.dev/teams\n",
            "{both}"
        );
        Ok(())
    })
    .await
}

/// Waits until a table of one row is as expected; its last column, the age, may be anything.
async fn shows(namespace: &Namespace, what: &str, columns: &[&str], row: &[&str]) -> Result<()> {
    // Counts are told every 15 seconds.
    const LIMIT: Duration = Duration::from_secs(45);
    eventually(
        &format!("`kubectl get {what}` shows {row:?}"),
        LIMIT,
        async || {
            let table = namespace.kubectl(&["get", what]).await?;
            let lines: Vec<Vec<&str>> = table
                .lines()
                .map(|line| line.split_whitespace().collect())
                .collect();
            let [head, one] = lines.as_slice() else {
                anyhow::bail!("{table}")
            };
            ensure!(
                head == columns && one.len() == columns.len() && one.starts_with(row),
                "{table}"
            );
            Ok(())
        },
    )
    .await
}
