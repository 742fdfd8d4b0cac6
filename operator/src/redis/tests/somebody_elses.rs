//! Somebody else's Redis: a cluster, one server behind TLS, or one that Sentinels watch. What is said of it, and that it can be worked with.

use super::*;

/// The reason and the sentence, which holds no password.
async fn judge(text: &str) -> (&'static str, String) {
    let (Verdict::Yes(problem) | Verdict::No(problem) | Verdict::Unknown(problem)) =
        external::check(&url(text)).await.ready;
    assert!(
        !problem.message.contains("HOME") && !problem.message.contains("wr0ng"),
        "{}",
        problem.message
    );
    (problem.reason, problem.message)
}

async fn reason(text: &str) -> &'static str {
    judge(text).await.0
}

#[tokio::test]
async fn an_external_redis_is_judged_with_a_hint_what_to_check() {
    let servers = start(wanted(1, 0));
    settle(&servers, wanted(1, 0)).await;
    let at = servers[0].at().client;
    let whole = eventually("it serves", async || {
        let reason = reason(&format!("redis+cluster://:{PASSWORD}@{at}")).await;
        (reason != "RedisClusterDown").then_some(reason)
    });
    assert_eq!(whole.await, "Ready");
    let cases = [
        (format!("redis://:{PASSWORD}@{at}"), "RedisModeMismatch"),
        (format!("redis+cluster://:wr0ng@{at}"), "RedisLoginRefused"),
        (format!("redis+cluster://{at}"), "RedisLoginRefused"),
        ("redis://127.0.0.1:1".to_owned(), "RedisUnreachable"),
        (
            "redis+sentinel://127.0.0.1:1/main".to_owned(),
            "RedisUnreachable",
        ),
    ];
    for (url, expected) in cases {
        assert_eq!(reason(&url).await, expected, "{url}");
    }
}

#[tokio::test]
async fn a_user_of_a_cluster_who_may_not_ask_for_its_state_is_no_trouble_and_the_condition_says_so()
{
    let servers = start(wanted(1, 0));
    settle(&servers, wanted(1, 0)).await;
    let mut connection = servers[0].login().connect().await.expect("it logs in");
    let rules = ["+ping", "+info", "+cluster|slots", "-cluster|info"];
    cmd("ACL")
        .arg(&["SETUSER", "app", "on", ">pass", "~chat:*"])
        .arg(&rules)
        .exec_async(&mut connection)
        .await
        .expect("the user is made");
    let at = servers[0].at().client;
    let (reason, message) = judge(&format!("redis+cluster://app:pass@{at}")).await;
    assert_eq!(reason, "Ready");
    assert!(message.contains("may not run CLUSTER INFO"), "{message}");
}

async fn store(login: &link::Login, key: &str) {
    let mut connection = login.connect().await.expect("it logs in");
    cmd("SET")
        .arg(key)
        .arg("x")
        .exec_async(&mut connection)
        .await
        .expect("it is written");
}

#[tokio::test]
async fn an_external_redis_behind_tls_is_judged_and_rooms_are_deleted_there() {
    let (server, authority) = TestServer::encrypted("encrypted");
    let address = format!("rediss://:{PASSWORD}@{}", server.at().client);
    let good = format!("{address}\n{authority}");
    let ready = eventually("it answers", async || {
        (reason(&good).await == "Ready").then_some(())
    });
    ready.await;
    for stranger in [address, good.replace("127.0.0.1", "localhost")] {
        let (reason, message) = judge(&stranger).await;
        assert_eq!(reason, "RedisUnreachable");
        assert!(message.contains("isn't trusted"), "{message}");
    }
    let plain = good.replace("rediss://", "redis://");
    let plain = plain.split('\n').next().expect("a line");
    assert_eq!(reason(plain).await, "RedisUnreachable");
    store(&link::Login::all_of(&url(&good))[0], "chat:{lobby}:log").await;
    let deleted = rooms::delete_at(&url(&good), "chat", &|room| room == "lobby").await;
    assert_eq!(deleted.expect("it works"), 1);
}

#[tokio::test]
async fn an_external_redis_that_sentinels_watch_is_judged_and_rooms_are_deleted_there() {
    let server = TestServer::alone("watched");
    let sentinel = TestServer::sentinel_of(&server);
    // The first one is away.
    let hosts = format!(":{PASSWORD}@127.0.0.1:1,{}", sentinel.at().client);
    let good = format!("redis+sentinel://{hosts}/main");
    let ready = eventually("it answers", async || {
        (reason(&good).await == "Ready").then_some(())
    });
    ready.await;
    let other = format!(
        "redis+sentinel://:{PASSWORD}@{}/other",
        sentinel.at().client
    );
    let (reason, message) = judge(&other).await;
    assert_eq!(reason, "RedisUnreachable");
    assert!(
        message.contains("the name at the end of the URL"),
        "{message}"
    );
    let none = format!("redis+sentinel://:{PASSWORD}@{}/main", server.at().client);
    let (_, message) = judge(&none).await;
    assert!(message.contains("is no Sentinel"), "{message}");
    store(&server.login(), "chat:{lobby}:log").await;
    let deleted = rooms::delete_at(&url(&good), "chat", &|room| room == "lobby").await;
    assert_eq!(deleted.expect("it works"), 1);
}
