use super::*;

fn writer(port: u16, history: &str) -> Arc<Writer> {
    Arc::new(Writer {
        address: Address::new("redis", port),
        run: format!("run-{port}").into(),
        history: history.into(),
    })
}

fn lines() -> Lines {
    Lines(vec![None; SLOTS.into()])
}

/// All slots are written by one.
fn observe(lines: &mut Lines, writer: &Arc<Writer>) -> Vec<Border> {
    lines.observe(|_| Some(Arc::clone(writer)), |_| false)
}

fn ancestors(lines: &Lines, slot: u16, history: &str) -> Option<Vec<String>> {
    let ancestors = lines.ancestors(slot, history)?;
    Some(ancestors.iter().map(ToString::to_string).collect())
}

#[test]
fn what_was_before_this_gateway_is_not_vouched_for() {
    let mut lines = lines();
    assert_eq!(ancestors(&lines, 0, "a"), None);
    assert!(observe(&mut lines, &writer(1, "a")).is_empty());
    assert_eq!(ancestors(&lines, 0, "a"), Some(vec![]));
    assert_eq!(ancestors(&lines, 0, "b"), None, "it may be about to come");
}

#[test]
fn a_chain_of_proven_borders_is_whole_up_to_the_first_that_is_not() {
    let mut lines = lines();
    observe(&mut lines, &writer(1, "a"));
    for (port, history, whole) in [(2, "b", false), (1, "c", true), (2, "d", true)] {
        let borders = observe(&mut lines, &writer(port, history));
        assert_eq!(borders.len(), 1);
        assert_eq!(borders[0].slots.len(), usize::from(SLOTS));
        assert_eq!(ancestors(&lines, 9, history), None, "it isn't proven yet");
        lines.settle(&borders[0], whole);
    }
    assert_eq!(
        ancestors(&lines, 9, "d"),
        Some(vec!["c".to_owned(), "b".to_owned()])
    );
}

#[test]
fn the_same_name_in_another_process_is_another_writer() {
    let mut lines = lines();
    observe(&mut lines, &writer(1, "a"));
    let restarted = Arc::new(Writer {
        run: "another".into(),
        ..Writer::clone(&writer(1, "a"))
    });
    assert_eq!(observe(&mut lines, &restarted).len(), 1);
}

#[test]
fn a_proof_that_comes_too_late_proves_only_what_it_is_about() {
    let mut lines = lines();
    observe(&mut lines, &writer(1, "a"));
    let first = observe(&mut lines, &writer(2, "b"));
    let second = observe(&mut lines, &writer(3, "c"));
    lines.settle(&first[0], true);
    assert_eq!(ancestors(&lines, 0, "c"), None);
    lines.settle(&second[0], true);
    // What flowed into b wasn't known when c came.
    assert_eq!(ancestors(&lines, 0, "c"), Some(vec!["b".to_owned()]));
}

#[test]
fn each_slot_has_its_own_line() {
    let mut lines = lines();
    observe(&mut lines, &writer(1, "a"));
    let (left, moved) = (writer(1, "a"), writer(2, "b"));
    let borders = lines.observe(
        |slot| match slot {
            7 => Some(Arc::clone(&moved)),
            8 => None,
            _ => Some(Arc::clone(&left)),
        },
        |writer| writer.address.port == 2,
    );
    assert_eq!(borders.len(), 1);
    assert_eq!(
        (&borders[0].slots[..], borders[0].seasoned),
        (&[7][..], true)
    );
    // By the old owner's word the slot is still its own.
    let own = SlotMap::single(Address::new("redis", 1));
    lines.settle(&borders[0], borders[0].is_given_away(&own));
    assert_eq!(ancestors(&lines, 7, "b"), Some(vec![]));
    assert_eq!(
        ancestors(&lines, 8, "a"),
        Some(vec![]),
        "nobody serves it: it stays"
    );
    let borders = observe(&mut lines, &moved);
    assert_eq!(borders.len(), 1, "the others came from one line");
    let mut given = own;
    for slot in 0..SLOTS {
        given.moved(slot, &Address::new("redis", 2));
    }
    lines.settle(&borders[0], borders[0].is_given_away(&given));
    assert_eq!(ancestors(&lines, 6, "b"), Some(vec!["a".to_owned()]));
    assert_eq!(ancestors(&lines, 7, "b"), Some(vec![]));
}

#[test]
fn only_so_many_generations_are_remembered() {
    let mut lines = lines();
    for generation in 0..2 * GENERATIONS {
        let borders = observe(&mut lines, &writer(1, &generation.to_string()));
        for border in borders {
            lines.settle(&border, true);
        }
    }
    let last = (2 * GENERATIONS - 1).to_string();
    assert_eq!(
        ancestors(&lines, 0, &last).map(|all| all.len()),
        Some(GENERATIONS)
    );
}
