//! Logs in to every Redis pod and writes down what each says about itself and about the others. Reads only.

use std::{net::IpAddr, time::Duration};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use redis::RedisError;

use super::{
    link::{Login, describe, names_pod},
    nodes,
    topology::{Address, Member, PodKey, Role, State, Topology, View},
};
use crate::cluster::{build::labels, model::Hidden};

/// Port of the clients in a pod.
const CLIENT_PORT: u16 = 6379;
/// Port of the cluster bus in a pod.
const BUS_PORT: u16 = 16_379;
/// Time for one pod, all in all.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A Redis pod as Kubernetes shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisPod {
    /// Which one.
    pub key: PodKey,
    /// Whether there is anything to log in to.
    pub process: Process,
}

/// The Redis process of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Process {
    /// There was none yet.
    NotStarted,
    /// It listens here, or will soon.
    Running(Address),
    /// There was one, which has ended; the sentence says what is known.
    Ended(String),
}

impl RedisPod {
    /// Reads what Kubernetes shows; `None` for what is no pod of a shard.
    pub fn read(pod: &Pod) -> Option<Self> {
        let shard = pod
            .metadata
            .labels
            .as_ref()?
            .get(labels::SHARD)?
            .parse()
            .ok()?;
        let key = PodKey {
            shard,
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
        };
        Some(Self {
            key,
            process: read_process(pod),
        })
    }
}

fn read_process(pod: &Pod) -> Process {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    let Some(container) = containers.and_then(|all| all.iter().find(|one| one.name == "redis"))
    else {
        return Process::NotStarted;
    };
    let running = container
        .state
        .as_ref()
        .is_some_and(|state| state.running.is_some());
    let ip = status
        .and_then(|status| status.pod_ip.as_ref())
        .and_then(|ip| ip.parse::<IpAddr>().ok());
    match ip {
        Some(ip) if running => Process::Running(Address {
            client: (ip, CLIENT_PORT).into(),
            bus_port: BUS_PORT,
        }),
        _ if running || has_run(container) => Process::Ended(why_not_running(container)),
        _ => Process::NotStarted,
    }
}

fn has_run(container: &ContainerStatus) -> bool {
    let ended = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        state.is_some_and(|state| state.terminated.is_some())
    };
    container.restart_count > 0
        || ended(container.state.as_ref())
        || ended(container.last_state.as_ref())
}

fn why_not_running(container: &ContainerStatus) -> String {
    let waiting = container
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    match waiting.and_then(|waiting| waiting.reason.as_ref()) {
        Some(reason) => format!("its container isn't running ({reason})"),
        None => "its container isn't running".to_owned(),
    }
}

/// Asks all of `pods` at once.
pub async fn observe(pods: &[RedisPod], password: &Hidden) -> Topology {
    let mut members = join_all(pods.iter().map(|pod| observe_pod(pod, password))).await;
    members.sort_by(|one, other| one.pod.cmp(&other.pod));
    Topology { members }
}

async fn observe_pod(pod: &RedisPod, password: &Hidden) -> Member {
    let state = match &pod.process {
        Process::NotStarted => State::NotStarted,
        Process::Ended(why) => State::Silent(why.clone()),
        Process::Running(at) => {
            match tokio::time::timeout(TIMEOUT, ask(&pod.key, *at, password)).await {
                Ok(Ok(view)) => State::Up(Box::new(view)),
                Ok(Err(why)) => State::Silent(why),
                Err(_) => State::Silent("it doesn't answer in time".to_owned()),
            }
        }
    };
    Member {
        pod: pod.key.clone(),
        state,
    }
}

type Answers = (Vec<String>, String, String, String, u64);

async fn ask(pod: &PodKey, at: Address, password: &Hidden) -> Result<View, String> {
    let in_words = |error: RedisError| describe(&error);
    let mut connection = Login::managed(at, password)
        .connect()
        .await
        .map_err(in_words)?;
    let mut questions = redis::pipe();
    questions.cmd("CONFIG").arg("GET").arg("pidfile");
    questions.cmd("CLUSTER").arg("NODES");
    questions.cmd("CLUSTER").arg("INFO");
    questions.cmd("INFO").arg("replication");
    questions.cmd("DBSIZE");
    let (pid_file, nodes, cluster, replication, keys): Answers = questions
        .query_async(&mut connection)
        .await
        .map_err(in_words)?;

    if !names_pod(&pid_file, &pod.uid) {
        return Err("its address leads to another pod for now".to_owned());
    }
    let nodes = nodes::parse(&nodes).map_err(|error| error.to_string())?;
    let (role, offset) = match nodes.replica_of {
        None => (Role::Primary, number(&replication, "master_repl_offset")),
        Some(of) => {
            let in_sync = value(&replication, "master_link_status") == Some("up")
                && value(&replication, "master_sync_in_progress") == Some("0");
            (
                Role::Replica { of, in_sync },
                number(&replication, "slave_repl_offset"),
            )
        }
    };
    Ok(View {
        id: nodes.myself,
        at,
        role,
        slots: nodes.slots,
        keys,
        offset,
        cluster_ok: value(&cluster, "cluster_state") == Some("ok"),
        peers: nodes.peers,
    })
}

/// The value of a line `name:value`, as `INFO` and `CLUSTER INFO` write them.
pub(super) fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

fn number(text: &str, name: &str) -> u64 {
    value(text, name)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: &str) -> Pod {
        let text = format!(
            "metadata: {{name: chat-redis-1-0, uid: u1, labels: {{rotunda.dev/shard: '1'}}}}\nstatus: {status}"
        );
        serde_yaml::from_str(&text).expect("the pod is well written")
    }

    fn process(status: &str) -> Process {
        RedisPod::read(&pod(status))
            .expect("it is a pod of a shard")
            .process
    }

    #[test]
    fn a_pod_that_never_ran_is_told_from_one_that_crashed() {
        let base = "name: redis, ready: false, image: i, imageID: ''";
        assert_eq!(process("{}"), Process::NotStarted);
        let pulling = format!(
            "{{podIP: 10.0.0.1, containerStatuses: [{{{base}, restartCount: 0, state: {{waiting: {{reason: ErrImagePull}}}}}}]}}"
        );
        assert_eq!(process(&pulling), Process::NotStarted);
        let crashed = format!(
            "{{podIP: 10.0.0.1, containerStatuses: [{{{base}, restartCount: 3, state: {{waiting: {{reason: CrashLoopBackOff}}}}}}]}}"
        );
        assert_eq!(
            process(&crashed),
            Process::Ended("its container isn't running (CrashLoopBackOff)".to_owned())
        );
        let running = format!(
            "{{podIP: 'fd00::7', containerStatuses: [{{{base}, restartCount: 0, state: {{running: {{}}}}}}]}}"
        );
        assert!(
            matches!(process(&running), Process::Running(at) if at.to_string() == "[fd00::7]:6379")
        );
    }

    #[test]
    fn a_pod_without_a_shard_label_is_no_redis_pod() {
        assert_eq!(RedisPod::read(&Pod::default()), None);
    }

    #[test]
    fn lines_of_info_are_found_by_their_whole_name() {
        let text =
            "# Replication\r\nrole:master\r\nmaster_repl_offset:42\r\nsecond_repl_offset:-1\r\n";
        assert_eq!(number(text, "master_repl_offset"), 42);
        assert_eq!(value(text, "repl_offset"), None);
    }
}
