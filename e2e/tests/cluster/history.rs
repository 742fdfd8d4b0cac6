//! A Room that is deleted takes its history along where it says so: the keys are gone from every shard of Redis, those of other rooms
//! are not.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use rotunda_e2e::{
    chat::{Chat, REDIS},
    namespace::{Namespace, with_temp_ns},
};
use serde_json::json;

#[tokio::test]
async fn a_deleted_room_takes_its_history_along_if_it_says_so_and_no_other_rooms() -> Result<()> {
    const SHARDS: usize = 3;
    with_temp_ns("history", async |namespace| {
        let sharded =
            json!({ "redis": { "managed": { "shards": SHARDS, "replicasPerShard": 0 } } });
        let chat = Chat::start(&namespace, &sharded).await?;
        let goes = "Delete";
        chat.room_in_force("lobby", &json!({ "deletionPolicy": goes }))
            .await?;
        chat.room_in_force("kept", &json!({})).await?;
        chat.room_in_force(
            "teams",
            &json!({ "name": null, "pattern": "team:*", "deletionPolicy": goes }),
        )
        .await?;
        // A team's room that has a Room of its own isn't one of the pattern's.
        chat.room_in_force("red", &json!({ "name": "team:red" }))
            .await?;

        let mut alice = chat.client("alice").await?;
        alice.join("lobby").await?;
        let teams: Vec<String> = (0..12).map(|number| format!("team:{number}")).collect();
        let mut gone: BTreeSet<&str> = teams.iter().map(String::as_str).collect();
        let stays = BTreeSet::from(["kept", "team:red"]);
        for room in gone.iter().chain(&stays).copied().chain(["lobby"]) {
            let publish = json!({ "type": "publish", "room": room, "data": room, "key": "k" });
            alice.request(publish, "ack").await?;
        }
        gone.insert("lobby");
        for room in gone.union(&stays) {
            is_kept(&namespace, room).await?;
        }

        // By name: whoever is in the room is put out of it, and nothing of it is left.
        delete(&namespace, "lobby").await?;
        let left = alice.expect("left").await?;
        ensure!(left["reason"] == "forbidden", "{left}");
        nothing_is_left_of(&namespace, &BTreeSet::from(["lobby"])).await?;
        for room in teams
            .iter()
            .map(String::as_str)
            .chain(stays.iter().copied())
        {
            is_kept(&namespace, room).await?;
        }

        // By pattern: all that it was about, on every shard.
        delete(&namespace, "teams").await?;
        nothing_is_left_of(&namespace, &gone).await?;
        // And a Room that says nothing keeps its history.
        delete(&namespace, "kept").await?;
        delete(&namespace, "red").await?;
        for room in stays {
            is_kept(&namespace, room).await?;
        }

        // Declared again, the room begins anew.
        chat.room_in_force("lobby", &json!({})).await?;
        let history = json!({ "type": "history", "room": "lobby" });
        // All that took longer than a client may stay silent that reads nothing meanwhile.
        let mut alice = chat.client("alice").await?;
        let history = alice.request(history, "history").await?;
        ensure!(history["messages"] == json!([]), "{history}");
        alice.publish("lobby", "anew").await.map(drop)
    })
    .await
}

/// Deletes a Room, and waits until it is gone: until its finalizer has let go.
async fn delete(namespace: &Namespace, room: &str) -> Result<()> {
    namespace
        .kubectl(&["delete", "room", room, "--timeout=60s"])
        .await
        .map(drop)
}

/// Who is there is the gateways' own affair: the hash of members, once empty, expires by itself.
async fn nothing_is_left_of(namespace: &Namespace, rooms: &BTreeSet<&str>) -> Result<()> {
    let only_members = BTreeSet::from(["here".to_owned()]);
    for room in rooms {
        let left = kinds_of(namespace, room).await?;
        ensure!(left.is_subset(&only_members), "{room}: {left:?}");
    }
    Ok(())
}

async fn is_kept(namespace: &Namespace, room: &str) -> Result<()> {
    let stored = BTreeSet::from(["log", "top", "keys"].map(str::to_owned));
    let kinds = kinds_of(namespace, room).await?;
    ensure!(kinds.is_superset(&stored), "{room}: {kinds:?}");
    Ok(())
}

/// What kinds of keys there are of a room, on any shard.
async fn kinds_of(namespace: &Namespace, room: &str) -> Result<BTreeSet<String>> {
    let scan = format!(
        "REDISCLI_AUTH=$(cat /etc/redis-secret/password) redis-cli --scan --pattern '*:{{{room}}}:*'"
    );
    let mut kinds = BTreeSet::new();
    for pod in namespace.pods(REDIS).await? {
        let keys = namespace
            .kubectl(&["exec", &pod.name, "--", "sh", "-c", &scan])
            .await?;
        let kind = |key: &str| key.rsplit(':').next().map(str::to_owned);
        kinds.extend(keys.lines().filter_map(kind));
    }
    Ok(kinds)
}
