//! A run, from its begin to its verdict.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::arena::{Arena, Clock, Phase, ROOMS, manifests};
use crate::checker;
use crate::cli::Options;
use crate::client::publisher::{self, Publisher};
use crate::client::subscriber::{self, FINISH_PATIENCE, Subscriber};
use crate::gateways::Gateways;
use crate::history::{History, Position, Room, RoomIndex, Transport};
use crate::nemesis::Nemesis;
use crate::nemesis::schedule::{self, GatewayFault, RedisFault};
use crate::process::Workshop;
use crate::redis::Cluster;
use crate::report::{self, Summary};

/// How long a draining gateway takes.
const DRAIN_SECONDS: u32 = 3;

/// The mean time between two messages of one publisher.
const PAUSE: Duration = Duration::from_millis(80);

/// In how many rooms each subscriber is.
const ROOMS_EACH: usize = 3;

/// How long Redis and the gateways may take to be well again when the faults are over.
const HEALING_PATIENCE: Duration = Duration::from_secs(90);

/// In the folder of a run that is kept.
const EVERYTHING_FILE: &str = "history.txt";

/// Runs the test; whether the contract was kept.
pub async fn run(options: &Options) -> anyhow::Result<bool> {
    let seed = options.seed.unwrap_or_else(|| rand::rng().random());
    check_kinds(&options.faults)?;
    println!(
        "seed {seed}: rotunda-torture --seed {seed} --seconds {}",
        options.seconds
    );
    let workshop = Workshop::open()?;
    if options.keep {
        workshop.keep();
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let result = tokio::select! {
        result = torture(options, seed, &workshop) => result,
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
    };
    let all_well = matches!(result, Ok(true));
    let kept = !all_well || options.keep;
    if kept {
        workshop.keep();
        let folder = workshop.root().display();
        println!("logs of the processes, and in {EVERYTHING_FILE} what everyone saw: {folder}");
    }
    if result.is_ok() {
        println!("{}", report::verdict(all_well, seed));
    }
    result
}

fn check_kinds(kinds: &[String]) -> anyhow::Result<()> {
    for kind in kinds {
        let known = GatewayFault::KINDS.iter().chain(&RedisFault::KINDS);
        ensure!(
            kind == "none" || known.clone().any(|one| one == kind),
            "--faults: there is no `{kind}`; there are: {}",
            known.copied().collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

/// The gateway that was built together with this program.
fn gateway_program(options: &Options) -> anyhow::Result<PathBuf> {
    let program = match &options.gateway {
        Some(program) => std::path::absolute(program)?,
        None => std::env::current_exe()?.with_file_name("rotunda-gateway"),
    };
    ensure!(
        program.is_file(),
        "there is no {}: run `make build`, or name a gateway with --gateway",
        program.display()
    );
    Ok(program)
}

async fn torture(options: &Options, seed: u64, workshop: &Arc<Workshop>) -> anyhow::Result<bool> {
    let cluster = Arc::new(Cluster::start(workshop).await.context("Redis")?);
    let gateways = Gateways::start(
        workshop,
        &gateway_program(options)?,
        usize::from(options.gateways),
        &manifests(DRAIN_SECONDS),
        cluster.url(),
    )
    .await
    .context("the gateways")?;
    let length = Duration::from_secs(options.seconds);
    let arena = Arc::new(Arena::new(gateways, Clock::start(), length));
    let (phase, watched) = watch::channel(Phase::Running);
    let clients = Clients::start(&arena, options, seed, &watched)?;
    let nemesis = Nemesis::new(&arena, &cluster);
    let observed = harm(options, seed, &arena, &cluster, &nemesis, length).await;
    if observed.is_err() {
        // For the logs: what led to it is worth more than what it did to the clients.
        return observed.map(|_| false);
    }
    println!(
        "faults are over after {} s; healing",
        arena.clock.now() / 1000
    );
    heal(&arena, &cluster).await?;
    phase.send_replace(Phase::Settling);
    let gathered = clients.finish(&arena, &phase, seed).await?;
    let shards = cluster.wait_until_healthy(HEALING_PATIENCE).await?;
    let mut rooms = Vec::new();
    for (spec, (marker, ends)) in ROOMS.iter().zip(gathered.markers.iter().zip(observed?)) {
        rooms.push(Room {
            name: spec.name.to_owned(),
            replicated: spec.replicated(),
            log: cluster
                .log(&shards, arena.gateways.prefix(), spec.name)
                .await?,
            keeps_all: spec.keeps_all(),
            ends: ends.into_iter().collect(),
            marker: *marker,
        });
    }
    arena.gateways.check().await?;
    let history = History {
        rooms,
        publications: gathered.publications,
        streams: gathered.streams,
        double_losses: nemesis.double_losses(),
        unsettled: nemesis.unsettled(),
        planned: nemesis.planned(),
        deaths: nemesis.deaths(),
        began_unix_ms: arena.clock.began_unix_ms,
    };
    let verdict = checker::check(&history);
    let summary = Summary {
        history: &history,
        verdict: &verdict,
        complaints: &gathered.complaints,
        faults: &nemesis.done(),
        counters: &arena.counters,
        worst_silence: gathered.worst_silence,
    };
    print!("{}", report::render(&summary));
    let kept = verdict.violations.is_empty() && gathered.complaints.is_empty();
    if !kept || options.keep {
        let file = workshop.root().join(EVERYTHING_FILE);
        std::fs::write(file, report::everything(&summary))?;
    }
    Ok(kept)
}

/// Does faults for as long as asked; gives the ends of epochs that were seen meanwhile, for each room.
async fn harm(
    options: &Options,
    seed: u64,
    arena: &Arc<Arena>,
    cluster: &Arc<Cluster>,
    nemesis: &Arc<Nemesis>,
    length: Duration,
) -> anyhow::Result<Vec<BTreeSet<Position>>> {
    let stop = CancellationToken::new();
    let mut lanes = JoinSet::new();
    let kinds = &options.faults;
    let gateways = schedule::gateways(seed, arena.gateways.count(), kinds);
    let (one, stopped) = (Arc::clone(nemesis), stop.clone());
    lanes.spawn(async move { one.harm_gateways(gateways, stopped).await });
    let redis = schedule::redis(seed, kinds);
    let (one, stopped) = (Arc::clone(nemesis), stop.clone());
    lanes.spawn(async move { one.harm_redis(redis, stopped).await });
    let watching = tokio::spawn(watch_ends(
        Arc::clone(cluster),
        arena.gateways.prefix().to_owned(),
        stop.clone(),
    ));

    let deadline = sleep(length);
    tokio::pin!(deadline);
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    ticks.tick().await;
    loop {
        tokio::select! {
            () = &mut deadline => break,
            _ = ticks.tick() => {
                arena.gateways.check().await?;
                println!("{}", report::progress(arena, &nemesis.done()));
            }
            Some(ended) = lanes.join_next() => ended??,
        }
    }
    stop.cancel();
    while let Some(ended) = lanes.join_next().await {
        ended??;
    }
    Ok(watching.await?)
}

/// Asks Redis again and again where each room's earlier epoch ended. What it can't learn while Redis is harmed, it learns later.
async fn watch_ends(
    cluster: Arc<Cluster>,
    prefix: String,
    stop: CancellationToken,
) -> Vec<BTreeSet<Position>> {
    let mut ends = vec![BTreeSet::new(); ROOMS.len()];
    loop {
        let round = async {
            for (room, ends) in ROOMS.iter().zip(&mut ends) {
                if room.keeps_all() {
                    continue;
                }
                for server in 0..crate::redis::SERVERS {
                    // All but the owner send elsewhere, which is an error here.
                    cluster
                        .note_end(server, &prefix, room.name, ends)
                        .await
                        .ok();
                }
            }
            sleep(Duration::from_millis(300)).await;
        };
        if stop.run_until_cancelled(round).await.is_none() {
            return ends;
        }
    }
}

/// Ends all faults and waits until everything is well.
async fn heal(arena: &Arena, cluster: &Cluster) -> anyhow::Result<()> {
    cluster.revive().await?;
    cluster.wait_until_healthy(HEALING_PATIENCE).await?;
    arena.gateways.revive().await
}

/// The publishers and subscribers at work.
struct Clients {
    publishers: JoinSet<publisher::Notes>,
    subscribers: JoinSet<subscriber::Notes>,
}

/// Some keep to one transport, as many others change between all.
fn transports_of(subscriber: u64) -> &'static [Transport] {
    let kept = usize::try_from(subscriber % 8).unwrap_or_default();
    Transport::ALL.get(kept..=kept).unwrap_or(&Transport::ALL)
}

/// What they brought home.
#[derive(Default)]
struct Gathered {
    markers: Vec<Option<Position>>,
    publications: Vec<crate::history::Publication>,
    streams: Vec<crate::history::Stream>,
    complaints: Vec<(u64, String)>,
    worst_silence: Duration,
}

impl Clients {
    fn start(
        arena: &Arc<Arena>,
        options: &Options,
        seed: u64,
        phase: &watch::Receiver<Phase>,
    ) -> anyhow::Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut publishers = JoinSet::new();
        for index in 0..options.publishers {
            let name = format!("publisher-{index}");
            let publisher = Publisher::new(arena, &name, index % 2 == 0, PAUSE, random.random())?;
            publishers.spawn(publisher.run(phase.clone()));
        }
        let mut subscribers = JoinSet::new();
        let all: Vec<RoomIndex> = (0..ROOMS.len()).map(RoomIndex).collect();
        for index in 0..options.subscribers {
            let mut rooms = all.clone();
            rooms.shuffle(&mut random);
            rooms.truncate(ROOMS_EACH);
            let name = format!("subscriber-{index}");
            let transports = transports_of(index);
            let subscriber = Subscriber::new(arena, name, &rooms, transports, random.random())?;
            subscribers.spawn(subscriber.run(phase.clone()));
        }
        Ok(Self {
            publishers,
            subscribers,
        })
    }

    /// Lets the publishers settle what is outstanding, sends the last message of each room, and waits until everyone has seen it.
    async fn finish(
        mut self,
        arena: &Arc<Arena>,
        phase: &watch::Sender<Phase>,
        seed: u64,
    ) -> anyhow::Result<Gathered> {
        let mut gathered = Gathered::default();
        while let Some(notes) = self.publishers.join_next().await {
            gathered.take(notes?);
        }
        for (index, room) in ROOMS.iter().enumerate() {
            let publisher = Publisher::new(arena, "marker", false, PAUSE, seed)?;
            let (marker, notes) = publisher.mark(RoomIndex(index)).await;
            if marker.is_none() {
                bail!("the last message of {} was not acknowledged", room.name);
            }
            gathered.markers.push(marker);
            gathered.take(notes);
        }
        phase.send_replace(Phase::Finishing(Arc::new(gathered.markers.clone())));
        let finishing = async {
            while let Some(notes) = self.subscribers.join_next().await {
                let notes = notes?;
                gathered.streams.extend(notes.streams);
                gathered.complaints.extend(notes.complaints);
                gathered.worst_silence = gathered.worst_silence.max(notes.worst_silence);
            }
            anyhow::Ok(())
        };
        timeout(2 * FINISH_PATIENCE, finishing)
            .await
            .context("a subscriber hangs")??;
        Ok(gathered)
    }
}

impl Gathered {
    fn take(&mut self, notes: publisher::Notes) {
        self.publications.extend(notes.publications);
        self.complaints.extend(notes.complaints);
    }
}
