//! Connections through a load balancer that says whose they are.

use std::time::Duration;

use rotunda_gateway::server::Timeouts;

use crate::gateway::{TestGateway, config};
use crate::raw::{RawClient, handshake};

const LINE: &str = "PROXY TCP4 203.0.113.1 10.0.0.1 5555 8080\r\n";

/// A gateway behind a load balancer, where each client may come once a second.
fn gateway() -> TestGateway {
    let mut config = config(&["lobby"]);
    config.proxy_protocol = true;
    config.limits.handshakes_per_second_per_address = 1;
    TestGateway::start(config)
}

fn binary(version: u8, host: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    // The command, TCP over IPv4, and as many bytes: addresses, ports, and a note of three bytes and its head.
    header.extend([version, 0x11, 0, 18]);
    header.extend([203, 0, 113, host, 10, 0, 0, 1, 0x15, 0xb3, 0x1f, 0x90]);
    header.extend([0xea, 0, 3, 1, 2, 3]);
    header
}

/// The status line of a handshake behind these bytes; empty when it was closed without an answer.
async fn arrive(gateway: &TestGateway, header: impl AsRef<[u8]>) -> String {
    let mut client = RawClient::connect(gateway).await;
    let request = handshake(gateway, "alice", "");
    client
        .send([header.as_ref(), request.as_bytes()].concat())
        .await;
    while client.more().await {
        if client.has_head() {
            let head = client.head().await;
            return head.lines().next().unwrap_or_default().to_owned();
        }
    }
    String::new()
}

#[tokio::test]
async fn both_versions_tell_clients_apart() {
    let gateway = gateway();
    let switching = "HTTP/1.1 101 Switching Protocols";
    assert_eq!(arrive(&gateway, LINE).await, switching);
    let again = arrive(&gateway, LINE).await;
    assert!(again.starts_with("HTTP/1.1 429 "), "{again}");
    // The same client, as the other version writes it.
    let again = arrive(&gateway, binary(0x21, 1)).await;
    assert!(again.starts_with("HTTP/1.1 429 "), "{again}");
    assert_eq!(arrive(&gateway, binary(0x21, 2)).await, switching);
    // A health check of the load balancer is its own connection, whatever addresses it carries.
    assert_eq!(arrive(&gateway, binary(0x20, 2)).await, switching);
}

#[tokio::test]
async fn a_header_in_pieces_is_one_header_and_what_follows_is_untouched() {
    let gateway = gateway();
    for header in [LINE.as_bytes().to_vec(), binary(0x21, 2)] {
        let mut client = RawClient::connect(&gateway).await;
        for byte in &header {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        client.upgrade(&gateway, "alice", "").await;
    }
}

#[tokio::test]
async fn a_connection_without_the_header_is_closed_without_an_answer() {
    let gateway = gateway();
    for bytes in [
        "",
        "PROXY TCP4 nonsense\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x21\x31\0\0",
    ] {
        assert_eq!(arrive(&gateway, bytes).await, "", "{bytes:?}");
    }
    assert_eq!(gateway.gateway.registry.count(), 0);
    let metrics = gateway.gateway.metrics.render();
    assert!(
        metrics.contains("handshakes_refused_total{reason=\"proxy_header\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_header_that_does_not_come_in_time_is_not_waited_for() {
    let mut config = config(&["lobby"]);
    config.proxy_protocol = true;
    let opening = Duration::from_millis(200);
    let timeouts = Timeouts {
        opening,
        ..Timeouts::default()
    };
    let gateway = TestGateway::start_within(config, timeouts);
    for bytes in ["", "PROXY TCP4 203.0.113.1 "] {
        let started = std::time::Instant::now();
        let mut client = RawClient::connect(&gateway).await;
        client.send(bytes).await;
        assert_eq!(client.ended().await, b"");
        assert!(started.elapsed() >= opening);
    }
}

#[tokio::test]
async fn a_header_that_was_not_asked_for_is_refused() {
    let gateway = TestGateway::start(config(&["lobby"]));
    for header in [LINE.as_bytes().to_vec(), binary(0x21, 1)] {
        let answer = arrive(&gateway, header).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test]
async fn whether_the_header_is_wanted_may_change_while_the_port_is_open() {
    let gateway = gateway();
    gateway.reload(config(&["lobby"])).await;
    assert!(arrive(&gateway, "").await.starts_with("HTTP/1.1 101 "));
}
