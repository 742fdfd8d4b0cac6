//! A real Prometheus that scrapes one address, and what dashboards, alerts and documents say of metrics.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// No answer takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends with the test.
pub(crate) struct Prometheus {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes a target, with the labels that a ServiceMonitor would give it.
    pub(crate) fn scraping(target: SocketAddr, namespace: &str, service: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\nscrape_configs:\n  - job_name: test\n    static_configs:\n      \
             - targets: ['{target}']\n        labels: {{ namespace: '{namespace}', service: '{service}', pod: test-0 }}\n"
        );
        let file = folder.path().join("prometheus.yaml");
        fs::write(&file, config).expect("a config");
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus is installed by scripts/setup");
        let mut log = BufReader::new(process.stderr.take().expect("its log"));
        let address = listening_at(&mut log);
        // A full pipe would stop it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let prometheus = Self {
            process,
            address,
            _folder: folder,
        };
        let end = Instant::now() + PATIENCE;
        while !get(address, "/-/ready").contains("Ready") {
            assert!(Instant::now() < end, "prometheus doesn't become ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    /// Waits until every query gives something.
    pub(crate) fn expect_answers(&self, queries: &[String]) {
        let end = Instant::now() + PATIENCE;
        loop {
            let silent: Vec<&String> = queries
                .iter()
                .filter(|query| self.query(query).is_empty())
                .collect();
            if silent.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "these give nothing: {silent:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What a query gives now. One that Prometheus refuses fails the test.
    fn query(&self, query: &str) -> Vec<Value> {
        let mut escaped = String::new();
        for byte in query.bytes() {
            write!(escaped, "%{byte:02X}").expect("a string takes it");
        }
        let body = get(self.address, &format!("/api/v1/query?query={escaped}"));
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!(answer["status"], "success", "{query}: {body}");
        answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn listening_at(log: &mut impl BufRead) -> SocketAddr {
    let mut line = String::new();
    while log.read_line(&mut line).expect("a log in UTF-8") > 0 {
        if line.contains("Listening on")
            && let Some((_, address)) = line.trim().rsplit_once("address=")
        {
            return address.parse().expect("an address");
        }
        line.clear();
    }
    panic!("prometheus ended before it listened");
}

/// The body of an answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // 1.0, so that the answer is in one piece and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    body.to_owned()
}

/// The queries of a dashboard, for one service and the last seconds.
pub(crate) fn queries(dashboard: &str, namespace: &str, service: &str) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(dashboard).expect("a dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
        .map(|target| {
            let query = target["expr"].as_str().expect("a query");
            query
                .replace("$namespace", namespace)
                .replace("$service", service)
                .replace("$__rate_interval", "2s")
        })
        .collect()
}

/// The names in what `/metrics` gives, as they are queried.
pub(crate) fn served(metrics: &str) -> BTreeSet<String> {
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        })
        .collect()
}

/// The names of metrics in a text, without what a histogram's series add.
pub(crate) fn named(text: &str) -> BTreeSet<String> {
    text.split(|other: char| !(other.is_ascii_alphanumeric() || other == '_'))
        .filter(|word| word.starts_with("rotunda_"))
        .map(|word| {
            let series = ["_bucket", "_count", "_sum"];
            let base = series.iter().find_map(|suffix| word.strip_suffix(suffix));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

/// The section of a document under a heading, up to the next one.
pub(crate) fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let (_, after) = document.split_once(heading).expect("the heading");
    after.split("\n#").next().unwrap_or(after)
}
