//! The whole of observe, plan and execute against real Redis processes in cluster mode.

mod pod_scripts;
mod somebody_elses;
mod without_pods;

use redis::cmd;
use rotunda_crds::redis_url::RedisUrl;

use super::{
    test_server::{TestServer, eventually, password},
    topology::{Role, State, Topology},
    *,
};
use crate::cluster::model::Verdict;

fn wanted(shards: u32, replicas_per_shard: u32) -> Wanted {
    Wanted {
        shards,
        replicas_per_shard,
        persistent: false,
    }
}

fn start(wanted: Wanted) -> Vec<TestServer> {
    let pods = (0..wanted.shards)
        .flat_map(|shard| (0..=wanted.replicas_per_shard).map(move |ordinal| (shard, ordinal)));
    pods.map(|(shard, ordinal)| TestServer::start(shard, &format!("chat-redis-{shard}-{ordinal}")))
        .collect()
}

fn pods(servers: &[TestServer]) -> Vec<RedisPod> {
    servers.iter().map(TestServer::pod).collect()
}

/// Step by step until everything is as wanted.
async fn settle(servers: &[TestServer], wanted: Wanted) -> (RedisStatus, Vec<Problem>) {
    let pods = pods(servers);
    let mut events = Vec::new();
    let status = eventually("the cluster is whole", async || {
        // A command may be refused in the middle of a change; the next look plans anew.
        let status = advance(&pods, wanted, &password()).await.ok()?;
        events.extend(status.events.iter().cloned());
        (status.look_again.is_none()).then_some(status)
    })
    .await;
    (status, events)
}

/// [`password`] as it stands in a URL.
const PASSWORD: &str = "pass%20word%20%22$HOME%22%20%5C%20'x'";

fn url(text: &str) -> RedisUrl {
    RedisUrl::parse(text).expect("the URL is good")
}

async fn look(servers: &[TestServer]) -> Topology {
    observe::observe(&pods(servers), &password()).await
}

/// Writes through whichever node owns the key's slot.
async fn write(servers: &[TestServer], key: &str, value: &str) {
    eventually("the key is written", async || {
        for server in servers {
            let Ok(mut connection) = server.login().connect().await else {
                continue;
            };
            if cmd("SET")
                .arg(key)
                .arg(value)
                .query_async::<()>(&mut connection)
                .await
                .is_ok()
            {
                return Some(());
            }
        }
        None
    })
    .await;
}

async fn read(servers: &[TestServer], key: &str) -> Option<String> {
    for server in servers {
        let Ok(mut connection) = server.login().connect().await else {
            continue;
        };
        if let Ok(Some(value)) = cmd("GET")
            .arg(key)
            .query_async::<Option<String>>(&mut connection)
            .await
        {
            return Some(value);
        }
    }
    None
}

#[tokio::test]
async fn a_single_pod_serves_all_slots() {
    let servers = start(wanted(1, 0));
    let (status, events) = settle(&servers, wanted(1, 0)).await;
    assert!(matches!(status.ready, Verdict::Yes(_)), "{status:?}");
    assert_eq!((status.shards, status.ready_shards), (1, 1));
    assert_eq!(
        status.degraded.map(|problem| problem.reason),
        Some("NoReplicas")
    );
    assert_eq!(
        events.iter().map(|event| event.reason).collect::<Vec<_>>(),
        ["RedisFormed"]
    );
    write(&servers, "greeting", "hello").await;
    assert_eq!(read(&servers, "greeting").await.as_deref(), Some("hello"));
}

#[tokio::test]
async fn three_shards_with_replicas_form_a_whole_cluster() {
    let servers = start(wanted(3, 1));
    let (status, _) = settle(&servers, wanted(3, 1)).await;
    assert!(matches!(status.ready, Verdict::Yes(_)), "{status:?}");
    assert_eq!(status.degraded, None);
    assert!(status.replicas_in_sync);

    let topology = look(&servers).await;
    for shard in 0..3 {
        let views: Vec<_> = topology
            .up()
            .filter(|(pod, _)| pod.shard == shard)
            .map(|(_, view)| view)
            .collect();
        let primary = views
            .iter()
            .find(|view| view.serves())
            .expect("a shard has a primary");
        assert!(
            (5461..=5462).contains(&primary.slots.len()),
            "{:?}",
            primary.slots
        );
        let copies = |view: &&&topology::View| matches!(&view.role, Role::Replica { of, .. } if *of == primary.id);
        assert_eq!(views.iter().filter(copies).count(), 1);
    }
}

#[tokio::test]
async fn pods_that_come_back_elsewhere_with_their_data_find_each_other() {
    let mut servers = start(wanted(2, 0));
    settle(&servers, wanted(2, 0)).await;
    write(&servers, "kept", "yes").await;
    eventually("the AOF is written", async || {
        for server in &servers {
            let mut connection = server.login().connect().await.ok()?;
            let info: String = cmd("INFO")
                .arg("persistence")
                .query_async(&mut connection)
                .await
                .ok()?;
            if observe::value(&info, "aof_buffer_length") != Some("0") {
                return None;
            }
        }
        Some(())
    })
    .await;
    for server in &mut servers {
        server.replace(true);
    }
    let (status, events) = settle(&servers, wanted(2, 0)).await;
    assert!(matches!(status.ready, Verdict::Yes(_)), "{status:?}");
    assert!(
        events.is_empty(),
        "nothing was lost or given away: {events:?}"
    );
    assert_eq!(read(&servers, "kept").await.as_deref(), Some("yes"));
}

#[tokio::test]
async fn the_replica_of_a_lone_primary_takes_over_and_gets_a_replica_again() {
    let mut servers = start(wanted(1, 1));
    settle(&servers, wanted(1, 1)).await;
    write(&servers, "kept", "yes").await;
    eventually("the replica has the key", async || {
        let topology = look(&servers).await;
        topology.up().all(|(_, view)| view.keys == 1).then_some(())
    })
    .await;
    let topology = look(&servers).await;
    let primary = topology
        .up()
        .position(|(_, view)| view.serves())
        .expect("there is a primary");

    servers[primary].replace(false);
    let (status, events) = settle(&servers, wanted(1, 1)).await;
    assert!(matches!(status.ready, Verdict::Yes(_)), "{status:?}");
    assert!(status.replicas_in_sync);
    assert_eq!(
        events.iter().map(|event| event.reason).collect::<Vec<_>>(),
        ["ReplicaTookOver"]
    );
    assert_eq!(read(&servers, "kept").await.as_deref(), Some("yes"));
    let known = look(&servers)
        .await
        .up()
        .map(|(_, view)| view.peers.len())
        .collect::<Vec<_>>();
    assert_eq!(known, [1, 1], "the lost node is forgotten");
}

#[tokio::test]
async fn an_address_that_leads_to_another_pod_is_not_taken_for_this_one() {
    let servers = start(wanted(1, 0));
    settle(&servers, wanted(1, 0)).await;
    let mut pod = servers[0].pod();
    pod.key.uid = "the-pod-that-had-this-address-before".to_owned();
    let topology = observe::observe(&[pod.clone()], &password()).await;
    assert!(
        matches!(&topology.members[0].state, State::Silent(why) if why.contains("another pod"))
    );

    let identity = topology::Identity {
        pod: pod.key,
        id: topology::NodeId("x".to_owned()),
        at: servers[0].at(),
    };
    let step = plan::Step::Meet {
        by: identity.clone(),
        others: vec![identity],
    };
    let error = execute::execute(&step, &password())
        .await
        .expect_err("it must not be met");
    assert_eq!(error.reason(), "RedisPodChanged");
}

#[tokio::test]
async fn a_pod_that_refuses_the_password_is_named() {
    let servers = start(wanted(1, 0));
    settle(&servers, wanted(1, 0)).await;
    let wrong = Hidden("wrong".to_owned());
    let status = advance(&pods(&servers), wanted(1, 0), &wrong)
        .await
        .expect("it is no error");
    let Verdict::No(problem) = status.ready else {
        panic!("it can't be ready")
    };
    assert!(
        problem
            .message
            .contains("chat-redis-0-0: it refuses the password"),
        "{}",
        problem.message
    );
}

#[tokio::test]
async fn steps_may_be_done_twice() {
    let servers = start(wanted(1, 1));
    let mut steps = Vec::new();
    eventually("the cluster is whole", async || {
        let topology = look(&servers).await;
        let Plan::Do(step) = plan::plan(&topology, wanted(1, 1)) else {
            let whole = health::assess(&topology, wanted(1, 1), &Plan::Settled);
            return (topology.up().count() == 2 && whole.look_again.is_none()).then_some(());
        };
        if execute::execute(&step, &password()).await.is_ok() {
            execute::execute(&step, &password())
                .await
                .expect("again is the same as once");
            steps.push(step);
        }
        None
    })
    .await;
    assert!(steps.len() >= 3, "{steps:?}");
}
