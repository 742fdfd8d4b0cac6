//! What a page shows compared with what came: equal but for what differs from run to run.
//!
//! Ids, times and names of connections are examples in a page. The first time one is met it stands for what came in its place, and from
//! then on it must always stand for the same, in both directions. Of an id only the epoch is free: offsets are as the page says. `…` stands for
//! anything.

use std::collections::BTreeMap;

use regex::{Captures, Regex};
use rotunda_gateway::ids::Position;
use serde_json::Value;

/// Members that hold an id.
const IDS: [&str; 6] = [
    "id",
    "last_seen_id",
    "after",
    "before",
    "next",
    "connection",
];

/// Members that hold a time or a span, in milliseconds.
const TIMES: [&str; 4] = ["time", "last_seen", "after_ms", "retry_after_ms"];

/// What the page's examples stand for.
#[derive(Default)]
pub(crate) struct Bindings {
    real: BTreeMap<String, String>,
    shown: BTreeMap<String, String>,
}

impl Bindings {
    /// Compares JSON; the error says where they part.
    pub(crate) fn compare(&mut self, shown: &Value, came: &Value) -> Result<(), String> {
        self.compare_at("", shown, came)
    }

    fn compare_at(&mut self, member: &str, shown: &Value, came: &Value) -> Result<(), String> {
        match (shown, came) {
            (Value::Object(shown), Value::Object(came)) => {
                if !shown.keys().eq(came.keys()) {
                    let (shown, came): (Vec<_>, Vec<_>) =
                        (shown.keys().collect(), came.keys().collect());
                    return Err(format!("members {shown:?}, but {came:?} came"));
                }
                shown
                    .iter()
                    .zip(came.values())
                    .try_for_each(|((name, shown), came)| self.compare_at(name, shown, came))
            }
            (Value::Array(shown), Value::Array(came)) if shown.len() == came.len() => shown
                .iter()
                .zip(came)
                .try_for_each(|(shown, came)| self.compare_at(member, shown, came)),
            (Value::String(any), Value::String(_)) if any == "…" => Ok(()),
            (Value::String(shown), Value::String(came)) if IDS.contains(&member) => {
                self.same_id(shown, came)
            }
            (Value::Number(_), Value::Number(_)) if TIMES.contains(&member) => Ok(()),
            _ if shown == came => Ok(()),
            _ => Err(format!("`{member}` is {shown}, but {came} came")),
        }
    }

    /// Notes that an id in the page stands for one that came.
    pub(crate) fn same_id(&mut self, shown: &str, came: &str) -> Result<(), String> {
        match (shown.parse::<Position>(), came.parse::<Position>()) {
            (Ok(shown_at), Ok(came_at)) if shown_at.offset == came_at.offset => {
                let epoch = |position: Position| format!("epoch {}", position.epoch.0);
                self.bind(&epoch(shown_at), &epoch(came_at))
            }
            (Err(_), Err(_)) => self.bind(shown, came),
            _ => Err(format!("the id {shown}, but {came} came")),
        }
    }

    fn bind(&mut self, shown: &str, came: &str) -> Result<(), String> {
        let (real, back) = (came.to_owned(), shown.to_owned());
        let real = self.real.entry(shown.to_owned()).or_insert(real);
        let back = self.shown.entry(came.to_owned()).or_insert(back);
        if real == came && back == shown {
            Ok(())
        } else {
            Err(format!(
                "{shown} stands for {real}, but {came} came, which is {back}"
            ))
        }
    }

    /// A text of the page with what its ids stand for.
    pub(crate) fn substitute(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (shown, real) in self.real.iter().filter(|(shown, _)| !shown.contains(' ')) {
            text = text.replace(shown, real);
        }
        let id = Regex::new(r"\b(\d+)-(\d+)\b").unwrap();
        let replaced = id.replace_all(&text, |found: &Captures<'_>| {
            match self.real.get(&format!("epoch {}", &found[1])) {
                Some(epoch) => format!("{}-{}", epoch.trim_start_matches("epoch "), &found[2]),
                None => found[0].to_owned(),
            }
        });
        replaced.into_owned()
    }

    /// A line of text: `…` stands for anything; what follows `id: `, or stands alone, is an id, and what follows `data: ` is JSON.
    pub(crate) fn compare_line(&mut self, shown: &str, came: &str) -> Result<(), String> {
        let both = |prefix: &str| shown.strip_prefix(prefix).zip(came.strip_prefix(prefix));
        let alone = both("").filter(|(shown, _)| shown.parse::<Position>().is_ok());
        if let Some((shown, came)) = both("id: ").or(alone) {
            return self.same_id(shown, came);
        }
        if let Some((shown, came)) = both("data: ").or_else(|| both("")) {
            let parsed = (serde_json::from_str(shown), serde_json::from_str(came));
            if let (Ok(shown @ Value::Object(_)), Ok(came)) = parsed {
                return self.compare(&shown, &came);
            }
        }
        let literal: Vec<_> = shown.split('…').map(regex::escape).collect();
        let pattern = Regex::new(&format!("^{}$", literal.join(".*"))).unwrap();
        if pattern.is_match(came) {
            Ok(())
        } else {
            Err(format!("the line {shown:?}, but {came:?} came"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_epoch_stands_for_one_other_and_offsets_are_meant() {
        let mut bindings = Bindings::default();
        bindings
            .compare(&json!({ "id": "7-1" }), &json!({ "id": "99-1" }))
            .unwrap();
        assert_eq!(
            bindings.substitute("?last_seen_id=7-3&other=8-1"),
            "?last_seen_id=99-3&other=8-1"
        );
        for (shown, came) in [("7-2", "98-2"), ("6-2", "99-2"), ("7-2", "99-3")] {
            bindings
                .compare(&json!({ "id": shown }), &json!({ "id": came }))
                .unwrap_err();
        }
    }

    #[test]
    fn times_are_free_and_all_else_is_meant() {
        let mut bindings = Bindings::default();
        let shown = json!({ "time": 1, "data": [1, { "x": null }] });
        bindings
            .compare(&shown, &json!({ "time": 2, "data": [1, { "x": null }] }))
            .unwrap();
        for came in [
            json!({ "time": 1, "data": [1, {}] }),
            json!({ "time": "1", "data": [1, { "x": null }] }),
        ] {
            bindings.compare(&shown, &came).unwrap_err();
        }
    }

    #[test]
    fn lines_may_leave_something_out() {
        let mut bindings = Bindings::default();
        bindings.compare_line("retry: …", "retry: 2012").unwrap();
        bindings.compare_line("id: Ab3", "id: xyz").unwrap();
        bindings.compare_line("7-2", "9-2").unwrap();
        bindings.compare_line("7-3", "9-4").unwrap_err();
        bindings
            .compare_line(r#"data: {"id":"7-1"}"#, r#"data: {"id":"9-1"}"#)
            .unwrap();
        bindings.compare_line("id: Ab3", "id: other").unwrap_err();
        bindings.compare_line("event: a", "event: b").unwrap_err();
    }
}
