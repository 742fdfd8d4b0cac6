//! From client to client: over two gateways, through the LoadBalancer, and past an interruption.

use anyhow::{Result, ensure};
use rotunda_e2e::{chat::Chat, namespace::with_temp_ns};
use serde_json::{Value, json};

#[tokio::test]
async fn two_clients_on_two_gateway_pods_talk_and_one_that_was_cut_off_misses_nothing() -> Result<()>
{
    with_temp_ns("messages", async |namespace| {
        let chat = Chat::start(&namespace, &json!({})).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let pods = chat.gateways(2).await?;
        let (here, there) = (&pods[0], &pods[1]);

        let mut alice = chat.client_on(here, "alice").await?;
        let mut bob = chat.client_on(there, "bob").await?;
        alice.join("lobby").await?;
        let joined = bob.join("lobby").await?;
        ensure!(
            joined["members"] == 2,
            "alice is there, on the other pod: {joined}"
        );

        // Messages and signals, in both directions.
        let id = alice.publish("lobby", "hello").await?;
        let hello = bob.expect_message("lobby").await?;
        ensure!(
            hello.id == id && hello.from == "alice" && hello.data == "hello",
            "{hello:?}"
        );
        bob.publish("lobby", "hi").await?;
        ensure!(
            alice.expect_message("lobby").await?.data == "hello",
            "a publisher gets its own message"
        );
        let hi = alice.expect_message("lobby").await?;
        ensure!(hi.from == "bob" && hi.data == "hi", "{hi:?}");
        bob.signal("lobby", "typing").await?;
        ensure!(alice.expect("signal").await?["name"] == "typing");
        let hi = bob.expect_message("lobby").await?;

        // Bob's network goes. Three messages later he is back, on the other pod.
        bob.cut_off();
        for number in 1..=3 {
            alice.publish("lobby", number).await?;
        }
        let mut bob = chat.client_on(here, "bob").await?;
        let joined = bob.resume("lobby", &hi.id).await?;
        ensure!(
            joined["recovered"] == true && joined["replayed"] == 3,
            "{joined}"
        );
        for number in 1..=3 {
            let message = bob.expect_message("lobby").await?;
            ensure!(
                message.data == number && message.from == "alice",
                "{message:?}"
            );
        }
        alice.publish("lobby", "welcome back").await?;
        ensure!(
            bob.expect_message("lobby").await?.data == "welcome back",
            "no message comes twice"
        );

        // Nobody saw him go: alice hears of carol next, who comes through the LoadBalancer.
        let mut carol = chat.client("carol").await?;
        carol.join("lobby").await?;
        let about_others = |frame: &Value| {
            frame["type"] == "presence" && frame["joined"] != json!([{ "user": "alice" }])
        };
        for name in ["bob", "carol"] {
            let presence = alice
                .expect_where("news of the others", about_others)
                .await?;
            ensure!(
                presence["joined"] == json!([{ "user": name }]) && presence["left"] == json!([]),
                "{presence}"
            );
        }
        carol.publish("lobby", "through the load balancer").await?;
        ensure!(bob.expect_message("lobby").await?.from == "carol");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn someone_who_stayed_away_for_too_long_is_told_what_is_missing() -> Result<()> {
    with_temp_ns("trimmed", async |namespace| {
        let chat = Chat::start(&namespace, &json!({ "gateway": { "replicas": 1 } })).await?;
        chat.room_in_force("lobby", &json!({ "history": { "maxMessages": 2 } }))
            .await?;
        let pods = chat.gateways(1).await?;

        let mut alice = chat.client_on(&pods[0], "alice").await?;
        let first = alice.publish("lobby", 0).await?;
        for number in 1..=5 {
            alice.publish("lobby", number).await?;
        }
        let mut bob = chat.client_on(&pods[0], "bob").await?;
        let joined = bob.resume("lobby", &first).await?;
        ensure!(
            joined["recovered"] == false && joined["replayed"] == 2,
            "{joined}"
        );
        let gap = bob.expect("gap").await?;
        ensure!(gap["after"] == first && gap["reason"] == "trimmed", "{gap}");
        for number in 4..=5 {
            ensure!(bob.expect_message("lobby").await?.data == number);
        }
        Ok(())
    })
    .await
}
