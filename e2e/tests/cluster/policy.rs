//! A Room that is edited takes effect on connections that are open.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rotunda_crds::Room;
use rotunda_e2e::{
    chat::Chat,
    eventually::eventually,
    namespace::{Namespace, RunningPod, tell, with_temp_ns, with_temp_ns_alone},
};
use serde_json::{Value, json};
use tokio::time::sleep;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_edited_room_takes_effect_on_a_live_connection() -> Result<()> {
    with_temp_ns("policy", async |namespace| {
        let chat = Chat::start(&namespace, &json!({})).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let pods = chat.gateways(2).await?;
        let mut alice = chat.client_on(&pods[0], "alice").await?;
        let mut bob = chat.client_on(&pods[1], "bob").await?;
        alice.join("lobby").await?;
        bob.join("lobby").await?;

        // Bob may listen, and no longer write; nobody has to connect again.
        let only_alice = json!({ "access": { "publish": "user.id == 'alice'" } });
        chat.room("lobby", &only_alice).await?;
        let publish = json!({ "type": "publish", "room": "lobby", "data": "by bob" });
        eventually("bob's gateway refuses what he writes", LIMIT, async || {
            let code = bob.refused(publish.clone()).await?;
            ensure!(code == "forbidden", "{code}");
            Ok(())
        })
        .await?;
        alice.publish("lobby", "by alice").await?;
        bob.expect_where("what alice wrote", |frame| frame["data"] == "by alice")
            .await?;

        // And write again.
        chat.room("lobby", &json!({})).await?;
        eventually("bob may write again", LIMIT, async || {
            bob.publish("lobby", "again").await
        })
        .await?;

        // Bob is out of the room, not off the gateway; the others see him leave.
        chat.room(
            "lobby",
            &json!({ "access": { "join": "user.id != 'bob'" } }),
        )
        .await?;
        let left = bob.expect("left").await?;
        ensure!(
            left["room"] == "lobby" && left["reason"] == "forbidden",
            "{left}"
        );
        let is_bob =
            |frame: &Value| frame["type"] == "presence" && frame["left"][0]["user"] == "bob";
        alice.expect_where("news that bob left", is_bob).await?;
        let join = json!({ "type": "join", "room": "lobby" });
        ensure!(bob.refused(join).await? == "forbidden");

        // A room that nobody has declared is closed; declared, it is open, on the connection there is.
        let join = json!({ "type": "join", "room": "den" });
        ensure!(bob.refused(join).await? == "forbidden");
        chat.room_in_force("den", &json!({})).await?;
        bob.join("den").await?;

        // And closed again when the Room is deleted.
        namespace.kubectl(&["delete", "room", "den"]).await?;
        let left = bob.expect("left").await?;
        ensure!(
            left["room"] == "den" && left["reason"] == "forbidden",
            "{left}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn edits_reach_every_gateway_within_two_seconds() -> Result<()> {
    const EDITS: usize = 20;
    const BUDGET: Duration = Duration::from_secs(2);
    with_temp_ns_alone("edits", async |namespace| {
        let chat = Chat::start(&namespace, &json!({})).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let pods = chat.gateways(2).await?;
        let mut bob = chat.client_on(&pods[1], "bob").await?;

        let mut latencies = Vec::new();
        for edit in 0..EDITS {
            let open = edit % 2 == 1;
            let access = if open { "true" } else { "false" };
            chat.room("lobby", &json!({ "access": { "publish": access } })).await?;
            let applied = Instant::now();
            let generation = generation(&namespace).await?;
            for pod in &pods {
                runs(pod, generation).await?;
            }
            latencies.push(applied.elapsed());
            // What a gateway reports, it does.
            let publish = json!({ "type": "publish", "room": "lobby", "data": edit });
            if open {
                bob.request(publish, "ack").await?;
            } else {
                ensure!(bob.refused(publish).await? == "forbidden");
            }
        }
        latencies.sort();
        let p95 = latencies[(EDITS * 95).div_ceil(100) - 1];
        tell(format!(
            "from `kubectl apply` to every gateway, {EDITS} edits: median {:.0?}, 95th percentile {p95:.0?}, slowest {:.0?}",
            latencies[EDITS / 2],
            latencies[EDITS - 1],
        ));
        ensure!(p95 < BUDGET, "{latencies:?}");
        Ok(())
    })
    .await
}

async fn generation(namespace: &Namespace) -> Result<i64> {
    let room: Room = namespace.api().get("lobby").await?;
    Ok(room.metadata.generation.unwrap_or_default())
}

/// Waits until a gateway says that it runs the Room's generation.
async fn runs(pod: &RunningPod, generation: i64) -> Result<()> {
    const PERIOD: Duration = Duration::from_millis(20);
    let start = Instant::now();
    loop {
        let stats = pod.stats().await?;
        if stats["rooms"][0]["generation"] == generation {
            return Ok(());
        }
        ensure!(
            start.elapsed() < LIMIT,
            "{} does not run generation {generation}: {stats}",
            pod.name
        );
        sleep(PERIOD).await;
    }
}
