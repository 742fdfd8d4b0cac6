//! The delivery contract as a property: whatever the broker loses, repeats, delays, trims or forgets in a failover, and whoever joins
//! with whatever position meanwhile, each member's stream has every message once and in order, or a gap that is true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use crate::actions;
use crate::broker::{Broker, Message, Retention};
use crate::gateway::Gateway;
use crate::ids::{Epoch, Position};
use crate::testing::{Client, End, FakeBroker, at, config, gateway, room};

mod held_back;
mod phases;

const MEMBERS: usize = 4;

/// Everything, as far as this broker is concerned.
const RETENTION: Retention = Retention {
    max_messages: 1000,
    max_age: Duration::from_hours(1),
};

/// What happens to the event of a message.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// After so many other things.
    Late(usize),
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Publish(Fate),
    /// A subscriber that was cut off, a moved slot, a quiet room that was checked.
    Interrupt,
    /// The oldest messages go.
    Trim(u64),
    /// A promoted replica lacks the newest.
    FailOver {
        lost: u64,
        end: End,
    },
    Delete,
    /// A read that was answered long ago gets its answer.
    Answer,
    Join {
        member: usize,
        from: From,
    },
    Leave(usize),
    Wait(u64),
}

/// The position of a join.
#[derive(Clone, Copy, Debug)]
enum From {
    Nothing,
    /// Where the member stood, a little earlier.
    Seen {
        back: u64,
    },
    Anywhere(u64, u64),
}

fn happenings() -> impl Strategy<Value = Happening> {
    let fate = prop_oneof![
        6 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        2 => (1usize..6).prop_map(Fate::Late),
    ];
    let from = prop_oneof![
        2 => Just(From::Nothing),
        4 => (0u64..4).prop_map(|back| From::Seen { back }),
        1 => (0u64..4, 0u64..12).prop_map(|(epoch, offset)| From::Anywhere(epoch, offset)),
    ];
    prop_oneof![
        12 => fate.prop_map(Happening::Publish),
        2 => Just(Happening::Interrupt),
        1 => (1u64..5).prop_map(Happening::Trim),
        1 => fail_over(),
        1 => Just(Happening::Delete),
        6 => Just(Happening::Answer),
        4 => (0..MEMBERS, from).prop_map(|(member, from)| Happening::Join { member, from }),
        1 => (0..MEMBERS).prop_map(Happening::Leave),
        3 => (1u64..400).prop_map(Happening::Wait),
    ]
}

fn fail_over() -> impl Strategy<Value = Happening> {
    let end = prop_oneof![Just(End::Torn), Just(End::Unknown)];
    prop_oneof![Just((0, End::Whole)).boxed(), (0u64..4, end).boxed(),]
        .prop_map(|(lost, end)| Happening::FailOver { lost, end })
}

/// What really happened, by which the streams are judged.
#[derive(Default)]
struct Truth {
    published: BTreeMap<Position, usize>,
    /// Messages that can't be had any more, and since when.
    gone: BTreeMap<Position, usize>,
    /// Where each past epoch ended, what is known of that, and since when.
    ends: BTreeMap<Epoch, (Position, End, usize)>,
    deletions: BTreeMap<Position, usize>,
}

impl Truth {
    /// Whether a message is the next one for someone who stands at a position.
    fn follows(&self, cursor: Position, message: Position) -> bool {
        if message == cursor.next() {
            return self.published.contains_key(&message);
        }
        // Across epochs only from the very end of one, and past none that has messages.
        self.ends
            .get(&cursor.epoch)
            .is_some_and(|(last, end, _)| *end == End::Whole && *last == cursor)
            && message.offset.0 == 1
            && self.nothing_between(cursor.epoch, message.epoch)
    }

    fn nothing_between(&self, after: Epoch, before: Epoch) -> bool {
        self.ends
            .range(Epoch(after.0 + 1)..before)
            .all(|(_, (last, end, _))| last.offset.0 == 0 && *end == End::Whole)
    }

    /// Whether something really can't be had, or can't be known to be had.
    fn explains(
        &self,
        after: Position,
        next: Position,
        reason: &str,
        asked: usize,
        now: usize,
    ) -> bool {
        let gone = || {
            self.gone
                .range(after.next()..)
                .take_while(|(position, _)| **position <= next)
                .any(|(_, since)| *since <= now)
        };
        if reason == "deleted" {
            return self.deletions.get(&next).is_some_and(|since| *since <= now);
        }
        // Which of several reasons is named doesn't count, only that something is missing, or may be.
        let past_the_end = self
            .ends
            .get(&after.epoch)
            .is_some_and(|(last, end, since)| {
                *since <= now && (after > *last || *end != End::Whole)
            });
        let forgotten = self.ends.len() >= 2 && after.epoch < self.last_closed();
        // What is read for a join may be as old as the join.
        let unheard_of = after.offset.0 > 0
            && self
                .published
                .get(&after)
                .is_none_or(|since| *since >= asked);
        let nowhere = after.offset.0 == 0 && after.epoch != next.epoch;
        gone()
            || past_the_end
            || forgotten
            || unheard_of
            || nowhere
            || !self.has_epoch(after.epoch, asked)
    }

    /// Whether an epoch had begun by then.
    fn has_epoch(&self, epoch: Epoch, asked: usize) -> bool {
        epoch.0 == 1
            || self
                .ends
                .get(&Epoch(epoch.0.saturating_sub(1)))
                .is_some_and(|(_, _, since)| *since < asked)
    }

    /// Whether a position is where someone stands: nothing lies between the end of one epoch and the start of the next.
    fn same_place(&self, cursor: Position, position: Position) -> bool {
        cursor == position
            || position.offset.0 == 0
                && cursor.epoch < position.epoch
                && self
                    .ends
                    .get(&cursor.epoch)
                    .is_some_and(|(last, end, _)| *end == End::Whole && *last == cursor)
                && self.nothing_between(cursor.epoch, position.epoch)
    }

    fn last_closed(&self) -> Epoch {
        self.ends.keys().next_back().copied().unwrap_or_default()
    }

    /// Whether a failover took a message: then no later deletion did.
    fn was_lost(&self, position: Position) -> bool {
        self.ends
            .get(&position.epoch)
            .is_some_and(|(last, _, _)| position > *last)
    }

    fn destroyed_between(&self, from: usize, to: usize) -> bool {
        let within = |since: &usize| (from..=to).contains(since);
        self.gone.values().any(within) || self.ends.values().any(|(_, _, since)| within(since))
    }
}

/// One member, and what it was told.
struct Member {
    client: Client,
    /// Joins under way and done: when each was asked for, and from where.
    joins: Vec<(usize, Option<Position>)>,
    /// Which of them the frames belong to.
    current: Option<(usize, Option<Position>)>,
    cursor: Option<Position>,
    /// After `recovered: true` with messages that were read for it, since when.
    recovered: Option<usize>,
    owed_gap: Option<Position>,
}

impl Member {
    fn read(&mut self, truth: &Truth, now: usize) -> Result<(), TestCaseError> {
        for frame in self.client.take() {
            self.judge(&frame, truth, now)?;
        }
        Ok(())
    }

    fn judge(&mut self, frame: &Value, truth: &Truth, now: usize) -> Result<(), TestCaseError> {
        let position = |name: &str| {
            frame[name]
                .as_str()
                .and_then(|id| id.parse::<Position>().ok())
        };
        match frame["type"].as_str().unwrap_or_default() {
            "joined" => {
                prop_assert!(self.owed_gap.is_none(), "a gap was owed");
                prop_assert!(!self.joins.is_empty(), "nobody asked");
                let (asked, from) = self.joins.remove(0);
                let id = position("id").expect("an id");
                self.current = Some((asked, from));
                self.recovered = None;
                match frame["recovered"].as_bool() {
                    None => self.cursor = Some(id),
                    Some(true) => {
                        prop_assert_eq!(Some(id), from);
                        self.cursor = from;
                        // One that stands where the room does is taken in without asking the broker, and then shares what the
                        // room doesn't know yet.
                        self.recovered = Some(asked).filter(|_| frame["replayed"] != 0);
                    }
                    Some(false) => {
                        self.cursor = from;
                        // One further on is told when it comes to that.
                        self.owed_gap = Some(id).filter(|id| Some(*id) != from);
                    }
                }
            }
            "gap" => {
                let (after, next) = (position("after").unwrap(), position("next").unwrap());
                let reason = frame["reason"].as_str().unwrap();
                let asked = self.current.map_or(0, |(asked, _)| asked);
                prop_assert!(
                    truth.explains(after, next, reason, asked, now),
                    "nothing is missing: {frame}"
                );
                let cursor = self.cursor.expect("it joined");
                prop_assert!(
                    truth.same_place(cursor, after),
                    "it stands at {cursor}: {frame}"
                );
                if let Some(owed) = self.owed_gap.take() {
                    prop_assert_eq!(next, owed);
                }
                // A deletion is told to those too who have had all that it took.
                let took_nothing = reason == "deleted"
                    && truth
                        .published
                        .range(after.next()..next)
                        .all(|(position, _)| truth.was_lost(*position));
                if let Some(asked) = self.recovered.filter(|_| !took_nothing) {
                    prop_assert!(
                        truth.destroyed_between(asked, now),
                        "it was told that it recovered"
                    );
                }
                self.cursor = Some(next);
            }
            "message" => {
                let id = position("id").unwrap();
                let cursor = self.cursor.expect("it joined");
                prop_assert!(self.owed_gap.is_none(), "a gap was owed before {id}");
                prop_assert!(truth.follows(cursor, id), "{id} after {cursor}");
                self.cursor = Some(id);
            }
            "left" => {
                self.cursor = None;
                self.recovered = None;
            }
            _ => {}
        }
        Ok(())
    }
}

struct World {
    gateway: Arc<Gateway>,
    broker: Arc<FakeBroker>,
    members: Vec<Member>,
    truth: Truth,
    /// Events on their way, and how many things happen before they arrive.
    late: Vec<(usize, Message)>,
    tasks: tokio::task::JoinSet<()>,
}

impl World {
    fn new() -> Self {
        let (gateway, broker) = gateway(config(&["lobby"]));
        broker.faults.lock().hold_answers = true;
        let members = (0..MEMBERS)
            .map(|index| Member {
                client: Client::connect(&gateway, &format!("user-{index}")),
                joins: Vec::new(),
                current: None,
                cursor: None,
                recovered: None,
                owed_gap: None,
            })
            .collect();
        Self {
            gateway,
            broker,
            members,
            truth: Truth::default(),
            late: Vec::new(),
            tasks: tokio::task::JoinSet::new(),
        }
    }

    async fn happens(&mut self, happening: Happening, now: usize) {
        match happening {
            Happening::Publish(fate) => {
                let message = self.broker.store("lobby");
                self.truth.published.insert(message.position, now);
                match fate {
                    Fate::Lost => {}
                    Fate::Late(things) => self.late.push((things, message)),
                    Fate::Arrives => self.broker.deliver("lobby", message),
                    Fate::Twice => {
                        self.broker.deliver("lobby", message.clone());
                        self.broker.deliver("lobby", message);
                    }
                }
            }
            Happening::Interrupt => self.broker.interrupt("lobby"),
            Happening::Trim(count) => {
                let state = self.broker.state("lobby");
                let Some(oldest) = state.oldest else { return };
                let through = at(oldest.epoch.0, oldest.offset.0 + count - 1);
                self.broker.trim("lobby", through);
                self.gone_through(oldest, through, now);
            }
            Happening::FailOver { lost, end } => {
                let top = self.broker.state("lobby").top;
                let last = at(top.epoch.0, top.offset.0.saturating_sub(lost));
                self.broker.fail_over("lobby", lost, end);
                self.truth.ends.insert(top.epoch, (last, end, now));
                self.gone_through(last.next(), top, now);
            }
            Happening::Delete => {
                let before = self.broker.state("lobby").top;
                self.gone_through(at(0, 0), before, now);
                self.broker
                    .delete_messages(&room("lobby"), RETENTION)
                    .await
                    .unwrap();
                // It has a place among the messages, and can't be read for ever either.
                let place = self.broker.state("lobby").top;
                self.truth.published.insert(place, now);
                self.truth.gone.insert(place, now);
                self.truth.deletions.insert(place, now);
            }
            Happening::Answer => self.broker.answers.add_permits(1),
            Happening::Join { member, from } => self.join(member, from, now),
            Happening::Leave(member) => {
                let member = &mut self.members[member];
                // One at a time, as a connection's commands are.
                if member.joins.is_empty() && member.cursor.is_some() {
                    let connection = &member.client.connection;
                    actions::leave(&self.gateway, connection, &room("lobby")).unwrap();
                    member.cursor = None;
                    member.recovered = None;
                    member.owed_gap = None;
                    member.client.take();
                }
            }
            Happening::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        self.arrivals();
    }

    fn gone_through(&mut self, from: Position, through: Position, now: usize) {
        if from > through {
            return;
        }
        for (position, _) in self.truth.published.range(from..=through) {
            self.truth.gone.entry(*position).or_insert(now);
        }
    }

    fn arrivals(&mut self) {
        for (things, _) in &mut self.late {
            *things = things.saturating_sub(1);
        }
        let (arrived, late) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(things, _)| *things == 0);
        self.late = late;
        let arrived: Vec<_> = arrived;
        for (_, message) in arrived {
            self.broker.deliver("lobby", message);
        }
    }

    fn join(&mut self, index: usize, from: From, now: usize) {
        let member = &mut self.members[index];
        if !member.joins.is_empty() {
            return;
        }
        let last_seen = match from {
            From::Nothing => None,
            From::Seen { back } => member
                .cursor
                .map(|cursor| at(cursor.epoch.0, cursor.offset.0.saturating_sub(back))),
            From::Anywhere(epoch, offset) => Some(at(epoch, offset)),
        };
        member.joins.push((now, last_seen));
        // What its stream brings from here on is an earlier join's until `joined` comes.
        let (gateway, connection) = (
            Arc::clone(&self.gateway),
            Arc::clone(&member.client.connection),
        );
        self.tasks.spawn(async move {
            actions::join(&gateway, &connection, &room("lobby"), last_seen, &None)
                .await
                .unwrap();
        });
    }

    /// Everything that is under way comes to its end, and the quiet check finds what was never delivered.
    async fn settle(&mut self) {
        self.broker.faults.lock().hold_answers = false;
        self.broker.answers.add_permits(10_000);
        tokio::time::sleep(Duration::from_mins(1)).await;
        for (things, _) in &mut self.late {
            *things = 0;
        }
        self.arrivals();
        self.broker.interrupt("lobby");
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
}

async fn run(happenings: Vec<Happening>) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for (now, happening) in happenings.iter().enumerate() {
        world.happens(*happening, now).await;
        // Whatever can go on does.
        tokio::time::sleep(Duration::from_millis(1)).await;
        for member in &mut world.members {
            member.read(&world.truth, now)?;
        }
    }
    world.settle().await;
    let now = happenings.len();
    let top = world.broker.state("lobby").top;
    for member in &mut world.members {
        member.read(&world.truth, now)?;
        prop_assert!(member.joins.is_empty() && member.owed_gap.is_none());
        if let Some(cursor) = member.cursor {
            let at_the_end = cursor == top
                || top.offset.0 == 0
                    && world
                        .truth
                        .ends
                        .get(&cursor.epoch)
                        .is_some_and(|(last, end, _)| *end == End::Whole && *last == cursor)
                    && world.truth.nothing_between(cursor.epoch, top.epoch);
            prop_assert!(at_the_end, "it stands at {cursor}, the room at {top}");
        }
    }
    Ok(())
}

fn run_paused(happenings: Vec<Happening>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(run(happenings))
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4000, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn every_member_is_told_each_message_once_in_order_or_a_true_gap(
        happenings in proptest::collection::vec(happenings(), 1..80)
    ) {
        run_paused(happenings)?;
    }
}

/// A replay that went further than the room has, and a room that then reads a gap beyond both.
#[test]
fn one_whose_replay_is_ahead_of_the_room_is_told_the_gap_from_where_it_stands() {
    use Happening::{Answer, FailOver, Join, Publish};
    let join = |from| Join { member: 0, from };
    let happenings = vec![
        Answer,
        Publish(Fate::Arrives),
        Publish(Fate::Arrives),
        join(From::Nothing),
        Publish(Fate::Arrives),
        Publish(Fate::Lost),
        join(From::Seen { back: 1 }),
        Publish(Fate::Lost),
        FailOver {
            lost: 0,
            end: End::Unknown,
        },
        Publish(Fate::Arrives),
        Answer,
        Publish(Fate::Arrives),
    ];
    run_paused(happenings).unwrap();
}

#[test]
fn one_whose_replay_is_ahead_of_the_room_is_told_of_a_torn_end_that_the_room_skips() {
    use Happening::{Answer, FailOver, Join};
    let fail_over = |end| FailOver { lost: 0, end };
    let happenings = vec![
        Join {
            member: 0,
            from: From::Anywhere(0, 0),
        },
        fail_over(End::Whole),
        Answer,
        fail_over(End::Torn),
        Answer,
    ];
    run_paused(happenings).unwrap();
}

#[test]
fn one_whose_replay_is_ahead_of_the_room_is_told_of_a_deletion_in_the_next_epoch() {
    use Happening::{Answer, Delete, FailOver, Join, Publish};
    let join = |member, from| Join { member, from };
    let happenings = vec![
        join(0, From::Nothing),
        join(3, From::Nothing),
        Publish(Fate::Lost),
        Answer,
        Publish(Fate::Arrives),
        Publish(Fate::Lost),
        Publish(Fate::Twice),
        Answer,
        Delete,
        join(3, From::Seen { back: 1 }),
        FailOver {
            lost: 0,
            end: End::Whole,
        },
        Delete,
        Answer,
        Publish(Fate::Arrives),
        Publish(Fate::Arrives),
        Answer,
    ];
    run_paused(happenings).unwrap();
}
