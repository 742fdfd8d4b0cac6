//! The notation of conversations: one step a line, an indented line belongs to the one before.
//!
//! ```text
//! room short: { history: { maxMessages: 2 } }      a Room that the gateway has
//! alice connects to /v1/ws?room=short              with a token of that name; `nobody` has none
//! alice → {"type":"publish", …}                    a frame
//! alice ← {"type":"ack", …}                        what comes
//! bob → GET /v1/rooms/short/messages               a request, with a token; of `server` with an API key, on the other port
//! bob ← 200 {"messages":[], …}                     its answer
//! alice closes · alice is cut off · alice is closed: 4400 unknown `type`
//! the gateway drains · 1100 ms pass
//! ```

use serde_json::Value;

/// One line.
#[derive(Debug)]
pub(crate) enum Step {
    Room {
        name: String,
        spec: String,
    },
    Connect {
        who: String,
        path: String,
    },
    Send {
        who: String,
        frame: String,
    },
    Receive {
        who: String,
        frame: Value,
    },
    Request {
        who: String,
        method: String,
        path: String,
        body: String,
    },
    Answer {
        who: String,
        status: u16,
        body: String,
    },
    Close {
        who: String,
    },
    CutOff {
        who: String,
    },
    Closed {
        who: String,
        code: u16,
        reason: String,
    },
    Drain,
    Pass {
        milliseconds: u64,
    },
}

/// Reads a conversation; the error names the line that isn't understood.
pub(crate) fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match lines.last_mut() {
            Some(last) if line.starts_with(' ') => last.push_str(line.trim()),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
        .iter()
        .map(|line| step(line).ok_or_else(|| format!("not a step of a conversation: {line}")))
        .collect()
}

fn step(line: &str) -> Option<Step> {
    if line == "the gateway drains" {
        return Some(Step::Drain);
    }
    if let Some(milliseconds) = line.strip_suffix(" ms pass") {
        return Some(Step::Pass {
            milliseconds: milliseconds.parse().ok()?,
        });
    }
    if let Some((name, spec)) = line
        .strip_prefix("room ")
        .and_then(|rest| rest.split_once(": "))
    {
        return Some(Step::Room {
            name: name.to_owned(),
            spec: spec.to_owned(),
        });
    }
    let (who, rest) = line.split_once(' ')?;
    let (who, rest) = (who.to_owned(), rest.trim_start());
    if let Some(path) = rest.strip_prefix("connects to ") {
        return Some(Step::Connect {
            who,
            path: path.to_owned(),
        });
    }
    if let Some(closed) = rest.strip_prefix("is closed: ") {
        let (code, reason) = closed.split_once(' ').unwrap_or((closed, ""));
        return Some(Step::Closed {
            who,
            code: code.parse().ok()?,
            reason: reason.to_owned(),
        });
    }
    match rest {
        "closes" => return Some(Step::Close { who }),
        "is cut off" => return Some(Step::CutOff { who }),
        _ => {}
    }
    if let Some(sent) = rest.strip_prefix('→').map(str::trim_start) {
        if sent.starts_with('{') {
            return Some(Step::Send {
                who,
                frame: sent.to_owned(),
            });
        }
        let (method, target) = sent.split_once(' ')?;
        let (path, body) = target.split_once(' ').unwrap_or((target, ""));
        return Some(Step::Request {
            who,
            method: method.to_owned(),
            path: path.to_owned(),
            body: body.trim().to_owned(),
        });
    }
    let came = rest.strip_prefix('←').map(str::trim_start)?;
    if came.starts_with('{') {
        return Some(Step::Receive {
            who,
            frame: serde_json::from_str(came).ok()?,
        });
    }
    let (status, body) = came.split_once(' ').unwrap_or((came, ""));
    Some(Step::Answer {
        who,
        status: status.parse().ok()?,
        body: body.trim().to_owned(),
    })
}
