//! A client of an event stream, on a bare socket: it sees the bytes as they are.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::gateway::{PATIENCE, TestGateway};

/// One event, with the id that the stream has after it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: Value,
    pub(crate) id: String,
}

/// An open event stream.
#[derive(Debug)]
pub(crate) struct EventSource {
    stream: TcpStream,
    pub(crate) status: u16,
    pub(crate) head: String,
    rest: Vec<u8>,
    /// The last one that came, as an EventSource keeps it.
    pub(crate) id: String,
    /// What `retry:` lines asked for.
    pub(crate) retries: Vec<u64>,
    pub(crate) comments: usize,
}

impl EventSource {
    /// Sends a request and reads the head of the answer.
    pub(crate) async fn request(gateway: &TestGateway, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n",
            gateway.address()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        Self::read_head(stream).await
    }

    pub(crate) async fn read_head(stream: TcpStream) -> Self {
        Self::read_head_from(stream, Vec::new()).await
    }

    async fn read_head_from(mut stream: TcpStream, mut rest: Vec<u8>) -> Self {
        let end = loop {
            if let Some(end) = find(&rest, b"\r\n\r\n") {
                break end;
            }
            assert!(read_more(&mut stream, &mut rest).await, "no head");
        };
        let head = String::from_utf8(rest.drain(..end + 4).collect()).unwrap();
        Self {
            stream,
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            rest,
            id: String::new(),
            retries: Vec::new(),
            comments: 0,
        }
    }

    /// Opens a stream of a user and takes its welcome.
    pub(crate) async fn open(gateway: &TestGateway, user: &str, query: &str) -> Self {
        Self::open_after(gateway, user, query, "").await
    }

    /// As an EventSource comes back: with the last id that it has seen.
    pub(crate) async fn open_after(
        gateway: &TestGateway,
        user: &str,
        query: &str,
        last_event_id: &str,
    ) -> Self {
        let path = format!("/v1/sse?token={}&{query}", gateway.token(user));
        let header = if last_event_id.is_empty() {
            String::new()
        } else {
            format!("last-event-id: {last_event_id}\r\n")
        };
        let mut source = Self::request(gateway, &path, &header).await;
        assert_eq!(source.status, 200, "{}", source.head);
        let welcome = source.next().await;
        assert_eq!(
            (welcome.kind.as_str(), &welcome.data["user"]),
            ("welcome", &user.into())
        );
        source
    }

    /// The next event but presence; `None` at the end of the stream.
    pub(crate) async fn try_next(&mut self) -> Option<Event> {
        loop {
            let Some(end) = find(&self.rest, b"\n\n") else {
                if read_more(&mut self.stream, &mut self.rest).await {
                    continue;
                }
                assert!(self.rest.is_empty(), "cut within an event");
                return None;
            };
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            if let Some(event) = self.parse(&String::from_utf8(block).unwrap())
                && event.kind != "presence"
            {
                return Some(event);
            }
        }
    }

    fn parse(&mut self, block: &str) -> Option<Event> {
        let (mut kind, mut data) = (String::from("message"), Vec::new());
        for line in block.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", value) => value.clone_into(&mut kind),
                ("id", value) => value.clone_into(&mut self.id),
                ("data", value) => data.push(value),
                ("retry", value) => self.retries.push(value.parse().unwrap()),
                (":", _) => self.comments += 1,
                ("", _) => {}
                other => panic!("no field of an event: {other:?}"),
            }
        }
        let data = (!data.is_empty()).then(|| data.join("\n"))?;
        Some(Event {
            kind,
            data: serde_json::from_str(&data).unwrap(),
            id: self.id.clone(),
        })
    }

    pub(crate) async fn next(&mut self) -> Event {
        self.try_next().await.expect("the stream goes on")
    }

    /// The next event of a type.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.kind == kind {
                return event;
            }
        }
    }

    /// The `data` of that many messages, whatever else comes.
    pub(crate) async fn messages(&mut self, count: usize) -> Vec<Value> {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.push(self.next_of("message").await.data["data"].clone());
        }
        messages
    }

    /// Reads until that many comments came.
    pub(crate) async fn wait_for_comments(&mut self, count: usize) {
        while self.comments < count {
            while let Some(end) = find(&self.rest, b"\n\n") {
                let block: Vec<u8> = self.rest.drain(..end + 2).collect();
                self.parse(&String::from_utf8(block).unwrap());
            }
            if self.comments < count {
                assert!(
                    read_more(&mut self.stream, &mut self.rest).await,
                    "no comment"
                );
            }
        }
    }

    /// As [`try_next`](Self::try_next), of a stream that may be cut within an event.
    pub(crate) async fn try_next_or_cut(&mut self) -> Option<Event> {
        while find(&self.rest, b"\n\n").is_none() {
            if !read_more(&mut self.stream, &mut self.rest).await {
                return None;
            }
        }
        self.try_next().await
    }

    /// Past a body with a length, to the next answer on the same connection.
    pub(crate) async fn next_answer(mut self) -> Self {
        let length: usize = self
            .head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap()
            .parse()
            .unwrap();
        while self.rest.len() < length {
            assert!(read_more(&mut self.stream, &mut self.rest).await, "no body");
        }
        self.rest.drain(..length);
        Self::read_head_from(self.stream, self.rest).await
    }

    /// How it ends: the event `close`, then the end of the stream.
    pub(crate) async fn closed(&mut self) -> Value {
        let close = self.next_of("close").await;
        assert!(
            self.try_next().await.is_none(),
            "something came after the close"
        );
        close.data
    }

    /// All bytes until the end, of an answer that is no stream.
    pub(crate) async fn body(mut self) -> Value {
        while !self.rest.ends_with(b"}") {
            assert!(read_more(&mut self.stream, &mut self.rest).await, "no body");
        }
        serde_json::from_slice(&self.rest).unwrap()
    }
}

async fn read_more(stream: &mut TcpStream, into: &mut Vec<u8>) -> bool {
    let reading = tokio::time::timeout(PATIENCE, stream.read_buf(into));
    matches!(reading.await.expect("nothing came in time"), Ok(count) if count > 0)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
