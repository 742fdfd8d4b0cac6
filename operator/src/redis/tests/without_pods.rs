//! What needs no pods: deleting what is stored of rooms.

use super::*;

/// A key for everything that a gateway stores of a room.
async fn fill(servers: &[TestServer], prefix: &str, room: &str) {
    for kind in ["log", "top", "keys", "here"] {
        write(servers, &format!("{prefix}:{{{room}}}:{kind}"), "x").await;
    }
}

async fn left(servers: &[TestServer], prefix: &str, room: &str) -> Vec<&'static str> {
    let mut left = Vec::new();
    for kind in ["log", "top", "keys", "here"] {
        if read(servers, &format!("{prefix}:{{{room}}}:{kind}"))
            .await
            .is_some()
        {
            left.push(kind);
        }
    }
    left
}

const ALL: [&str; 4] = ["log", "top", "keys", "here"];
/// Members are the gateways' own affair.
const MEMBERS: [&str; 1] = ["here"];

#[tokio::test]
async fn what_is_stored_of_matching_rooms_is_deleted_on_every_primary_of_a_cluster() {
    let servers = start(wanted(2, 0));
    settle(&servers, wanted(2, 0)).await;
    // More than one look takes in, on both primaries.
    let teams: Vec<String> = (0..700).map(|number| format!("team:{number}")).collect();
    for team in &teams {
        write(&servers, &format!("ns.chat:{{{team}}}:log"), "x").await;
    }
    for room in ["team:0", "lobby", "user:team%3A0"] {
        fill(&servers, "ns.chat", room).await;
        fill(&servers, "other", room).await;
    }
    for apart in [
        "ns.chat:{ctl}",
        "ns.chat:gw",
        "ns.chat:user:{team:0}",
        "ns.chat:{team:0}",
    ] {
        write(&servers, apart, "x").await;
    }
    let url = url(&format!(
        "redis+cluster://:{PASSWORD}@{}",
        servers[0].at().client
    ));
    let is_team = |room: &str| room.starts_with("team:");
    let deleted = rooms::delete_at(&url, "ns.chat", &is_team)
        .await
        .expect("it works");
    assert_eq!(deleted, 700 + 2);
    for team in &teams[1..] {
        assert_eq!(
            read(&servers, &format!("ns.chat:{{{team}}}:log")).await,
            None
        );
    }
    assert_eq!(left(&servers, "ns.chat", "team:0").await, MEMBERS);
    for (prefix, room) in [
        ("ns.chat", "lobby"),
        ("ns.chat", "user:team%3A0"),
        ("other", "team:0"),
    ] {
        assert_eq!(left(&servers, prefix, room).await, ALL, "{prefix} {room}");
    }
    for apart in [
        "ns.chat:{ctl}",
        "ns.chat:gw",
        "ns.chat:user:{team:0}",
        "ns.chat:{team:0}",
    ] {
        assert_eq!(read(&servers, apart).await.as_deref(), Some("x"), "{apart}");
    }
    let again = rooms::delete_at(&url, "ns.chat", &is_team).await;
    assert_eq!(again.expect("it works"), 0, "nothing is left to delete");
}

#[tokio::test]
async fn what_is_stored_of_a_room_is_deleted_from_a_single_redis() {
    let server = TestServer::alone("chat-redis");
    let servers = [server];
    for room in ["lobby", "hall"] {
        fill(&servers, "ns.[chat]", room).await;
        // What a prefix that is taken for a pattern would match.
        fill(&servers, "ns.c", room).await;
    }
    let url = url(&format!("redis://:{PASSWORD}@{}", servers[0].at().client));
    let deleted = rooms::delete_at(&url, "ns.[chat]", &|room| room == "lobby").await;
    assert_eq!(deleted.expect("it works"), 3);
    assert_eq!(left(&servers, "ns.[chat]", "lobby").await, MEMBERS);
    assert_eq!(left(&servers, "ns.[chat]", "hall").await, ALL);
    assert_eq!(left(&servers, "ns.c", "lobby").await, ALL);
}
