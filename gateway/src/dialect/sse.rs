//! Events of a stream as Server-Sent Events (HTML Living Standard, section 9.2): the same objects as on a WebSocket, in lines.

use std::fmt::Write;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use super::close::CloseReason;
use super::cursor::Place;
use super::frame::Frame;

/// What the stream is sent as.
pub const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";

/// Goes between events while nothing else does; an EventSource never shows it.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// Ends an event.
pub const END: &[u8] = b"\n\n";

/// The lines of an event up to the data: `event:`, `id:` if the place has changed, and the name of the data field.
pub fn begin(out: &mut BytesMut, kind: &str, place: Option<&Place>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    if let Some(place) = place {
        out.extend_from_slice(b"\nid: ");
        // Into memory it doesn't fail.
        place.write_id(out).ok();
    }
    out.extend_from_slice(b"\ndata: ");
}

/// Whether the bytes can stand behind `data: ` as they are.
pub fn is_one_line(json: &[u8]) -> bool {
    !json.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
}

/// A whole event. A message's data is passed through as it came, and may hold line ends: outside of strings, where one is as good as another.
pub fn event(out: &mut BytesMut, frame: &Frame, place: Option<&Place>) {
    begin(out, frame.kind().as_str(), place);
    let json = frame.json();
    if is_one_line(json) {
        out.extend_from_slice(json);
    } else {
        for &byte in json {
            match byte {
                b'\n' => out.extend_from_slice(b"\ndata: "),
                b'\r' => out.put_u8(b' '),
                byte => out.put_u8(byte),
            }
        }
    }
    out.extend_from_slice(END);
}

/// How long an EventSource waits before it comes back.
pub fn retry(out: &mut BytesMut, after: Duration) {
    writeln!(out, "retry: {}\n", after.as_millis()).ok();
}

/// The last event. `after` is when the client should come back; `None` if it shouldn't by itself.
pub fn close(out: &mut BytesMut, reason: CloseReason, after: Option<Duration>, place: &Place) {
    if let Some(after) = after {
        writeln!(out, "retry: {}", after.as_millis()).ok();
    }
    out.extend_from_slice(b"event: close\n");
    if reason.bars_return() {
        // An EventSource comes back whatever it is told: by this id it is known, and stopped.
        out.extend_from_slice(b"id: ");
        place.write_ended_id(out).ok();
        out.put_u8(b'\n');
    }
    let data = CloseData {
        code: reason.code(),
        reason: reason.text(),
        after_ms: after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
    };
    out.extend_from_slice(b"data: ");
    serde_json::to_writer((&mut *out).writer(), &data).expect("plain data into memory can't fail");
    out.extend_from_slice(END);
}

#[derive(Serialize)]
struct CloseData {
    code: u16,
    reason: &'static str,
    after_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use rotunda_crds::RoomName;

    use super::*;
    use crate::broker::Message;
    use crate::dialect::event as events;
    use crate::ids::Position;

    fn lobby() -> RoomName {
        RoomName::parse("lobby").unwrap()
    }

    fn place() -> Place {
        Place::new([(&lobby(), Some(Position::new(7, 3)))])
    }

    fn message(data: &'static str) -> Frame {
        let message = Message {
            position: Position::new(7, 3),
            time_ms: 5,
            body: format!(r#""from":null,"data":{data}"#).into(),
        };
        events::message(&lobby(), &message)
    }

    fn text(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn an_event_has_the_type_the_id_and_the_object() {
        assert_eq!(
            text(|out| event(out, &message("1"), Some(&place()))),
            "event: message\nid: 7-3\ndata: {\"type\":\"message\",\"room\":\"lobby\",\"id\":\"7-3\",\"time\":5,\"from\":null,\"data\":1}\n\n"
        );
        assert_eq!(
            text(|out| event(out, &events::heartbeat(), None)),
            "event: heartbeat\ndata: {\"type\":\"heartbeat\"}\n\n"
        );
    }

    #[test]
    fn line_ends_in_data_stay_within_the_event() {
        let text = text(|out| event(out, &message("{\r\n \"a\":\r\"b\\n\"\n}"), None));
        let lines: Vec<_> = text.trim_end().split('\n').collect();
        assert!(!text.contains('\r'));
        let data: Vec<_> = lines[1..]
            .iter()
            .map(|line| line.strip_prefix("data: ").unwrap())
            .collect();
        let json: serde_json::Value = serde_json::from_str(&data.join("\n")).unwrap();
        assert_eq!(json["data"], serde_json::json!({ "a": "b\n" }));
    }

    #[test]
    fn a_close_says_when_to_come_back_and_marks_those_who_must_not() {
        assert_eq!(
            text(|out| close(
                out,
                CloseReason::Drained,
                Some(Duration::from_millis(1830)),
                &place()
            )),
            "retry: 1830\nevent: close\ndata: {\"code\":1012,\"reason\":\"the gateway was drained; reconnect\",\"after_ms\":1830}\n\n"
        );
        assert_eq!(
            text(|out| close(out, CloseReason::Forbidden, None, &place())),
            "event: close\nid: .7-3\ndata: {\"code\":4403,\"reason\":\"disconnected by the application\",\"after_ms\":null}\n\n"
        );
    }
}
