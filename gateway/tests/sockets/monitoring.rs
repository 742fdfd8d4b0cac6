//! The gateways' dashboard, alerts and manual, held against what a gateway serves; the dashboard by a real Prometheus.

use std::fs;
use std::path::Path;

use crate::gateway::{TestGateway, config};
use crate::prometheus::{Prometheus, named, queries, section, served};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_gives_something() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut client = gateway.connect("alice", "room=lobby").await;
    gateway.publish("alice", "lobby", "1").await;
    while client.next().await["type"] != "message" {}
    let target = gateway.ops_address();
    let asking = tokio::task::spawn_blocking(move || {
        let prometheus = Prometheus::scraping(target, "demo", "chat-pods");
        let dashboard = read("charts/rotunda/files/dashboards/gateways.json");
        prometheus.expect_answers(&queries(&dashboard, "demo", "chat-pods"));
        // And it counts what happened.
        prometheus.expect_answers(&[
            r#"rotunda_connections{transport="websocket"} == 1"#.to_owned(),
            "rotunda_messages_published_total == 1".to_owned(),
            "rotunda_delivery_latency_seconds_count >= 1".to_owned(),
        ]);
    });
    asking.await.unwrap();
}

#[tokio::test]
async fn what_manual_alerts_and_dashboard_name_is_what_a_gateway_serves() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let served = served(&gateway.ops("/metrics").await.text);
    let manual = read("docs/operations.md");
    assert_eq!(named(section(&manual, "### Metrics of a gateway")), served);
    for file in [
        "operator/src/cluster/build/monitoring/alerts.yaml",
        "charts/rotunda/files/dashboards/gateways.json",
    ] {
        let unknown: Vec<_> = named(&read(file)).difference(&served).cloned().collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
}
