//! Many clients in a process of their own: they connect, join, answer pings, and count the messages they get.
//!
//! A bench calls [`run_if_asked`] first: the crowd is the same program, started again. It says on its standard output how far it is.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The argument that makes the program a crowd.
const ROLE: &str = "crowd";

/// Clients that are on their way in at the same time.
const AT_ONCE: usize = 64;

/// A pong without a payload, masked with zeros (RFC 6455, section 5.5.3).
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// What the clients of a crowd are.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    /// The number of the first client: what counts on where another crowd ended has other users and rooms.
    pub(crate) from: usize,
    pub(crate) count: usize,
    /// Clients in each room; their rooms are called `room:0`, `room:1` and so on.
    pub(crate) room_size: usize,
    /// The key of their tokens, for HS256; without it they come without a token.
    pub(crate) secret: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    WebSocket,
    Sse,
    /// Whatever writes to the socket writes WebSocket frames and expects nothing.
    Bare,
}

impl Kind {
    const ALL: [(Self, &str); 3] = [
        (Self::WebSocket, "websocket"),
        (Self::Sse, "sse"),
        (Self::Bare, "bare"),
    ];
}

/// A crowd that runs; dropping it ends it.
pub(crate) struct Crowd {
    process: Child,
    output: BufReader<ChildStdout>,
    told: usize,
}

impl Crowd {
    /// Starts clients and waits until all have joined.
    pub(crate) fn join(address: SocketAddr, order: &Order) -> anyhow::Result<Self> {
        let (_, kind) = Kind::ALL
            .into_iter()
            .find(|(kind, _)| *kind == order.kind)
            .context("no such kind")?;
        let mut process = Command::new(std::env::current_exe()?)
            .args([ROLE, kind, &address.to_string()])
            .args([order.from, order.count, order.room_size].map(|number| number.to_string()))
            .args(&order.secret)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("no output")?;
        let mut crowd = Self {
            process,
            output: BufReader::new(output),
            told: 0,
        };
        crowd.line().context("the crowd isn't let in")?;
        Ok(crowd)
    }

    /// Waits until every client has got one message more; the bytes of all these frames.
    pub(crate) fn next_round(&mut self) -> anyhow::Result<usize> {
        let total = self.line()?.parse()?;
        let bytes = total - std::mem::replace(&mut self.told, total);
        Ok(bytes)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(
            self.output.read_line(&mut line)? > 0,
            "the crowd ended early"
        );
        Ok(line.trim().to_owned())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Becomes a crowd, if the program was started as one; whether it was.
pub(crate) fn run_if_asked() -> anyhow::Result<bool> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [role, kind, address, from, count, room_size, secret @ ..] = &*arguments else {
        return Ok(false);
    };
    if role != ROLE {
        return Ok(false);
    }
    let (kind, _) = Kind::ALL
        .into_iter()
        .find(|(_, name)| name == kind)
        .context("no such kind")?;
    let order = Order {
        kind,
        from: from.parse()?,
        count: count.parse()?,
        room_size: room_size.parse()?,
        secret: secret.first().cloned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(be_crowd(address.parse()?, &order))?;
    Ok(true)
}

#[derive(Debug)]
struct Tally {
    count: usize,
    joined: AtomicUsize,
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Tally {
    fn joined(&self) {
        if self.joined.fetch_add(1, Ordering::Relaxed) + 1 == self.count {
            println!("joined");
        }
    }

    fn message(&self, bytes: usize) {
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let messages = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        if messages.is_multiple_of(self.count) {
            println!("{bytes}");
        }
    }
}

async fn be_crowd(address: SocketAddr, order: &Order) -> anyhow::Result<()> {
    let tokens = order.secret.as_deref().map(|secret| mint(secret, order));
    let tokens = tokens.transpose()?.unwrap_or_default();
    let tally = Arc::new(Tally {
        count: order.count,
        joined: AtomicUsize::new(0),
        messages: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
    });
    let door = Arc::new(Semaphore::new(AT_ONCE));
    let mut clients = JoinSet::new();
    for place in 0..order.count {
        let room = (order.from + place) / order.room_size;
        let path = if order.kind == Kind::Sse { "sse" } else { "ws" };
        let token = tokens.get(place).map(|token| format!("&token={token}"));
        let target = format!("/v1/{path}?room=room:{room}{}", token.unwrap_or_default());
        let (kind, tally, door) = (order.kind, Arc::clone(&tally), Arc::clone(&door));
        clients.spawn(async move {
            let turn = door.acquire_owned().await?;
            let mut client = Client::connect(address, kind, &target, tally).await?;
            drop(turn);
            client.listen().await
        });
    }
    // None of them ends by itself.
    match clients.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

/// Tokens of users of their own, made before anyone connects.
fn mint(secret: &str, order: &Order) -> anyhow::Result<Vec<String>> {
    let key = EncodingKey::from_secret(secret.as_bytes());
    let expires = SystemTime::now() + Duration::from_hours(1);
    let expires = expires.duration_since(UNIX_EPOCH)?.as_secs();
    (order.from..order.from + order.count)
        .map(|number| {
            let claims = json!({ "sub": format!("user-{number}"), "exp": expires });
            Ok(encode(&Header::default(), &claims, &key)?)
        })
        .collect()
}

struct Client {
    stream: TcpStream,
    kind: Kind,
    /// The beginning of a frame that hasn't come as a whole.
    rest: Vec<u8>,
    tally: Arc<Tally>,
}

impl Client {
    /// Connects and waits until the room is joined.
    async fn connect(
        address: SocketAddr,
        kind: Kind,
        target: &str,
        tally: Arc<Tally>,
    ) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut seen = Vec::new();
        if kind != Kind::Bare {
            let upgrade = if kind == Kind::WebSocket {
                "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            } else {
                ""
            };
            let request = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\n{upgrade}\r\n");
            stream.write_all(request.as_bytes()).await?;
            while find(&seen, br#"{"type":"joined""#).is_none() {
                stream.readable().await?;
                match stream.try_read_buf(&mut seen) {
                    Ok(0) => bail!("refused: {}", String::from_utf8_lossy(&seen)),
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let mut client = Self {
            stream,
            kind,
            rest: Vec::new(),
            tally,
        };
        if kind == Kind::WebSocket {
            let head = find(&seen, b"\r\n\r\n").context("no end of the head")? + 4;
            let (used, _) = client.take_frames(&seen[head..]);
            client.rest = seen.split_off(head + used);
        }
        client.tally.joined();
        Ok(client)
    }

    async fn listen(&mut self) -> anyhow::Result<()> {
        loop {
            self.stream.readable().await?;
            let pings = self.read()?;
            for _ in 0..pings {
                self.stream.write_all(&PONG).await?;
            }
        }
    }

    /// Reads what is there; how many pings were among it.
    fn read(&mut self) -> anyhow::Result<usize> {
        // Lives while nothing waits, so that ten thousand clients don't hold as many.
        let mut buffer = [0; 16 * 1024];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => bail!("the connection ended"),
            Ok(_) if self.kind == Kind::Sse => Ok(0),
            Ok(count) if self.rest.is_empty() => {
                let (used, pings) = self.take_frames(&buffer[..count]);
                self.rest.extend_from_slice(&buffer[used..count]);
                Ok(pings)
            }
            Ok(count) => {
                let mut bytes = std::mem::take(&mut self.rest);
                bytes.extend_from_slice(&buffer[..count]);
                let (used, pings) = self.take_frames(&bytes);
                self.rest.extend_from_slice(&bytes[used..]);
                Ok(pings)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes whole frames of a server (RFC 6455, section 5.2): the bytes they take, and the pings among them.
    fn take_frames(&self, bytes: &[u8]) -> (usize, usize) {
        let (mut used, mut pings) = (0, 0);
        while let [opcode, length, after @ ..] = &bytes[used..] {
            let (header, length) = match (length, after) {
                (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
                (126, _) => break,
                (length, _) => (2, usize::from(*length)),
            };
            let end = used + header + length;
            let Some(payload) = bytes.get(used + header..end) else {
                break;
            };
            if *opcode == 0x89 {
                pings += 1;
            } else if payload.starts_with(br#"{"type":"message""#) {
                self.tally.message(header + length);
            }
            used = end;
        }
        (used, pings)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
