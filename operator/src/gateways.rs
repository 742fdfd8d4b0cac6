//! What the gateways themselves say: one task per cluster asks each pod's `/stats`, and makes pods load the config that
//! they should have (by an annotation, which lets the kubelet refresh the pod's files at once).
//!
//! In goes a [`Target`] (which pods, which revision), out comes a [`Report`], and a call whenever it changed in a way that
//! somebody's status depends on. Knows nothing of statuses, and of the API server only how to annotate a pod.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::key::Key;

mod observer;
pub mod pods;
pub mod stats;

pub use stats::{RoomStats, State, Stats, StatsError};

/// A pod that doesn't answer for this long is silent: nobody can tell what it runs.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

/// One gateway pod that should be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodTarget {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// UID of the pod: a new pod of the same name is another one.
    pub uid: String,
    /// Address of the pod.
    pub ip: String,
}

/// What the pods of one cluster should run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Revision of the config; `None` while none could be rendered, then pods are only asked.
    pub revision: Option<String>,
    /// Running pods with an address that aren't being deleted.
    pub pods: Vec<PodTarget>,
}

/// What one pod said last.
#[derive(Debug, Clone)]
pub struct PodReport {
    /// Name of the pod.
    pub name: String,
    /// Its last answer; `None` before the first.
    pub stats: Option<Arc<Stats>>,
    /// When it last answered, or when it was first asked.
    pub heard: Instant,
    /// Whether it has been silent for [`SILENT_AFTER`].
    pub silent: bool,
}

/// What the pods of one cluster said last.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By UID of the pod.
    pub pods: BTreeMap<String, PodReport>,
    /// Messages a second of each Room resource, over all pods.
    pub rates: HashMap<Key, f64>,
}

impl Report {
    /// What the pods say that still answer.
    pub fn answers(&self) -> impl Iterator<Item = &Stats> {
        self.pods
            .values()
            .filter(|pod| !pod.silent)
            .filter_map(|pod| pod.stats.as_deref())
    }
}

/// What changed in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Which pods there are, which revision they run, or whether they answer.
    Programming,
    /// Counts; told at a steady, slow pace.
    Counts,
}

/// The two ways in which gateways are reached; a trait, so that the observer is tested without a network.
pub trait Pods: Send + Sync + 'static {
    /// Asks one pod, no longer than a second.
    fn stats<'a>(&'a self, pod: &'a PodTarget) -> BoxFuture<'a, Result<Stats, StatsError>>;
    /// Makes the kubelet refresh the files of one pod.
    fn annotate<'a>(
        &'a self,
        pod: &'a PodTarget,
        value: String,
    ) -> BoxFuture<'a, Result<(), kube::Error>>;
}

/// Called when a report changed.
pub type OnChange = Arc<dyn Fn(&Key, Changed) + Send + Sync>;

/// The observers of all clusters. Cheap to clone.
#[derive(Clone)]
pub struct Gateways {
    inner: Arc<Inner>,
}

struct Inner {
    pods: Arc<dyn Pods>,
    on_change: OnChange,
    observers: Mutex<HashMap<Key, Observer>>,
    tasks: TaskTracker,
}

struct Observer {
    target: watch::Sender<Target>,
    report: Arc<Mutex<Arc<Report>>>,
    // Ends the task when the cluster is forgotten.
    _task: AbortOnDropHandle<()>,
}

impl Gateways {
    /// No observers yet. `tasks` are what the process waits for when it stops.
    pub fn new(pods: Arc<dyn Pods>, on_change: OnChange, tasks: TaskTracker) -> Self {
        Self {
            inner: Arc::new(Inner {
                pods,
                on_change,
                observers: Mutex::default(),
                tasks,
            }),
        }
    }

    /// Says what the pods of a cluster should run; starts to observe it where that is new.
    pub fn set_target(&self, cluster: &Key, target: Target) {
        let mut observers = self.inner.observers.lock();
        if let Some(observer) = observers.get(cluster) {
            observer.target.send_if_modified(|current| {
                let changed = *current != target;
                if changed {
                    *current = target;
                }
                changed
            });
            return;
        }
        let (sender, receiver) = watch::channel(target);
        let report = Arc::new(Mutex::new(Arc::default()));
        let observing = observer::observe(
            cluster.clone(),
            receiver,
            report.clone(),
            self.inner.pods.clone(),
            self.inner.on_change.clone(),
        );
        let task = AbortOnDropHandle::new(self.inner.tasks.spawn(observing));
        observers.insert(
            cluster.clone(),
            Observer {
                target: sender,
                report,
                _task: task,
            },
        );
    }

    /// What the pods of a cluster said last; empty for one that isn't observed.
    pub fn report(&self, cluster: &Key) -> Arc<Report> {
        let observers = self.inner.observers.lock();
        observers
            .get(cluster)
            .map(|observer| observer.report.lock().clone())
            .unwrap_or_default()
    }

    /// The revision that the pods of a cluster should run, as last said.
    pub fn revision(&self, cluster: &Key) -> Option<String> {
        let observers = self.inner.observers.lock();
        observers.get(cluster)?.target.borrow().revision.clone()
    }

    /// Stops observing a cluster.
    pub fn forget(&self, cluster: &Key) {
        self.inner.observers.lock().remove(cluster);
    }

    /// Stops observing all clusters.
    pub fn stop(&self) {
        self.inner.observers.lock().clear();
    }
}
