//! The writer of an event stream: whole events, ids that never run ahead, bounded work for slow readers.

use std::sync::Arc;

use futures::task::noop_waker_ref;
use prometheus_client::metrics::gauge::Gauge;
use rotunda_crds::RoomName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::broker::Message;
use crate::connection::Backlog;
use crate::dialect::event;
use crate::ids::Position;

fn backlog() -> Arc<Backlog> {
    Backlog::new(Gauge::default())
}

fn lobby() -> RoomName {
    RoomName::parse("lobby").unwrap()
}

fn message(offset: u64, data: &str) -> Frame {
    let message = Message {
        position: Position::new(7, offset),
        time_ms: 5,
        body: format!(r#""from":null,"data":{data}"#).into(),
    };
    event::message(&lobby(), &message)
}

fn stream(pipe: usize) -> (EventStream<DuplexStream>, DuplexStream) {
    let (near, far) = tokio::io::duplex(pipe);
    let place = Place::new([(&lobby(), None)]);
    (EventStream::new(near, place), far)
}

fn drive(
    stream: &mut EventStream<DuplexStream>,
    outbox: &Outbox,
    metrics: &Metrics,
) -> Poll<CloseReason> {
    stream.poll_drive(&mut Context::from_waker(noop_waker_ref()), outbox, metrics)
}

/// All that is written, read in small steps.
async fn read_all(
    stream: &mut EventStream<DuplexStream>,
    far: &mut DuplexStream,
    outbox: &Outbox,
    metrics: &Metrics,
) -> String {
    let mut text = Vec::new();
    loop {
        assert!(drive(stream, outbox, metrics).is_pending());
        let mut part = [0; 1000];
        let read = tokio::time::timeout(Duration::from_millis(10), far.read(&mut part)).await;
        match read {
            Ok(count) => text.extend_from_slice(&part[..count.unwrap()]),
            Err(_) => return String::from_utf8(text).unwrap(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn small_and_large_events_come_whole_and_in_order() {
    let (mut stream, mut far) = stream(700);
    let (outbox, metrics) = (Outbox::new(1 << 20, backlog()), Metrics::new());
    let large = format!("\"{}\"", "x".repeat(10_000));
    let ragged = format!("[\n\"{}\"]", "y".repeat(10_000));
    let sent = ["1", &large, "2", &ragged, &large, "3"];
    for (index, data) in sent.iter().enumerate() {
        outbox.push(message(index as u64 + 1, data)).unwrap();
    }
    let text = read_all(&mut stream, &mut far, &outbox, &metrics).await;
    let events: Vec<_> = text.split_terminator("\n\n").collect();
    assert_eq!(events.len(), sent.len());
    for (index, (event, data)) in events.iter().zip(sent).enumerate() {
        let lines: Vec<_> = event.lines().collect();
        assert_eq!(
            lines[..2],
            ["event: message", &format!("id: 7-{}", index + 1)]
        );
        let json: Vec<_> = lines[2..]
            .iter()
            .map(|line| line.strip_prefix("data: ").unwrap())
            .collect();
        let json: serde_json::Value = serde_json::from_str(&json.join("\n")).unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(json["data"], data);
    }
    assert_eq!(outbox.bytes(), 0);
    assert_eq!(
        metrics.of(Transport::Sse).messages_delivered.get(),
        sent.len() as u64
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_makes_no_more_ready_than_one_write() {
    let (mut stream, _far) = stream(100);
    let (outbox, metrics) = (Outbox::new(1 << 20, backlog()), Metrics::new());
    for offset in 1..=2000 {
        outbox.push(message(offset, "1")).unwrap();
    }
    let before = outbox.bytes();
    assert!(drive(&mut stream, &outbox, &metrics).is_pending());
    let staged: usize = stream
        .staged
        .iter()
        .map(|piece| piece.bytes.bytes().len())
        .sum();
    assert!(staged < 3 * STAGED_BYTES, "{staged}");
    assert_eq!(outbox.bytes(), before);
    // A heartbeat would only add to what waits.
    stream.heartbeat();
    assert!(stream.staged.len() < MAX_SLICES);
}

#[tokio::test(start_paused = true)]
async fn what_is_thrown_away_has_moved_no_id() {
    let (mut stream, mut far) = stream(1 << 20);
    let (outbox, metrics) = (Outbox::new(1000, backlog()), Metrics::new());
    outbox.push(message(1, "1")).unwrap();
    assert!(drive(&mut stream, &outbox, &metrics).is_pending());
    while outbox.push(message(2, "2")).is_ok() {}
    assert_eq!(
        drive(&mut stream, &outbox, &metrics),
        Poll::Ready(CloseReason::SlowConsumer)
    );
    let reading = async {
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        far.shutdown().await.unwrap();
        text
    };
    let closing = stream.close(
        CloseReason::SlowConsumer,
        Some(Duration::from_secs(1)),
        &outbox,
        &metrics,
    );
    let (text, closed) = tokio::join!(reading, closing);
    closed.unwrap();
    assert!(text.starts_with("event: message\nid: 7-1\n"), "{text}");
    assert!(
        text.ends_with("\n\n") && text.contains("event: close\ndata: {\"code\":4430"),
        "{text}"
    );
    assert!(!text.contains("id: 7-2"), "{text}");
    assert_eq!(outbox.bytes(), 0);
}

#[tokio::test]
async fn a_client_that_ends_its_side_is_gone_whatever_it_sent_before() {
    let (mut stream, mut far) = stream(100_000);
    let (outbox, metrics) = (Outbox::new(1000, backlog()), Metrics::new());
    far.write_all(&[b'x'; 10_000]).await.unwrap();
    assert!(drive(&mut stream, &outbox, &metrics).is_pending());
    drop(far);
    let ended = std::future::poll_fn(|context| stream.poll_drive(context, &outbox, &metrics)).await;
    assert_eq!(ended, CloseReason::Lost);
}
