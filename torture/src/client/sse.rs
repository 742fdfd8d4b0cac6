//! The transport of Server-Sent Events (HTML Living Standard, section 9.2).

use std::collections::VecDeque;

use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::{Duration, timeout};

use super::Trouble;
use super::feed::Item;
use super::frame::Frame;
use super::http::{Ask, Open, open, refused};
use super::wishes::Wishes;

/// How long the answer's head, or a refusal's body, may take.
const PATIENCE: Duration = Duration::from_secs(6);

pub struct EventStream {
    open: Open,
    lines: Lines,
}

/// Instead of a close code.
#[derive(Deserialize)]
struct Close {
    code: u16,
    after_ms: Option<u64>,
}

impl EventStream {
    /// `as_source`: an id goes into the header, as an EventSource has it.
    pub async fn open(
        address: (&str, u16),
        wishes: &Wishes,
        as_source: bool,
        token: &str,
    ) -> Result<Self, Trouble> {
        let header = wishes.id().filter(|_| as_source);
        let query = match header {
            Some(_) => wishes.rooms_only(),
            None => wishes.query(),
        };
        let request = Ask {
            method: Method::GET,
            path: format!("/v1/sse?{query}"),
            token,
            headers: header
                .map(|id| ("last-event-id", id.to_owned()))
                .into_iter()
                .collect(),
            body: String::new(),
        };
        let open = open(address, request, PATIENCE).await?;
        match open.response.status() {
            StatusCode::OK => Ok(Self {
                open,
                lines: Lines::default(),
            }),
            StatusCode::NO_CONTENT => Err(Trouble::Nonsense(
                "204 for one that was never told to stay away".to_owned(),
            )),
            status => {
                let body = timeout(PATIENCE, open.response.into_body().collect()).await;
                let body = body.map_err(anyhow::Error::from)?;
                let body = body.map_err(anyhow::Error::from)?;
                Err(refused(status, &body.to_bytes()))
            }
        }
    }

    pub async fn next(&mut self) -> Result<Item, Trouble> {
        loop {
            if let Some(event) = self.lines.events.pop_front() {
                return event.read();
            }
            let body = self.open.response.body_mut();
            let Some(frame) = body.frame().await else {
                return Err(anyhow::anyhow!("the stream ended").into());
            };
            if let Ok(bytes) = frame.map_err(anyhow::Error::from)?.into_data() {
                self.lines.push(&bytes);
            }
        }
    }
}

/// An event, or a comment if all of it is empty.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: Option<String>,
    id: Option<String>,
}

impl Event {
    fn read(self) -> Result<Item, Trouble> {
        let Some(data) = self.data else {
            return Ok(Item::Alive);
        };
        if self.name == "close" {
            let Close { code, after_ms } = serde_json::from_str(&data)
                .map_err(|error| Trouble::Nonsense(format!("{error} in {data:.100}")))?;
            return Ok(Item::Closed(code, after_ms.map(Duration::from_millis)));
        }
        Ok(Item::Frame(Frame::parse(&data)?, self.id))
    }
}

/// Puts events together from pieces of any size.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    begun: Event,
    events: VecDeque<Event>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let text = String::from_utf8_lossy(&line);
                self.end_line(text.strip_suffix('\r').unwrap_or(&text));
            } else {
                self.line.push(byte);
            }
        }
    }

    fn end_line(&mut self, line: &str) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.begun);
            if event.data.is_some() {
                self.events.push_back(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.events.push_back(Event::default()),
            "event" => value.clone_into(&mut self.begun.name),
            "id" => self.begun.id = Some(value.to_owned()),
            "data" => match &mut self.begun.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str, id: Option<&str>) -> Event {
        Event {
            name: name.to_owned(),
            data: Some(data.to_owned()),
            id: id.map(str::to_owned),
        }
    }

    #[test]
    fn events_are_put_together_from_pieces_of_any_size() {
        let stream = b"retry: 700\n\n:\n\nevent: message\nid: 7-1\ndata: {\ndata: }\n\n\
                       event: presence\r\ndata: 1\r\n\r\nevent: cut\ndata: off";
        for size in [1, 7, stream.len()] {
            let mut lines = Lines::default();
            for piece in stream.chunks(size) {
                lines.push(piece);
            }
            let expected = [
                Event::default(),
                event("message", "{\n}", Some("7-1")),
                event("presence", "1", None),
            ];
            assert_eq!(lines.events, expected, "{size}");
        }
    }

    #[test]
    fn a_close_says_when_to_come_back() {
        let close = |after: &str| {
            let data = format!(r#"{{"code":1012,"reason":"drained","after_ms":{after}}}"#);
            event("close", &data, None).read()
        };
        let second = Some(Duration::from_secs(1));
        assert!(matches!(close("1000"), Ok(Item::Closed(1012, after)) if after == second));
        assert!(matches!(close("null"), Ok(Item::Closed(1012, None))));
        assert!(matches!(close("soon"), Err(Trouble::Nonsense(_))));
    }
}
