use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

use futures::task::noop_waker_ref;
use prometheus_client::metrics::gauge::Gauge;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::broker::Message;
use crate::connection::shared_stream::SharedStream;
use crate::dialect::event;
use crate::ids::Position;

fn backlog() -> Arc<Backlog> {
    Backlog::new(Gauge::default())
}

fn frame() -> Frame {
    event::heartbeat()
}

fn take(outbox: &Outbox) -> (Vec<Queued>, Option<CloseReason>) {
    let mut frames = VecDeque::new();
    let reason = match outbox.poll_take(&mut Context::from_waker(noop_waker_ref()), &mut frames) {
        Poll::Ready(reason) => Some(reason),
        Poll::Pending => None,
    };
    (frames.into(), reason)
}

#[test]
fn a_push_past_the_cap_stores_nothing_and_ends_the_connection() {
    let total = backlog();
    let outbox = Outbox::new(frame().len() * 2, Arc::clone(&total));
    outbox.push(frame()).unwrap();
    outbox.push(frame()).unwrap();
    assert_eq!(outbox.push(frame()), Err(Closed));
    assert_eq!(outbox.closing(), Some(CloseReason::SlowConsumer));
    let (frames, reason) = take(&outbox);
    assert!(frames.is_empty());
    assert_eq!(reason, Some(CloseReason::SlowConsumer));
    assert_eq!((outbox.bytes(), total.held()), (0, 0));
}

#[test]
fn what_is_taken_counts_until_it_is_written() {
    let total = backlog();
    let outbox = Outbox::new(frame().len(), Arc::clone(&total));
    outbox.push(frame()).unwrap();
    assert_eq!(take(&outbox).0.len(), 1);
    assert!(total.held() > 0);
    outbox.written(1, frame().len());
    outbox.push(frame()).unwrap();
    drop(outbox);
    assert_eq!(total.held(), 0);
}

#[test]
fn the_first_reason_stands_and_a_drain_keeps_the_queue() {
    let outbox = Outbox::new(1000, backlog());
    outbox.push(frame()).unwrap();
    outbox.close(CloseReason::Drained);
    outbox.close(CloseReason::Internal);
    let (frames, reason) = take(&outbox);
    assert_eq!((frames.len(), reason), (1, Some(CloseReason::Drained)));
    assert_eq!(outbox.push(frame()), Err(Closed));
}

#[tokio::test(start_paused = true)]
async fn a_replay_fills_half_of_the_queue_and_goes_on_below_a_quarter() {
    let size = frame().len();
    let outbox = Arc::new(Outbox::new(size * 8, backlog()));
    outbox.reserve(size).await.unwrap();
    for _ in 0..4 {
        assert!(outbox.takes(size));
        outbox.push(frame()).unwrap();
    }
    assert!(!outbox.takes(size));
    assert!(!outbox.has_space(size));
    let waiting = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        async move { outbox.reserve(size).await }
    });
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!waiting.is_finished());
    take(&outbox);
    outbox.written(1, size);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(outbox.takes(size) && !waiting.is_finished());
    outbox.written(1, size);
    assert_eq!(waiting.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_frame_past_half_of_the_queue_goes_alone() {
    let outbox = Outbox::new(frame().len() * 3, backlog());
    let large = frame().len() * 2;
    outbox.reserve(large).await.unwrap();
    assert!(outbox.takes(large));
    outbox.push(frame()).unwrap();
    assert!(!outbox.takes(large));
    let (reserved, ()) = tokio::join!(outbox.reserve(large), async {
        take(&outbox);
        outbox.written(1, frame().len());
    });
    assert_eq!(reserved, Ok(()));
}

#[tokio::test]
async fn closing_ends_the_wait_for_space() {
    let outbox = Outbox::new(frame().len(), backlog());
    outbox.push(frame()).unwrap();
    let (reserved, ()) = tokio::join!(outbox.reserve(1), async {
        outbox.close(CloseReason::GoingAway);
    });
    assert_eq!(reserved, Err(Closed));
}

/// Two ends of a real socket: ours, as a task and others share it, and the client's.
async fn connect() -> (SharedStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, client) = tokio::join!(listener.accept(), client);
    (SharedStream::new(accepted.unwrap().0), client.unwrap())
}

/// As a connection's task does: writes whenever it is woken up, until it is to end; then what is left.
async fn write_all(outbox: &Outbox, stream: &mut SharedStream, metrics: &Metrics) -> CloseReason {
    let reason = poll_fn(
        |context| match outbox.poll_write(context, stream, metrics) {
            Progress::Done | Progress::Blocked => Poll::Pending,
            Progress::Closing(reason) => Poll::Ready(reason),
            Progress::Failed(error) => panic!("{error}"),
        },
    )
    .await;
    outbox.push_last(Frame::control(LAST.into()));
    poll_fn(|context| outbox.poll_finish(context, stream, metrics))
        .await
        .unwrap();
    reason
}

const LAST: &[u8] = &[0x88, 0];
const PING: &[u8] = &[0x89, 0];

#[tokio::test]
async fn a_flush_writes_without_waking_the_task_and_is_counted() {
    let (total, metrics) = (backlog(), Metrics::new());
    let outbox = Outbox::new(10_000, Arc::clone(&total));
    let (stream, mut client) = connect().await;
    outbox.write_through(stream.shared());
    let waker = Arc::new(Woken::default());
    let task = Waker::from(Arc::clone(&waker));
    let mut context = Context::from_waker(&task);
    assert!(matches!(
        outbox.poll_write(&mut context, &mut { stream }, &metrics),
        Progress::Done
    ));
    assert_eq!(outbox.push_to_flush(frame(), None), Ok(Written::ByFlush));
    // Whoever comes next relies on the flush that is due.
    assert_eq!(outbox.push_to_flush(frame(), None), Ok(Written::BySomeone));
    outbox.push(frame()).unwrap();
    let mut tally = Tally::default();
    outbox.flush(&mut tally);
    tally.settle(&total, &metrics);
    assert_eq!((outbox.bytes(), total.held()), (0, 0));
    assert!(!waker.0.load(Ordering::Relaxed));
    let mut got = vec![0; 3 * frame().len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, frame().websocket().repeat(3));
    let text = metrics.render();
    assert!(text.contains("messages_delivered_total{transport=\"websocket\"} 3"));
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn nobody_but_the_task_writes_once_the_connection_is_to_end() {
    let outbox = Outbox::new(10_000, backlog());
    let (mut stream, mut client) = connect().await;
    outbox.write_through(stream.shared());
    outbox.push_to_flush(frame(), None).unwrap();
    outbox.close(CloseReason::Drained);
    outbox.flush(&mut Tally::default());
    assert_eq!(outbox.bytes(), frame().len());
    write_all(&outbox, &mut stream, &Metrics::new()).await;
    let mut got = vec![0; frame().len() + LAST.len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, [frame().websocket(), LAST].concat());
}

/// The task, two that flush, pings in between, and a client that stops reading now and then: the bytes stay whole frames in order, and none waits
/// for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_writes_the_frames_stay_whole_and_in_order() {
    const FRAMES: u64 = 3000;
    let total = backlog();
    let outbox = Arc::new(Outbox::new(64 << 20, Arc::clone(&total)));
    let (mut stream, mut client) = connect().await;
    outbox.write_through(stream.shared());
    let task = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        async move { write_all(&outbox, &mut stream, &Metrics::new()).await }
    });
    let pushing = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        let total = Arc::clone(&total);
        async move {
            for offset in 1..=FRAMES {
                let frame = numbered(offset);
                if offset % 7 == 0 {
                    outbox.push(frame).unwrap();
                } else if outbox.push_to_flush(frame, None) == Ok(Written::ByFlush) {
                    let (outbox, total) = (Arc::clone(&outbox), Arc::clone(&total));
                    tokio::spawn(async move {
                        let mut tally = Tally::default();
                        outbox.flush(&mut tally);
                        tally.settle(&total, &Metrics::new());
                    });
                }
                if offset % 50 == 0 {
                    assert!(outbox.push_control(Frame::control(PING.into())));
                    outbox.wake();
                }
                if offset % 10 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let mut got = Vec::new();
    let mut part = vec![0; 30_000];
    let mut next = 1;
    let mut pings = 0;
    while next <= FRAMES || pings < FRAMES / 50 {
        let count = timeout(Duration::from_secs(20), client.read(&mut part))
            .await
            .expect("nobody writes what waits")
            .unwrap();
        got.extend_from_slice(&part[..count]);
        let mut rest = &*got;
        loop {
            if let Some(after) = rest.strip_prefix(PING) {
                (rest, pings) = (after, pings + 1);
            } else if next <= FRAMES
                && let Some(after) = rest.strip_prefix(numbered(next).websocket())
            {
                (rest, next) = (after, next + 1);
            } else {
                break;
            }
        }
        assert!(rest.len() < numbered(FRAMES).len(), "a broken frame");
        got = rest.to_vec();
    }
    pushing.await.unwrap();
    outbox.close(CloseReason::Drained);
    assert_eq!(task.await.unwrap(), CloseReason::Drained);
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, LAST);
    assert_eq!((outbox.bytes(), total.held()), (0, 0));
}

/// A large frame, so that the socket is often full.
fn numbered(offset: u64) -> Frame {
    let body = format!(r#""from":"a","data":"{}""#, "x".repeat(2000));
    let message = Message {
        position: Position::new(1, offset),
        time_ms: 0,
        body: body.into_bytes().into(),
    };
    event::message(&"hall".parse().unwrap(), &message)
}
