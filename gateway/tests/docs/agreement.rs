//! The lists of the page are those of the code.

use std::collections::BTreeSet;

use axum::response::IntoResponse;
use rotunda_gateway::dialect::{CloseReason, ErrorCode, Failure, GapReason};

use crate::page::{Page, code_words};

/// The client's own end: nothing to act on.
const NORMAL: u16 = 1000;

fn protocol() -> Page {
    Page::read("docs/protocol.md")
}

#[test]
fn the_close_codes_are_those_of_the_gateway() {
    let table = protocol().table("Close codes");
    let shown: BTreeSet<u16> = table
        .iter()
        .flat_map(|row| {
            row[0]
                .split(", ")
                .map(|code| code.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    let sent: BTreeSet<u16> = CloseReason::ALL
        .iter()
        .map(|reason| reason.code())
        .filter(|code| *code != NORMAL)
        .collect();
    assert_eq!(shown, sent);
}

#[test]
fn the_page_bars_from_coming_back_whom_the_gateway_does() {
    let mut told = 0;
    for row in protocol().table("Close codes") {
        for reason in CloseReason::ALL {
            if row[0]
                .split(", ")
                .any(|code| code == reason.code().to_string())
            {
                let bars = row[2].starts_with("not reconnect");
                assert_eq!(bars, reason.bars_return(), "{reason:?}: {}", row[2]);
                told += 1;
            }
        }
    }
    assert!(told >= 13, "{told}");
}

#[test]
fn the_error_codes_are_those_of_the_gateway() {
    let table = protocol().table("Errors");
    let shown: BTreeSet<&str> = table.iter().flat_map(|row| code_words(&row[0])).collect();
    let known: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(shown, known);
    for row in table {
        for code in ErrorCode::ALL
            .iter()
            .filter(|code| row[0] == format!("`{}`", code.as_str()))
        {
            let status = Failure::new(*code, "").into_response().status();
            assert_eq!(row[1], status.as_str(), "{code:?}");
        }
    }
}

#[test]
fn the_gap_reasons_are_those_of_the_gateway() {
    let table = protocol().table("Gaps");
    let shown: BTreeSet<&str> = table.iter().flat_map(|row| code_words(&row[0])).collect();
    let known: BTreeSet<&str> = GapReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(shown, known);
}
