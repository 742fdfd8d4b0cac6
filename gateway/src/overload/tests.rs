//! The door, in paused time.

use std::cell::Cell;

use futures::future::join_all;
use tokio::time::Instant;

use super::*;

const MANY: fn() -> usize = || usize::MAX;

/// Enters where nothing but the line is in the way.
async fn enter(door: &Arc<Overload>) -> Result<Turn, Busy> {
    door.enter(|| 0, MANY).await
}

#[tokio::test(start_paused = true)]
async fn a_crowd_is_let_in_a_few_at_a_time_in_the_order_in_which_it_came() {
    let door = Overload::with(4, 100);
    let (under_way, most, done) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let start = Instant::now();
    join_all((0..40).map(async |place| {
        let mut turn = enter(&door).await.unwrap();
        under_way.set(under_way.get() + 1);
        most.set(most.get().max(under_way.get()));
        turn.during(tokio::time::sleep(Duration::from_millis(10)))
            .await;
        under_way.set(under_way.get() - 1);
        assert!(done.get() / 4 == place / 4, "{place} came out of turn");
        done.set(done.get() + 1);
    }))
    .await;
    assert_eq!((done.get(), most.get()), (40, 4));
    assert_eq!(start.elapsed(), Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_line_too_long_is_told_at_once_and_who_waits_too_long_in_a_while() {
    let door = Overload::with(1, 2);
    let _inside = enter(&door).await.unwrap();
    let start = Instant::now();
    let waiting = join_all((0..2).map(|_| enter(&door)));
    let too_many = async {
        tokio::task::yield_now().await;
        let refused = enter(&door).await.unwrap_err();
        assert_eq!((refused, start.elapsed()), (Busy::Crowd, Duration::ZERO));
    };
    let (waited, ()) = tokio::join!(waiting, too_many);
    assert!(
        waited
            .into_iter()
            .all(|one| matches!(one, Err(Busy::Crowd)))
    );
    assert_eq!(start.elapsed(), LONGEST_WAIT);
    assert_eq!(door.line.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_leaves_the_line_and_its_turn() {
    let door = Overload::with(1, 1);
    let inside = enter(&door).await.unwrap();
    for _ in 0..3 {
        let impatient = timeout(Duration::from_secs(1), enter(&door)).await;
        assert!(impatient.is_err(), "it was refused though it was alone");
    }
    drop(inside);
    enter(&door).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_waits_for_redis_does_not_keep_others_out() {
    let door = Overload::with(1, 10);
    let mut stuck = enter(&door).await.unwrap();
    let start = Instant::now();
    let (next, ()) = tokio::join!(
        enter(&door),
        stuck.during(tokio::time::sleep(Duration::from_secs(4)))
    );
    assert!(next.is_ok());
    assert_eq!(start.elapsed(), Duration::from_secs(4));
}

#[tokio::test]
async fn the_last_place_is_never_given_twice() {
    let door = Overload::with(8, 8);
    let connections = Cell::new(9);
    let enter = || door.enter(|| connections.get(), || 10);
    let last = enter().await.unwrap();
    assert_eq!(enter().await.unwrap_err(), Busy::Full);
    connections.set(10);
    let last = last.arrived();
    assert_eq!(enter().await.unwrap_err(), Busy::Full);
    connections.set(9);
    enter().await.unwrap();
    drop(last);
}

#[tokio::test]
async fn past_the_watermark_nobody_is_let_in_until_memory_is_well_below_it() {
    let door = Overload::with(8, 8);
    let used = |used| Usage { used, limit: 1000 };
    assert_eq!(door.note_memory(used(849), 85), None);
    enter(&door).await.unwrap();
    assert_eq!(door.note_memory(used(850), 85), Some(true));
    assert_eq!(enter(&door).await.unwrap_err(), Busy::Memory);
    assert_eq!(door.note_memory(used(840), 85), None);
    assert_eq!(enter(&door).await.unwrap_err(), Busy::Memory);
    assert_eq!(door.note_memory(used(829), 85), Some(false));
    enter(&door).await.unwrap();
}

#[test]
fn those_sent_away_come_back_at_times_of_their_own() {
    for (busy, range) in [
        (Busy::Full, FULL_RETRY_MS),
        (Busy::Memory, FULL_RETRY_MS),
        (Busy::Crowd, CROWD_RETRY_MS),
    ] {
        let times: Vec<_> = (0..1000).map(|_| busy.retry_after()).collect();
        let span = range.end - range.start;
        let bounds = |part| Duration::from_millis(range.start + span * part / 10);
        let early = times.iter().filter(|time| **time < bounds(3)).count();
        let late = times.iter().filter(|time| **time >= bounds(7)).count();
        assert!(early > 150 && late > 150, "{busy:?}: {early}, {late}");
        assert!(
            times
                .iter()
                .all(|time| *time >= bounds(0) && *time < bounds(10))
        );
    }
}

#[test]
fn a_line_takes_little_of_the_memory_there_is() {
    let mib = |mib: u64| Overload::new(Some(mib * 1024 * 1024)).longest_line;
    assert_eq!((mib(16), mib(128), mib(1024)), (256, 512, 4096));
    assert_eq!(mib(64 * 1024), LONGEST_LINE);
    assert_eq!(Overload::new(None).longest_line, LONGEST_LINE);
}
