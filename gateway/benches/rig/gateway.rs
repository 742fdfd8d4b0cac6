//! A gateway as a process of its own, on free ports.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running gateway; dropping it ends it.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) clients: SocketAddr,
    pub(crate) ops: SocketAddr,
}

impl Gateway {
    /// Starts `rotunda-gateway dev` on manifests, and waits until it is ready.
    pub(crate) fn start(manifests: &Path, options: &[&str]) -> anyhow::Result<Self> {
        let (clients, ops) = (free_address()?, free_address()?);
        let process = Command::new(env!("CARGO_BIN_EXE_rotunda-gateway"))
            .arg("dev")
            .arg(manifests)
            .args(options)
            .args(["--listen", &clients.to_string()])
            .args(["--ops-listen", &ops.to_string()])
            .args(["--api-listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()?;
        let mut gateway = Self {
            process,
            clients,
            ops,
        };
        let log = gateway.process.stderr.take().context("no log")?;
        let mut lines = BufReader::new(log).lines();
        let serving = lines.any(|line| line.is_ok_and(|line| line.contains("serving; stop with")));
        ensure!(serving, "the gateway doesn't start");
        // It must not fill the pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok).filter(|line| is_trouble(line)) {
                eprintln!("gateway: {line}");
            }
        });
        let deadline = Instant::now() + START_TIMEOUT;
        while !request(ops, "GET", "/readyz", "").is_ok_and(|answer| answer.contains(" 200 ")) {
            ensure!(Instant::now() < deadline, "the gateway doesn't get ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(gateway)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn is_trouble(line: &str) -> bool {
    line.contains("WARN") || line.contains("ERROR")
}

/// An address whose port was free a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Makes an HTTP request; the whole answer.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
