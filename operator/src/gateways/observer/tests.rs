use futures::{FutureExt, future::BoxFuture};
use tokio::sync::mpsc;

use super::*;
use crate::gateways::{Gateways, RoomStats, Stats, StatsError};

/// Pods that load what they are pushed after `needs` pushes, and answer unless told to be silent.
#[derive(Default)]
struct FakePods {
    state: Mutex<FakeState>,
}

#[derive(Default)]
struct FakeState {
    loaded: Option<String>,
    pushed: Vec<String>,
    needs: usize,
    silent: bool,
    messages: u64,
}

impl Pods for FakePods {
    fn stats<'a>(&'a self, _: &'a PodTarget) -> BoxFuture<'a, Result<Stats, StatsError>> {
        async {
            let state = self.state.lock();
            if state.silent {
                return Err(StatsError::Timeout);
            }
            let room = RoomStats {
                namespace: "demo".into(),
                name: "lobby".into(),
                generation: 1,
                messages_published: state.messages,
                ..RoomStats::default()
            };
            Ok(Stats {
                revision: state.loaded.clone(),
                rooms: vec![room],
                ..Stats::default()
            })
        }
        .boxed()
    }

    fn annotate<'a>(
        &'a self,
        _: &'a PodTarget,
        value: String,
    ) -> BoxFuture<'a, Result<(), kube::Error>> {
        async move {
            let mut state = self.state.lock();
            state.pushed.push(value.clone());
            if state.pushed.len() > state.needs {
                state.loaded = value.split('.').next().map(str::to_owned);
            }
            Ok(())
        }
        .boxed()
    }
}

struct Bench {
    pods: Arc<FakePods>,
    gateways: Gateways,
    changes: mpsc::UnboundedReceiver<Changed>,
}

fn bench(state: FakeState) -> Bench {
    let pods = Arc::new(FakePods {
        state: Mutex::new(state),
    });
    let (sender, changes) = mpsc::unbounded_channel();
    let on_change: OnChange = Arc::new(move |_, changed| sender.send(changed).unwrap_or_default());
    let gateways = Gateways::new(
        pods.clone(),
        on_change,
        tokio_util::task::TaskTracker::new(),
    );
    Bench {
        pods,
        gateways,
        changes,
    }
}

fn cluster() -> Key {
    Key::new("demo", "chat")
}

fn target(revision: &str) -> Target {
    Target {
        revision: Some(revision.into()),
        pods: vec![PodTarget {
            namespace: "demo".into(),
            name: "chat-gateway-1".into(),
            uid: "u-1".into(),
            ip: "10.0.0.1".into(),
        }],
    }
}

impl Bench {
    async fn next(&mut self, wanted: Changed) {
        while self.changes.recv().await.expect("the observer runs") != wanted {}
    }

    fn loaded(&self) -> Option<String> {
        let report = self.gateways.report(&cluster());
        report.pods.get("u-1")?.stats.as_ref()?.revision.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_is_pushed_and_seen_loaded_within_a_second() {
    let mut bench = bench(FakeState {
        loaded: Some("old".into()),
        ..FakeState::default()
    });
    bench.gateways.set_target(&cluster(), target("old"));
    bench.next(Changed::Programming).await;
    assert!(bench.pods.state.lock().pushed.is_empty(), "nothing to push");
    let start = Instant::now();
    bench.gateways.set_target(&cluster(), target("new"));
    bench.next(Changed::Programming).await;
    assert_eq!(bench.loaded().as_deref(), Some("new"));
    assert_eq!(bench.pods.state.lock().pushed, ["new"]);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_push_that_did_nothing_is_repeated_with_another_value() {
    let mut bench = bench(FakeState {
        loaded: Some("old".into()),
        needs: 2,
        ..FakeState::default()
    });
    bench.gateways.set_target(&cluster(), target("new"));
    while bench.loaded().as_deref() != Some("new") {
        bench.next(Changed::Programming).await;
    }
    let pushed = bench.pods.state.lock().pushed.clone();
    assert_eq!(pushed.len(), 3);
    assert_eq!(pushed[0], "new");
    assert!(pushed[1].starts_with("new."), "{pushed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_answer_is_silent_after_ten_seconds() {
    let mut bench = bench(FakeState {
        loaded: Some("one".into()),
        ..FakeState::default()
    });
    bench.gateways.set_target(&cluster(), target("one"));
    bench.next(Changed::Programming).await;
    bench.pods.state.lock().silent = true;
    let start = Instant::now();
    bench.next(Changed::Programming).await;
    assert!(bench.gateways.report(&cluster()).pods["u-1"].silent);
    assert!(
        start.elapsed() >= Duration::from_secs(5) && start.elapsed() <= Duration::from_secs(16)
    );
}

#[tokio::test(start_paused = true)]
async fn rates_are_told_every_fifteen_seconds() {
    let mut bench = bench(FakeState {
        loaded: Some("one".into()),
        ..FakeState::default()
    });
    bench.gateways.set_target(&cluster(), target("one"));
    bench.next(Changed::Counts).await;
    bench.pods.state.lock().messages = 150;
    let start = Instant::now();
    bench.next(Changed::Counts).await;
    assert_eq!(start.elapsed().as_secs(), 15);
    let rate = bench.gateways.report(&cluster()).rates[&Key::new("demo", "lobby")];
    assert!((rate - 10.0).abs() < 0.1, "{rate}");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_cluster_is_not_asked_any_more() {
    let mut bench = bench(FakeState::default());
    bench.gateways.set_target(&cluster(), target("one"));
    bench.next(Changed::Programming).await;
    bench.gateways.forget(&cluster());
    assert!(bench.gateways.report(&cluster()).pods.is_empty());
    while bench.changes.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(bench.changes.try_recv().is_err());
}
