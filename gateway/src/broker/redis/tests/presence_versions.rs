//! Changes of presence that weren't heard are found; and what presence costs while nothing happens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::proxy::Proxy;
use super::server::{Server, standalone, three_primaries};
use super::{gateway, some_prefix, two_gateways};
use crate::broker::contract::{Gateway, PRESENCE_TTL, eventually, left, some_room, user};
use crate::broker::{Event, Leave};

fn misses(gateway: &Gateway, room: &rotunda_crds::RoomName) -> usize {
    let events = gateway.events.of(room);
    let missed = events
        .iter()
        .filter(|event| **event == Event::PresenceMissed);
    missed.count()
}

#[tokio::test]
async fn a_change_while_the_gateway_was_cut_off_is_found() {
    let prefix = some_prefix();
    let server = standalone();
    let proxy = Proxy::to(server.port).await;
    let cut = gateway(&proxy.url(), &prefix).await;
    let other = gateway(&server.url(), &prefix).await;
    let (room, quiet) = (some_room(), some_room());
    for room in [&room, &quiet] {
        cut.broker.subscribe(room).await.expect("subscribes");
        let joined = cut.broker.join(room, &user("alice")).await;
        joined.expect("joins");
    }
    eventually("it is told of itself", || {
        cut.events.presence(&room).len() == 1 && cut.events.presence(&quiet).len() == 1
    })
    .await;
    // Nobody listens at port 1.
    proxy.lead_to(1);
    eventually("it is cut off", || cut.broker.ready().is_err()).await;
    let joined = other.broker.join(&room, &user("bob")).await;
    joined.expect("joins");
    proxy.lead_to(server.port);
    eventually("it is told that it missed something", || {
        misses(&cut, &room) > 0
    })
    .await;
    eventually("the other room is told to read on", || {
        cut.events.interruptions(&quiet) > 0
    })
    .await;
    assert_eq!(misses(&cut, &quiet), 0, "nothing happened there");
}

#[tokio::test]
async fn a_change_that_got_lost_is_found_by_the_next_one_and_by_the_quiet_check() {
    let prefix = some_prefix();
    let server = standalone();
    let gateway = gateway(&server.url(), &prefix).await;
    let (busy, quiet) = (some_room(), some_room());
    let here = |room: &rotunda_crds::RoomName| format!("{prefix}:{{{room}}}:here");
    for room in [&busy, &quiet] {
        gateway.broker.subscribe(room).await.expect("subscribes");
        let joined = gateway.broker.join(room, &user("alice")).await;
        joined.expect("joins");
    }
    // As if another gateway's announcement had never arrived.
    server.run(&["HINCRBY", &here(&busy), "", "1"]);
    let joined = gateway.broker.join(&busy, &user("bob")).await;
    joined.expect("joins");
    eventually("the next change shows it", || misses(&gateway, &busy) > 0).await;
    server.run(&["HINCRBY", &here(&quiet), "", "1"]);
    eventually("the quiet check shows it", || misses(&gateway, &quiet) > 0).await;
    // It goes through all rooms ten times a second in tests.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        (misses(&gateway, &busy), misses(&gateway, &quiet)),
        (1, 1),
        "told once"
    );
}

async fn nothing_is_missed_while_many_come_and_go(url: &str) {
    let (a, b) = two_gateways(url).await;
    let room = some_room();
    for gateway in [&a, &b] {
        gateway.broker.subscribe(&room).await.expect("subscribes");
    }
    for round in 0..5 {
        let users: Vec<_> = (0..40).map(|n| user(&format!("user{round}.{n}"))).collect();
        let come_and_go = users.iter().enumerate().map(async |(index, user)| {
            let broker = if index % 2 == 0 { &a.broker } else { &b.broker };
            broker.join(&room, user).await.expect("joins");
            broker.leave(&room, user, Leave::Now).await.expect("leaves");
        });
        futures::future::join_all(come_and_go).await;
        // Beside the quiet check.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for gateway in [&a, &b] {
        eventually("all is told", || {
            gateway.events.presence(&room).len() == 400
        })
        .await;
        assert_eq!(misses(gateway, &room), 0);
    }
}

#[tokio::test]
async fn nothing_is_said_to_be_missed_while_many_come_and_go() {
    nothing_is_missed_while_many_come_and_go(&standalone().url()).await;
}

#[tokio::test]
async fn nothing_is_said_to_be_missed_while_many_come_and_go_in_a_cluster() {
    nothing_is_missed_while_many_come_and_go(&three_primaries().url()).await;
}

#[tokio::test]
async fn a_changed_ttl_holds_for_the_lease_too() {
    let prefix = some_prefix();
    let url = standalone().url();
    let (a, b) = (gateway(&url, &prefix).await, gateway(&url, &prefix).await);
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    for (gateway, name) in [(&a, "alice"), (&b, "bob")] {
        let joined = gateway.broker.join(&room, &user(name)).await;
        joined.expect("joins");
    }
    let leases = || {
        let key = format!("{prefix}:gw");
        let scores = standalone().text_list(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]);
        let expiries: Vec<f64> = scores
            .chunks(2)
            .map(|pair| pair[1].parse().expect("a score"))
            .collect();
        expiries
    };
    let before = leases();
    let long = Duration::from_hours(1);
    for gateway in [&a, &b] {
        gateway.broker.set_presence_ttl(long);
    }
    eventually("both leases are longer", || {
        leases()
            .iter()
            .all(|expiry| *expiry > before[0] + 3_000_000.0)
    })
    .await;
    for gateway in [&a, &b] {
        gateway.broker.set_presence_ttl(PRESENCE_TTL);
    }
    eventually("both leases are shorter again", || {
        leases()
            .iter()
            .all(|expiry| *expiry < before[0] + 1_000_000.0)
    })
    .await;
    tokio::time::sleep(PRESENCE_TTL).await;
    b.broker.close().await;
    let crashed = Instant::now();
    eventually("bob is announced to be gone", || {
        let changes = a.events.presence(&room);
        changes
            .last()
            .is_some_and(|change| left(change) == (vec![user("bob")], 1))
    })
    .await;
    assert!(crashed.elapsed() < PRESENCE_TTL + Duration::from_secs(5));
}

#[tokio::test]
async fn while_nothing_happens_presence_costs_one_lease_and_a_glance_at_each_room() {
    const ROOMS: u32 = 300;
    let server = Server::start(&[]);
    let gateway = gateway(&server.url(), &some_prefix()).await;
    let rooms: Vec<_> = (0..ROOMS).map(|_| some_room()).collect();
    let enter = rooms.iter().map(async |room| {
        gateway.broker.subscribe(room).await.expect("subscribes");
        let joined = gateway.broker.join(room, &user("alice")).await;
        joined.expect("joins");
    });
    futures::future::join_all(enter).await;
    let calls = || {
        let info = server.text(&["INFO", "commandstats"]);
        let line = |line: &str| {
            let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls: u32 = stats.split(',').next()?.parse().ok()?;
            Some((name.to_owned(), calls))
        };
        info.lines().filter_map(line).collect::<BTreeMap<_, _>>()
    };
    server.run(&["CONFIG", "RESETSTAT"]);
    // The quiet check goes through all rooms once a second in tests.
    let started = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let calls = calls();
    let seconds = u32::try_from(started.elapsed().as_secs()).expect("not long");
    let of = |name: &str| calls.get(name).copied().unwrap_or(0);
    let glances = ROOMS..=ROOMS * (seconds + 2);
    assert!(glances.contains(&of("xread")), "{calls:?}");
    assert!(glances.contains(&of("hget")), "{calls:?}");
    // Every 375 ms with this TTL.
    assert!(
        (1..=4 * (seconds + 2)).contains(&of("evalsha")),
        "{calls:?}"
    );
    assert_eq!(
        of("zadd"),
        of("evalsha"),
        "the scripts are all leases: {calls:?}"
    );
    let upkeep: u32 = ["hset", "hdel", "hgetall", "hscan", "spublish"]
        .map(of)
        .iter()
        .sum();
    assert_eq!(upkeep, 0, "{calls:?}");
}
