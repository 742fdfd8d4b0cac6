//! What needs no pods: an external Redis, and deleting what is stored of rooms.

use super::*;

#[tokio::test]
async fn stored_messages_of_matching_rooms_are_deleted_everywhere() {
    let servers = start(wanted(2, 0));
    settle(&servers, wanted(2, 0)).await;
    for room in ["team:red", "team:blue", "lobby"] {
        for kind in ["log", "keys", "top"] {
            write(&servers, &format!("ns.chat:{{{room}}}:{kind}"), "x").await;
            write(&servers, &format!("other:{{{room}}}:{kind}"), "x").await;
        }
    }
    let url = RedisUrl {
        cluster: true,
        hosts: vec![servers[0].login()],
    };
    let deleted = rooms::delete_at(&url, "ns.chat", &|room| room.starts_with("team:"))
        .await
        .expect("it works");
    assert_eq!(deleted, 4);
    assert_eq!(read(&servers, "ns.chat:{team:red}:log").await, None);
    for kept in [
        "ns.chat:{team:red}:top",
        "ns.chat:{lobby}:log",
        "other:{team:red}:log",
    ] {
        assert_eq!(read(&servers, kept).await.as_deref(), Some("x"), "{kept}");
    }
}

#[tokio::test]
async fn an_external_redis_is_judged_with_a_hint_what_to_check() {
    let servers = start(wanted(1, 0));
    settle(&servers, wanted(1, 0)).await;
    let at = servers[0].at().client;
    let good = "pass%20word%20%22$HOME%22%20%5C%20'x'";
    let reason = async |url: String| match external::check(&Hidden(url)).await.ready {
        Verdict::Yes(problem) | Verdict::No(problem) | Verdict::Unknown(problem) => {
            assert!(
                !problem.message.contains("HOME") && !problem.message.contains("wr0ng"),
                "{}",
                problem.message
            );
            problem.reason
        }
    };
    let whole = eventually("it serves", async || {
        let reason = reason(format!("redis+cluster://:{good}@{at}")).await;
        (reason != "RedisClusterDown").then_some(reason)
    });
    assert_eq!(whole.await, "Ready");
    assert_eq!(
        reason(format!("redis://:{good}@{at}")).await,
        "RedisModeMismatch"
    );
    assert_eq!(
        reason(format!("redis+cluster://:wr0ng@{at}")).await,
        "RedisLoginRefused"
    );
    assert_eq!(
        reason(format!("redis+cluster://{at}")).await,
        "RedisLoginRefused"
    );
    assert_eq!(
        reason("redis://127.0.0.1:1".to_owned()).await,
        "RedisUnreachable"
    );
    assert_eq!(reason("http://example".to_owned()).await, "InvalidRedisUrl");
}
