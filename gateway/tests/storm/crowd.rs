//! Clients in a process of their own, which all come at the same moment, and come back as they are told until they are in.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use jsonwebtoken::{EncodingKey, Header, encode};
use rand::Rng;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The argument that makes the program a crowd.
const ROLE: &str = "a-crowd";

/// How long a client waits for an answer, as many libraries do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients in each room.
const ROOM_SIZE: usize = 10;

/// How long the clients of a crowd waited, and what they met.
pub(crate) struct Arrival {
    pub(crate) waits: Vec<Duration>,
    /// Answers of 503.
    pub(crate) sent_away: usize,
    /// Tries without any answer.
    pub(crate) lost: usize,
}

/// A crowd that runs; dropping it ends it.
pub(crate) struct Crowd {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    /// Starts a crowd that is about to come.
    pub(crate) async fn gather(
        address: SocketAddr,
        from: usize,
        count: usize,
    ) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([ROLE, &address.to_string()])
            .args([from, count].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take().context("no input")?;
        let output = process.stdout.take().context("no output")?;
        let mut crowd = Self {
            _process: process,
            input,
            output: BufReader::new(output).lines(),
        };
        crowd.line().await?;
        Ok(crowd)
    }

    /// Lets all of it come, and waits until everyone is in. They stay until the crowd is dropped.
    pub(crate) async fn come_in(&mut self) -> anyhow::Result<Arrival> {
        self.input.write_all(b"come\n").await?;
        let line = self.line().await?;
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let mut number = || {
            numbers
                .next()
                .context("half a line")?
                .map_err(anyhow::Error::from)
        };
        let (sent_away, lost) = (number()?, number()?);
        Ok(Arrival {
            sent_away: usize::try_from(sent_away)?,
            lost: usize::try_from(lost)?,
            waits: numbers
                .map(|ms| Ok(Duration::from_millis(ms?)))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = self.output.next_line().await?;
        line.context("a crowd ended early")
    }
}

/// Becomes a crowd, if the program was started as one; whether it was.
pub(crate) async fn run_if_asked() -> anyhow::Result<bool> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [role, address, from, count] = &*arguments else {
        return Ok(false);
    };
    if role != ROLE {
        return Ok(false);
    }
    let (address, from, count): (SocketAddr, usize, usize) =
        (address.parse()?, from.parse()?, count.parse()?);
    let mut requests = Vec::new();
    for number in from..from + count {
        requests.push(request(number)?);
    }
    println!("ready");
    // Nothing else is to do meanwhile.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let start = Instant::now();
    let mut arriving = JoinSet::new();
    for request in requests {
        arriving.spawn(async move {
            let client = Client::come_in(address, &request).await?;
            anyhow::Ok((start.elapsed(), client))
        });
    }
    let (mut waits, mut clients) = (Vec::new(), Vec::new());
    while let Some(arrived) = arriving.join_next().await {
        let (wait, client) = arrived??;
        waits.push(wait.as_millis().to_string());
        clients.push(client);
    }
    let sum = |what: fn(&Client) -> usize| clients.iter().map(what).sum::<usize>();
    println!(
        "{} {} {}",
        sum(|client| client.sent_away),
        sum(|client| client.lost),
        waits.join(" ")
    );
    // Until the one who started it is done.
    std::io::stdin().read_line(&mut line)?;
    Ok(true)
}

/// A user's token, for as long as the test takes.
pub(crate) fn token(user: &str) -> anyhow::Result<String> {
    let expires = SystemTime::now() + Duration::from_hours(1);
    let claims = json!({ "sub": user, "exp": expires.duration_since(UNIX_EPOCH)?.as_secs() });
    let key = EncodingKey::from_secret(crate::SECRET.as_bytes());
    Ok(encode(&Header::default(), &claims, &key)?)
}

fn request(number: usize) -> anyhow::Result<String> {
    let token = token(&format!("user-{number}"))?;
    let room = number / ROOM_SIZE;
    Ok(format!(
        "GET /v1/ws?room=room:{room}&token={token} HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ))
}

struct Client {
    _stream: TcpStream,
    sent_away: usize,
    lost: usize,
}

enum Answer {
    Joined(TcpStream),
    Later(Duration),
}

impl Client {
    async fn come_in(address: SocketAddr, request: &str) -> anyhow::Result<Self> {
        let (mut sent_away, mut lost) = (0, 0);
        let mut backoff = Duration::from_millis(500);
        loop {
            match timeout(PATIENCE, try_once(address, request)).await {
                Ok(Ok(Answer::Joined(stream))) => {
                    return Ok(Self {
                        _stream: stream,
                        sent_away,
                        lost,
                    });
                }
                Ok(Ok(Answer::Later(after))) => {
                    sent_away += 1;
                    sleep(after).await;
                }
                // The protocol's own way back.
                Ok(Err(_)) | Err(_) => {
                    lost += 1;
                    let wait = backoff.mul_f64(rand::rng().random_range(0.0..1.0));
                    sleep(wait).await;
                    backoff = (2 * backoff).min(Duration::from_secs(20));
                }
            }
        }
    }
}

async fn try_once(address: SocketAddr, request: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes()).await?;
    let mut seen = Vec::new();
    loop {
        ensure!(stream.read_buf(&mut seen).await? > 0, "cut off");
        let text = String::from_utf8_lossy(&seen);
        if text.contains(r#"{"type":"joined""#) {
            return Ok(Answer::Joined(stream));
        }
        if text.starts_with("HTTP/1.1 503") && text.contains("\r\n\r\n") {
            let after = text
                .lines()
                .find_map(|line| line.strip_prefix("retry-after: "));
            let seconds = after
                .context("no word of when to come back")?
                .trim()
                .parse()?;
            return Ok(Answer::Later(Duration::from_secs(seconds)));
        }
        if !text.starts_with("HTTP/1.1 101") && text.contains("\r\n\r\n") {
            bail!("{text}");
        }
    }
}
