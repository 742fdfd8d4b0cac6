//! The drain, in paused time.

use super::*;
use crate::testing::{Client, config, gateway};

#[tokio::test(start_paused = true)]
async fn everyone_is_told_at_a_steady_pace_and_what_is_left_is_closed_with_1012() {
    let (gateway, _broker) = gateway(config(&["lobby"]));
    let mut clients: Vec<_> = (0..100)
        .map(|n| Client::connect(&gateway, &format!("user{n}")))
        .collect();
    let listener = CancellationToken::new();
    let started = Instant::now();
    let window = Duration::from_mins(1);
    let draining = tokio::spawn({
        let (gateway, listener) = (Arc::clone(&gateway), listener.clone());
        async move { drain(&gateway, window, &listener).await }
    });
    let told = async |clients: &mut Vec<Client>| {
        let mut told = 0;
        for client in clients.iter_mut() {
            client.drain();
            told += usize::from(client.has("reconnect"));
        }
        told
    };
    tokio::time::sleep(Duration::from_secs(3)).await;
    let early = told(&mut clients).await;
    assert!(early > 0 && early < 40, "{early}");
    assert!(!listener.is_cancelled());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(listener.is_cancelled());
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(told(&mut clients).await, 100);
    // Half of them go elsewhere; the rest doesn't care.
    for client in &clients[..50] {
        gateway.disconnected(&client.connection, CloseReason::Client);
    }
    draining.await.unwrap();
    assert!(started.elapsed() >= window && started.elapsed() < window + Duration::from_secs(15));
    assert_eq!(clients[99].drain(), Some(CloseReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn an_empty_gateway_waits_only_until_it_stops_accepting() {
    let (gateway, _broker) = gateway(config(&["lobby"]));
    while gateway.ready().is_err() {
        tokio::time::sleep(TICK).await;
    }
    let started = Instant::now();
    drain(&gateway, Duration::from_mins(1), &CancellationToken::new()).await;
    assert!(started.elapsed() >= LONGEST_ACCEPTING);
    assert!(started.elapsed() <= Duration::from_secs(21));
    assert!(gateway.is_draining());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_without_redis_and_clients_ends_at_once() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    broker.faults.lock().not_ready = Some("Redis: refused".to_owned());
    let (started, listener) = (Instant::now(), CancellationToken::new());
    drain(&gateway, Duration::from_mins(1), &listener).await;
    assert!(started.elapsed() <= STOP_PATIENCE);
    assert!(listener.is_cancelled() && gateway.is_draining());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_lost_its_redis_hands_over_the_clients_it_has() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = Client::connect(&gateway, "alice");
    broker.faults.lock().not_ready = Some("Redis: refused".to_owned());
    let started = Instant::now();
    drain(&gateway, Duration::from_mins(1), &CancellationToken::new()).await;
    assert!(started.elapsed() >= Duration::from_mins(1));
    assert_eq!(alice.drain(), Some(CloseReason::Drained));
    assert!(alice.has("reconnect"));
}
