//! The task that observes one cluster: ask, report, push, wait; more often while a pod runs another revision than it should.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Changed, OnChange, PodReport, PodTarget, Pods, Report, SILENT_AFTER, Target};
use crate::key::Key;

/// Between two rounds of questions while all is as it should be.
const CALM: Duration = Duration::from_secs(5);
/// Between two rounds while a pod has to catch up: a fresh push takes about half a second.
const EAGER: Duration = Duration::from_millis(200);
/// Between two pushes to the same pod. The kubelet's view of the ConfigMap may lag behind its view of the pod, so that one
/// push may refresh nothing.
const PUSH_AGAIN: Duration = Duration::from_secs(1);
/// After this many pushes in a row a pod has another problem, and is pushed at the calm pace.
const EAGER_PUSHES: u32 = 15;
/// Between two times that counts are told.
const COUNTS: Duration = Duration::from_secs(15);
/// Pods asked at once.
const CONCURRENCY: usize = 32;

/// Runs until dropped, or until nobody can set the target any more.
pub(super) async fn observe(
    cluster: Key,
    mut target: watch::Receiver<Target>,
    report: Arc<Mutex<Arc<Report>>>,
    pods: Arc<dyn Pods>,
    on_change: OnChange,
) {
    let mut observation = Observation::default();
    loop {
        let wanted = target.borrow_and_update().clone();
        observation.follow(&wanted);
        // Pods known to lag are pushed before they are asked again: that is what a change of config waits for.
        observation.push(&wanted, pods.as_ref()).await;
        let answers = ask(&wanted.pods, pods.as_ref()).await;
        let now = Instant::now();
        for (pod, answer) in wanted.pods.iter().zip(answers) {
            match answer {
                Ok(stats) => observation.heard(pod, Arc::new(stats), now),
                Err(error) => {
                    tracing::debug!(%cluster, pod = %pod.name, %error, "gateway gave no answer");
                }
            }
        }
        let changes = observation.conclude(now);
        *report.lock() = Arc::new(observation.report.clone());
        for change in changes {
            on_change(&cluster, change);
        }
        let wait = observation.wait(&wanted, now);
        tokio::select! {
            () = sleep_until(now + wait) => {}
            changed = target.changed() => if changed.is_err() { return },
        }
    }
}

/// One answer a pod, in their order.
async fn ask(
    targets: &[PodTarget],
    pods: &dyn Pods,
) -> Vec<Result<super::Stats, super::StatsError>> {
    let questions: Vec<_> = targets.iter().map(|pod| pods.stats(pod)).collect();
    stream::iter(questions)
        .buffered(CONCURRENCY)
        .collect()
        .await
}

/// What a status depends on besides counts: by pod, whether it is silent, its revision, and what it says about each Room.
type Programming = BTreeMap<
    String,
    (
        bool,
        Option<String>,
        Option<String>,
        Vec<(String, String, i64, bool)>,
    ),
>;

#[derive(Default)]
struct Observation {
    report: Report,
    pushes: HashMap<String, Push>,
    told: Option<Programming>,
    counted: Option<Counted>,
}

/// How a pod was pushed towards a revision.
struct Push {
    revision: String,
    count: u32,
    last: Instant,
}

/// The message counters at the last time that counts were told.
struct Counted {
    at: Instant,
    messages: HashMap<(String, Key), u64>,
}

impl Observation {
    /// Adopts the pods of the target: forgets those that are gone, starts the clock of new ones.
    fn follow(&mut self, target: &Target) {
        let wanted: HashMap<&str, &PodTarget> = target
            .pods
            .iter()
            .map(|pod| (pod.uid.as_str(), pod))
            .collect();
        self.report
            .pods
            .retain(|uid, _| wanted.contains_key(uid.as_str()));
        self.pushes
            .retain(|uid, _| wanted.contains_key(uid.as_str()));
        for (uid, pod) in wanted {
            self.report
                .pods
                .entry(uid.to_owned())
                .or_insert_with(|| PodReport {
                    name: pod.name.clone(),
                    stats: None,
                    heard: Instant::now(),
                    silent: false,
                });
        }
    }

    fn heard(&mut self, pod: &PodTarget, stats: Arc<super::Stats>, now: Instant) {
        if let Some(report) = self.report.pods.get_mut(&pod.uid) {
            report.stats = Some(stats);
            report.heard = now;
        }
    }

    /// Whether a pod has answered, and with another revision than it should run.
    fn lags(&self, pod: &PodTarget, revision: &str) -> bool {
        let stats = self
            .report
            .pods
            .get(&pod.uid)
            .and_then(|report| report.stats.as_ref());
        stats.is_some_and(|stats| stats.revision.as_deref() != Some(revision))
    }

    async fn push(&mut self, target: &Target, pods: &dyn Pods) {
        let Some(revision) = &target.revision else {
            return;
        };
        let now = Instant::now();
        let mut due = Vec::new();
        let lagging: Vec<_> = target
            .pods
            .iter()
            .filter(|pod| self.lags(pod, revision))
            .collect();
        for pod in lagging {
            let value = match self.pushes.get_mut(&pod.uid) {
                Some(push) if push.revision == *revision => {
                    let pause = if push.count < EAGER_PUSHES {
                        PUSH_AGAIN
                    } else {
                        CALM
                    };
                    if now < push.last + pause {
                        continue;
                    }
                    push.count += 1;
                    push.last = now;
                    // Any value that isn't there yet makes the kubelet look again.
                    format!("{revision}.{}", Timestamp::now().as_millisecond())
                }
                _ => {
                    let push = Push {
                        revision: revision.clone(),
                        count: 1,
                        last: now,
                    };
                    self.pushes.insert(pod.uid.clone(), push);
                    revision.clone()
                }
            };
            due.push((pod, value));
        }
        stream::iter(due)
            .for_each_concurrent(CONCURRENCY, |(pod, value)| async move {
                if let Err(error) = pods.annotate(pod, value).await {
                    tracing::warn!(pod = %pod.name, namespace = %pod.namespace, %error, "could not push the config");
                }
            })
            .await;
    }

    /// Brings the report up to date after a round, and says what changed.
    fn conclude(&mut self, now: Instant) -> Vec<Changed> {
        let mut changes = Vec::new();
        for pod in self.report.pods.values_mut() {
            pod.silent = now >= pod.heard + SILENT_AFTER;
        }
        let programming = self.programming();
        if self.told.as_ref() != Some(&programming) {
            self.told = Some(programming);
            changes.push(Changed::Programming);
        }
        if self
            .counted
            .as_ref()
            .is_none_or(|counted| now >= counted.at + COUNTS)
        {
            self.count(now);
            changes.push(Changed::Counts);
        }
        changes
    }

    fn programming(&self) -> Programming {
        let of_pod = |pod: &PodReport| {
            let stats = pod.stats.as_deref();
            let rooms = stats.map(|stats| {
                let room = |room: &super::RoomStats| {
                    (
                        room.namespace.clone(),
                        room.name.clone(),
                        room.generation,
                        room.policy_error.is_some(),
                    )
                };
                stats.rooms.iter().map(room).collect()
            });
            (
                pod.silent,
                stats.and_then(|stats| stats.revision.clone()),
                stats.and_then(|stats| stats.config_error.clone()),
                rooms.unwrap_or_default(),
            )
        };
        self.report
            .pods
            .iter()
            .map(|(uid, pod)| (uid.clone(), of_pod(pod)))
            .collect()
    }

    /// Rates from the counters now and those of last time. A pod or Room that is new since then starts at its first count.
    fn count(&mut self, now: Instant) {
        let mut messages = HashMap::new();
        for (uid, pod) in &self.report.pods {
            for room in pod.stats.iter().flat_map(|stats| &stats.rooms) {
                let key = Key::new(&room.namespace, &room.name);
                messages.insert((uid.clone(), key), room.messages_published);
            }
        }
        self.report.rates.clear();
        if let Some(before) = &self.counted {
            let seconds = (now - before.at).as_secs_f64().max(1.0);
            for ((uid, room), count) in &messages {
                let Some(earlier) = before.messages.get(&(uid.clone(), room.clone())) else {
                    continue;
                };
                #[allow(
                    clippy::cast_precision_loss,
                    reason = "a rate is shown with two digits"
                )]
                let rate = count.saturating_sub(*earlier) as f64 / seconds;
                *self.report.rates.entry(room.clone()).or_insert(0.0) += rate;
            }
        }
        self.counted = Some(Counted { at: now, messages });
    }

    fn wait(&self, target: &Target, now: Instant) -> Duration {
        let Some(revision) = &target.revision else {
            return CALM;
        };
        let catching_up = |pod: &PodTarget| {
            let report = self.report.pods.get(&pod.uid);
            let fresh = report
                .is_some_and(|report| report.stats.is_none() && now < report.heard + SILENT_AFTER);
            let patient = self
                .pushes
                .get(&pod.uid)
                .is_none_or(|push| push.revision != *revision || push.count < EAGER_PUSHES);
            fresh || (self.lags(pod, revision) && patient)
        };
        if target.pods.iter().any(catching_up) {
            EAGER
        } else {
            CALM
        }
    }
}

#[cfg(test)]
mod tests;
