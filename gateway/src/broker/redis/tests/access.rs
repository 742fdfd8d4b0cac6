//! The access control list: what a user has to be allowed, as docs/operations.md says, and what is said when it isn't.

use std::sync::OnceLock;

use super::server::{Server, free_port, one_primary};
use super::{gateway, some_prefix, start};
use crate::broker::Broker;
use crate::broker::contract::{
    Gateway, broker_contract, eventually, eventually_async, publication, some_room,
};

/// The rules as they are documented, for keys that begin with `test.`.
fn rules() -> String {
    let manual = include_str!("../../../../../docs/operations.md");
    let rules = manual
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("ACL SETUSER rotunda on >PASSWORD ")
        })
        .expect("the manual has the rules");
    rules.replace("chat.chat:", "test.")
}

/// A server with a user `app` of those rules and more.
fn server_with(more: &str) -> Server {
    let server = Server::start_at(free_port(), &[]);
    allow(&server, more);
    server
}

pub(super) fn allow(server: &Server, more: &str) {
    let rules = format!("ACL SETUSER app reset on >secret {} {more}", rules());
    server.run(&rules.split_ascii_whitespace().collect::<Vec<_>>());
}

fn url(server: &Server) -> String {
    format!("redis://app:secret@127.0.0.1:{}", server.port)
}

fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| server_with(""))
}

mod contract_with_few_rights_behind_a_sentinel {
    use super::*;

    fn url() -> String {
        static SENTINEL: OnceLock<Server> = OnceLock::new();
        let sentinel = SENTINEL.get_or_init(|| Server::start_sentinel(shared().port, 1, false));
        format!(
            "redis+sentinel://app:secret@127.0.0.1:{}/main",
            sentinel.port
        )
    }

    broker_contract!(tokio::test, gateway(&url(), &some_prefix()));
}

mod contract_with_few_rights {
    use super::*;
    broker_contract!(tokio::test, gateway(&url(shared()), &some_prefix()));
}

#[tokio::test]
async fn the_same_rights_do_in_a_cluster() {
    let cluster = one_primary();
    allow(&cluster.servers[0], "");
    let url = format!(
        "redis+cluster://app:secret@127.0.0.1:{}",
        cluster.servers[0].port
    );
    let Gateway { broker, events } = gateway(&url, &some_prefix()).await;
    let room = some_room();
    broker.subscribe(&room).await.expect("subscribes");
    broker
        .publish(&room, publication("x"))
        .await
        .expect("publishes");
    eventually("it is delivered", || events.messages(&room).len() == 1).await;
}

#[tokio::test]
async fn a_command_that_is_forbidden_is_named() {
    let server = server_with("-evalsha");
    let Gateway { broker, .. } = gateway(&url(&server), &some_prefix()).await;
    let refused = broker.publish(&some_room(), publication("x")).await;
    let why = refused.expect_err("it mustn't").to_string();
    assert!(
        why.contains("'evalsha'") && why.contains("docs/operations.md"),
        "{why}"
    );
}

#[tokio::test]
async fn a_command_that_a_script_needs_is_named() {
    let server = server_with("-xadd");
    let Gateway { broker, .. } = gateway(&url(&server), &some_prefix()).await;
    let refused = broker.publish(&some_room(), publication("x")).await;
    let why = refused.expect_err("it mustn't").to_string();
    assert!(
        why.contains("XADD") && why.contains("docs/operations.md"),
        "{why}"
    );
}

#[tokio::test]
async fn a_forbidden_subscription_is_told() {
    let server = server_with("resetchannels");
    let Gateway { broker, .. } = gateway(&url(&server), &some_prefix()).await;
    eventually_async("it says so", async || {
        let refused = broker.subscribe(&some_room()).await;
        let why = refused.expect_err("it mustn't").to_string();
        why.contains("channel") && why.contains("docs/operations.md")
    })
    .await;
}

#[tokio::test]
async fn a_user_that_may_not_even_look_is_told() {
    let server = server_with("-info");
    let (broker, _, _) = start(&url(&server), &some_prefix());
    eventually("it says so", || {
        broker
            .ready()
            .is_err_and(|why| why.contains("'info'") && why.contains("docs/operations.md"))
    })
    .await;
}
