//! Gateways go while people talk: one after the other as they should, and one without a warning.

use std::time::Duration;

use anyhow::{Result, ensure};
use rotunda_e2e::{
    chat::{Chat, GATEWAYS, token},
    eventually::eventually,
    follower::{Follower, Publisher},
    namespace::{tell, with_temp_ns},
};
use serde_json::json;

/// The gateway's program.
const PROGRAM: &str = "rotunda-gateway";
/// Users who stay in the lobby.
const USERS: usize = 8;

#[tokio::test]
async fn a_rolling_restart_under_steady_traffic_loses_and_doubles_nothing() -> Result<()> {
    const RESTARTS: usize = if cfg!(feature = "full") { 10 } else { 1 };
    with_temp_ns("rollout", async |namespace| {
        let chat = Chat::start(&namespace, &json!({ "gateway": { "drainSeconds": 4 } })).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let (users, publisher) = talk(&chat).await?;
        for _ in 0..RESTARTS {
            let before = chat.gateways(2).await?;
            let deployment = "deployment/chat-gateway";
            namespace
                .kubectl(&["rollout", "restart", deployment])
                .await?;
            namespace
                .kubectl(&["rollout", "status", deployment, "--timeout=2m"])
                .await?;
            let after = chat.settled_gateways(2).await?;
            ensure!(after.iter().all(|pod| !before.contains(pod)), "{after:?}");
        }
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

#[tokio::test]
async fn a_gateway_that_is_killed_costs_its_clients_no_message() -> Result<()> {
    // The kubelet waits longer and longer before it starts a container again.
    const KILLS: usize = if cfg!(feature = "full") { 6 } else { 1 };
    with_temp_ns("killed-gateway", async |namespace| {
        let chat = Chat::start(&namespace, &json!({})).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let mut pods = chat.gateways(2).await?;
        let (mut users, publisher) = talk(&chat).await?;
        // One of them is surely there where it happens.
        users.push(
            Follower::join_at(
                &pods[0].endpoint(),
                &chat.endpoint().await?,
                &token("unlucky")?,
                "lobby",
            )
            .await?,
        );
        for kill in 0..KILLS {
            pods[kill % 2].kill(PROGRAM).await?;
            eventually(
                "the kubelet has noticed",
                Duration::from_secs(30),
                async || {
                    ensure!(
                        namespace.pods(GATEWAYS).await?.iter().any(|pod| !pod.ready),
                        "all are ready"
                    );
                    Ok(())
                },
            )
            .await?;
            pods = chat.gateways(2).await?;
        }

        let mut guest = chat.client_on(&pods[0], "guest").await?;
        let joined = guest.join("lobby").await?;
        ensure!(
            joined["members"] == USERS + 2,
            "each is counted once, wherever they are now: {joined}"
        );
        let count = publisher.finish().await?;
        let mut cuts = 0;
        for user in users {
            let story = user.finish(count).await?;
            story.ensure_whole_since_joining(count)?;
            cuts += story.cuts.len();
        }
        ensure!(cuts > 0, "nobody was on a gateway that was killed");
        tell(format!(
            "{count} messages to each of {} users over {cuts} connections that were cut",
            USERS + 1
        ));
        Ok(())
    })
    .await
}

/// Users in the lobby, and one who writes.
async fn talk(chat: &Chat) -> Result<(Vec<Follower>, Publisher)> {
    let endpoint = chat.endpoint().await?;
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(Follower::join(&endpoint, &token(&format!("user-{number}"))?, "lobby").await?);
    }
    let address = chat.address().await?;
    let publisher = Publisher::start(
        &address,
        &token("writer")?,
        "lobby",
        Duration::from_millis(20),
    );
    for user in &mut users {
        user.got(1).await?;
    }
    Ok((users, publisher))
}
