//! All gateways are replaced while people talk.

use std::time::Duration;

use anyhow::{Result, ensure};
use rotunda_e2e::{
    chat::{Chat, token},
    follower::{Follower, Publisher},
    namespace::with_temp_ns,
};
use serde_json::json;

#[tokio::test]
async fn a_rolling_restart_under_steady_traffic_loses_and_doubles_nothing() -> Result<()> {
    const USERS: usize = 8;
    with_temp_ns("rollout", async |namespace| {
        let chat = Chat::start(&namespace, &json!({ "gateway": { "drainSeconds": 4 } })).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let before = chat.gateways(2).await?;

        let endpoint = chat.endpoint().await?;
        let mut users = Vec::new();
        for number in 0..USERS {
            users.push(
                Follower::join(&endpoint, &token(&format!("user-{number}"))?, "lobby").await?,
            );
        }
        let publisher = Publisher::start(
            &chat.address().await?,
            &token("writer")?,
            "lobby",
            Duration::from_millis(20),
        );
        for user in &mut users {
            user.got(1).await?;
        }

        namespace
            .kubectl(&["rollout", "restart", "deployment/chat-gateway"])
            .await?;
        namespace
            .kubectl(&[
                "rollout",
                "status",
                "deployment/chat-gateway",
                "--timeout=2m",
            ])
            .await?;
        let after = chat.settled_gateways(2).await?;
        ensure!(after.iter().all(|pod| !before.contains(pod)), "{after:?}");

        let count = publisher.finish().await?;
        for user in users {
            let story = user.finish(count).await?;
            story.ensure_whole(count)?;
            ensure!(
                story.cuts.is_empty(),
                "nobody was cut off before they could move: {:?}",
                story.cuts
            );
            ensure!(story.moves > 0, "everyone had to move");
        }
        Ok(())
    })
    .await
}
