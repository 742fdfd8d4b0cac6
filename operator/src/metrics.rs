//! The operator's own metrics. Labels come from fixed sets: kinds, reasons, never names of objects.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::AtomicI64,
    time::Duration,
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use rotunda_crds::conditions::reason;
use serde::Serialize;

use crate::key::Key;

/// Kind of a custom resource, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A RealtimeCluster.
    RealtimeCluster,
    /// A Room.
    Room,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::RealtimeCluster, Self::Room];

    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RealtimeCluster => "RealtimeCluster",
            Self::Room => "Room",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    kind: &'static str,
    ready: &'static str,
}

/// The resources of one kind, for `/stats`.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    ready: usize,
    /// Sorted, the first hundred.
    not_ready: BTreeSet<String>,
}

/// Most names in [`Resources`].
const MAX_NAMES: usize = 100;

/// Why reconciles of any kind fail: the API server didn't do as it was asked. Other reasons come when they come.
const FAILURES: [&str; 4] = [
    "ReadFailed",
    reason::APPLY_FAILED,
    "PruneFailed",
    "StatusFailed",
];

/// Everything measured; one per process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile_seconds: Family<KindLabel, Histogram, fn() -> Histogram>,
    reconcile_errors: Family<ErrorLabels, Counter>,
    resources: Family<ResourceLabels, Gauge<i64, AtomicI64>>,
    leader: Gauge,
    ready: Mutex<HashMap<(Kind, Key), bool>>,
}

fn reconcile_histogram() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("rotunda");
        let reconcile_seconds: Family<KindLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(reconcile_histogram);
        let reconcile_errors = Family::<ErrorLabels, Counter>::default();
        let resources = Family::default();
        let leader = Gauge::default();
        registry.register_with_unit(
            "reconcile",
            "Time that one reconcile took",
            Unit::Seconds,
            reconcile_seconds.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Reconciles that failed or were refused, by reason",
            reconcile_errors.clone(),
        );
        registry.register(
            "resources",
            "Custom resources, by kind and by their condition Ready",
            resources.clone(),
        );
        registry.register(
            "leader",
            "1 while this replica does the work",
            leader.clone(),
        );
        // Rates of what appears with its first failure would miss it.
        for kind in Kind::ALL.map(Kind::as_str) {
            drop(reconcile_seconds.get_or_create(&KindLabel { kind }));
            for reason in FAILURES {
                drop(reconcile_errors.get_or_create(&ErrorLabels { kind, reason }));
            }
        }
        Self {
            registry,
            reconcile_seconds,
            reconcile_errors,
            resources,
            leader,
            ready: Mutex::default(),
        }
    }
}

impl Metrics {
    /// One reconcile took this long.
    pub fn reconciled(&self, kind: Kind, took: Duration) {
        let label = KindLabel {
            kind: kind.as_str(),
        };
        self.reconcile_seconds
            .get_or_create(&label)
            .observe(took.as_secs_f64());
    }

    /// One reconcile failed, or refused the object.
    pub fn failed(&self, kind: Kind, reason: &'static str) {
        let labels = ErrorLabels {
            kind: kind.as_str(),
            reason,
        };
        self.reconcile_errors.get_or_create(&labels).inc();
    }

    /// An object is there, ready or not.
    pub fn set_ready(&self, kind: Kind, key: Key, ready: bool) {
        self.ready.lock().insert((kind, key), ready);
    }

    /// An object is gone.
    pub fn forget(&self, kind: Kind, key: &Key) {
        self.ready.lock().remove(&(kind, key.clone()));
    }

    /// All resources by kind, for people.
    pub fn resources(&self) -> BTreeMap<&'static str, Resources> {
        let mut resources: BTreeMap<_, Resources> = Kind::ALL
            .map(|kind| (kind.as_str(), Resources::default()))
            .into();
        for ((kind, key), ready) in self.ready.lock().iter() {
            let of_kind = resources.entry(kind.as_str()).or_default();
            if *ready {
                of_kind.ready += 1;
            } else {
                of_kind.not_ready.insert(key.to_string());
                if of_kind.not_ready.len() > MAX_NAMES {
                    of_kind.not_ready.pop_last();
                }
            }
        }
        resources
    }

    /// Whether this replica does the work.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut counts = BTreeMap::new();
        for kind in Kind::ALL {
            counts.insert((kind, true), 0);
            counts.insert((kind, false), 0);
        }
        for ((kind, _), ready) in self.ready.lock().iter() {
            *counts.entry((*kind, *ready)).or_insert(0) += 1;
        }
        for ((kind, ready), count) in counts {
            let labels = ResourceLabels {
                kind: kind.as_str(),
                ready: if ready { "true" } else { "false" },
            };
            self.resources.get_or_create(&labels).set(count);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_counted_by_kind_and_readiness() {
        let metrics = Metrics::default();
        metrics.set_ready(Kind::Room, Key::new("demo", "lobby"), false);
        metrics.set_ready(Kind::Room, Key::new("demo", "lobby"), true);
        metrics.set_ready(Kind::Room, Key::new("demo", "other"), true);
        metrics.forget(Kind::Room, &Key::new("demo", "other"));
        metrics.failed(Kind::RealtimeCluster, "SecretNotFound");
        metrics.reconciled(Kind::Room, Duration::from_millis(7));
        let text = metrics.render().expect("renders");
        for line in [
            "rotunda_resources{kind=\"Room\",ready=\"true\"} 1",
            "rotunda_resources{kind=\"Room\",ready=\"false\"} 0",
            "rotunda_reconcile_errors_total{kind=\"RealtimeCluster\",reason=\"SecretNotFound\"} 1",
            "rotunda_reconcile_seconds_count{kind=\"Room\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
