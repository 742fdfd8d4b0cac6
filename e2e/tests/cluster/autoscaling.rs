//! The HorizontalPodAutoscaler, under real load.

use std::time::Duration;

use anyhow::Result;
use rotunda_e2e::{
    chat::{Chat, token},
    follower::{Follower, Publisher},
    namespace::with_temp_ns,
};
use serde_json::json;

#[tokio::test]
async fn load_adds_gateways_and_when_it_ends_they_go_without_a_client_missing_a_message()
-> Result<()> {
    with_temp_ns("autoscaling", async |namespace| {
        let spec = json!({
            "gateway": { "replicas": 1, "drainSeconds": 3, "resources": { "requests": { "cpu": "200m" } } },
            "autoscaling": {
                "minReplicas": 1,
                "maxReplicas": 2,
                "targetCPUUtilization": 50,
                "scaleDown": { "stabilizationSeconds": 0, "podsPerMinute": 10 },
            },
        });
        let chat = Chat::start(&namespace, &spec).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        chat.room_in_force("load", &json!({})).await?;
        chat.gateways(1).await?;

        let endpoint = chat.endpoint().await?;
        let address = chat.address().await?;
        let publisher = Publisher::start(&address, &token("alice")?, "lobby", Duration::from_millis(200));
        let mut users = vec![Follower::join(&endpoint, &token("bob")?, "lobby").await?];

        // Many who write, all at once.
        let load = (0..2)
            .map(|number| {
                let token = token(&format!("load-{number}"))?;
                Ok(Publisher::start(&address, &token, "load", Duration::from_millis(5)))
            })
            .collect::<Result<Vec<_>>>()?;
        chat.gateways(2).await?;
        for number in 0..6 {
            users.push(Follower::join(&endpoint, &token(&format!("user-{number}"))?, "lobby").await?);
        }
        for publisher in load {
            publisher.finish().await?;
        }
        chat.settled_gateways(1).await?;

        let count = publisher.finish().await?;
        for user in users {
            user.finish(count).await?.ensure_whole_since_joining(count)?;
        }
        Ok(())
    })
    .await
}
