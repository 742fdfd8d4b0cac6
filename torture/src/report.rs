//! What a run prints: a line now and then, figures at the end, what surrounds each violation, and the verdict last.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::arena::{Arena, Counters, read};
use crate::checker::{Borders, Verdict, Violation};
use crate::history::{Entry, Event, GapReason, History, Millis, Outcome, Transport, Window};
use crate::nemesis::Done;

/// Violations that are shown in full, and what is shown around each.
const SHOWN: usize = 10;
const ENTRIES_AROUND: usize = 8;
const FAULTS_AROUND_MS: Millis = 8000;

/// All that there is to tell.
pub struct Summary<'a> {
    pub history: &'a History,
    pub verdict: &'a Verdict,
    pub complaints: &'a [(Millis, String)],
    pub faults: &'a [Done],
    pub counters: &'a Counters,
    pub worst_silence: Duration,
}

/// How it goes.
pub fn progress(arena: &Arena, faults: &[Done]) -> String {
    let counters = &arena.counters;
    format!(
        "{:>5} s  published {} (refused {}, unknown {})  delivered {}  connections {}  gaps {}  faults {}{}",
        arena.clock.now() / 1000,
        read(&counters.acked),
        read(&counters.refused),
        read(&counters.unknown),
        counters.all_deliveries(),
        counters.all_sessions(),
        counters.all_gaps(),
        faults.len(),
        faults
            .last()
            .map(|done| format!(", last {}", done.kind))
            .unwrap_or_default(),
    )
}

/// The last line.
pub fn verdict(all_well: bool, seed: u64) -> String {
    if all_well {
        format!("VERDICT: the delivery contract was kept (seed {seed})")
    } else {
        format!("VERDICT: the delivery contract was BROKEN (seed {seed})")
    }
}

/// All that is known of a run, for whoever looks into it: what was published, what each subscriber saw, what Redis holds, and every violation.
pub fn everything(summary: &Summary<'_>) -> String {
    let mut text = String::new();
    write_everything(&mut text, summary).expect("text into memory can't fail");
    text
}

fn write_everything(text: &mut String, summary: &Summary<'_>) -> std::fmt::Result {
    let history = summary.history;
    for done in summary.faults {
        let Window { from, until } = done.window;
        writeln!(text, "fault {from}..{until} ms: {}", done.what)?;
    }
    for publication in &history.publications {
        let room = &history.rooms[publication.room.0].name;
        writeln!(text, "published to {room}: {publication:?}")?;
    }
    for room in &history.rooms {
        writeln!(text, "Redis holds of {}: {:?}", room.name, room.log)?;
        writeln!(text, "ends of its epochs: {:?}", room.ends)?;
    }
    for stream in &history.streams {
        let room = &history.rooms[stream.room.0].name;
        writeln!(text, "what {} saw of {room}:", stream.subscriber)?;
        for entry in &stream.entries {
            writeln!(text, "  {}", describe(entry))?;
        }
    }
    for (at, complaint) in summary.complaints {
        writeln!(text, "VIOLATION Protocol at {at} ms: {complaint}")?;
    }
    for violation in &summary.verdict.violations {
        excerpt(text, summary, violation)?;
    }
    Ok(())
}

/// Violations and figures.
pub fn render(summary: &Summary<'_>) -> String {
    let mut text = String::new();
    violations(&mut text, summary).expect("text into memory can't fail");
    figures(&mut text, summary).expect("text into memory can't fail");
    text
}

fn violations(text: &mut String, summary: &Summary<'_>) -> std::fmt::Result {
    for (at, complaint) in summary.complaints.iter().take(SHOWN) {
        writeln!(text, "\nVIOLATION Protocol at {at} ms: {complaint}")?;
        nearby_faults(text, summary, *at)?;
    }
    for violation in summary.verdict.violations.iter().take(SHOWN) {
        excerpt(text, summary, violation)?;
    }
    let all = summary.verdict.violations.len() + summary.complaints.len();
    if all > 0 {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for violation in &summary.verdict.violations {
            *kinds.entry(format!("{:?}", violation.kind)).or_default() += 1;
        }
        writeln!(
            text,
            "\n{all} violations: {kinds:?}, and {} complaints",
            summary.complaints.len()
        )?;
    }
    Ok(())
}

fn excerpt(text: &mut String, summary: &Summary<'_>, violation: &Violation) -> std::fmt::Result {
    let room = &summary.history.rooms[violation.room.0].name;
    writeln!(
        text,
        "\nVIOLATION {:?} in {room} at {} ms: {}",
        violation.kind, violation.at, violation.text
    )?;
    if let Some(place) = violation.place {
        let stream = &summary.history.streams[place.stream];
        writeln!(text, "  what {} saw of {room}:", stream.subscriber)?;
        let from = place.entry.saturating_sub(ENTRIES_AROUND);
        let until = (place.entry + ENTRIES_AROUND / 2).min(stream.entries.len());
        for (index, entry) in stream.entries.iter().enumerate().take(until).skip(from) {
            let mark = if index == place.entry { ">" } else { " " };
            writeln!(text, "  {mark} {}", describe(entry))?;
        }
    }
    nearby_faults(text, summary, violation.at)
}

fn nearby_faults(text: &mut String, summary: &Summary<'_>, at: Millis) -> std::fmt::Result {
    for done in summary.faults {
        let near =
            done.window.from <= at + FAULTS_AROUND_MS && done.window.until + FAULTS_AROUND_MS >= at;
        if near {
            writeln!(
                text,
                "  fault {}..{} ms: {}",
                done.window.from, done.window.until, done.what
            )?;
        }
    }
    Ok(())
}

fn describe(entry: &Entry) -> String {
    let what = match entry.event {
        Event::Joining {
            cursor,
            transport,
            gateway,
        } => {
            let after = cursor.map_or_else(|| "nothing".to_owned(), |cursor| cursor.to_string());
            format!(
                "joins gateway {gateway} by {} after {after}",
                transport.as_str()
            )
        }
        Event::Joined {
            id,
            recovered,
            replayed,
        } => {
            format!("joined at {id}, recovered {recovered:?}, replayed {replayed}")
        }
        Event::Message { position, content } => format!("message {position} {content}"),
        Event::Gap {
            after,
            next,
            reason,
        } => format!("gap {} from {after} to {next}", reason.as_str()),
        Event::Left => "left".to_owned(),
    };
    format!("{:>8} ms  {what}", entry.at)
}

fn figures(text: &mut String, summary: &Summary<'_>) -> std::fmt::Result {
    let Summary {
        history,
        verdict,
        counters,
        faults,
        ..
    } = summary;
    let with = |outcome: fn(&Outcome) -> bool| {
        history
            .publications
            .iter()
            .filter(|publication| outcome(&publication.outcome))
            .count()
    };
    writeln!(text)?;
    writeln!(
        text,
        "published       {} acknowledged, {} refused, {} unknown, in {} attempts",
        with(|outcome| matches!(outcome, Outcome::Acked(_))),
        with(|outcome| *outcome == Outcome::Refused),
        with(|outcome| *outcome == Outcome::Unknown),
        read(&counters.attempts),
    )?;
    for transport in Transport::ALL {
        let sessions = counters.sessions_by(transport);
        if sessions > 0 {
            writeln!(
                text,
                "delivered       {} by {} over {sessions} connections",
                counters.deliveries_by(transport),
                transport.as_str(),
            )?;
        }
    }
    writeln!(
        text,
        "recoveries      {} true, {} false; told to reconnect {} times",
        read(&counters.recovered),
        read(&counters.not_recovered),
        read(&counters.told_to_reconnect),
    )?;
    let gaps =
        GapReason::ALL.map(|reason| format!("{} {}", counters.gaps_by(reason), reason.as_str()));
    writeln!(text, "gaps            {}", gaps.join(", "))?;
    writeln!(
        text,
        "failovers took  {} acknowledged messages, {} of them in replicated rooms; {} keyed ones were stored again",
        verdict.lost, verdict.lost_replicated, verdict.stored_again,
    )?;
    let Borders {
        proven,
        unproven,
        quiet,
    } = verdict.borders;
    writeln!(
        text,
        "epochs          {proven} borders passed without a gap, {unproven} with one; {quiet} of all in quiet times",
    )?;
    writeln!(
        text,
        "longest silence {:.1} s in which a subscriber got nothing",
        summary.worst_silence.as_secs_f64()
    )?;
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for done in *faults {
        *kinds.entry(done.kind).or_default() += 1;
    }
    let kinds: Vec<_> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    writeln!(text, "faults          {}", kinds.join(", "))
}
