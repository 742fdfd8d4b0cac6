//! The operator's metrics, dashboard and alerts: with the operator itself, a real Prometheus and promtool.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

#[path = "../../../gateway/tests/shared/prometheus.rs"]
mod prometheus;

use prometheus::{Prometheus, get, named, queries, section, served};

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An operator whose API server takes connections and never answers. It ends with the test.
struct Operator {
    process: Child,
    ops: SocketAddr,
    _api_server: TcpListener,
    _kubeconfig: tempfile::NamedTempFile,
}

impl Operator {
    fn start() -> Self {
        let api_server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut kubeconfig = tempfile::NamedTempFile::new().expect("a file");
        let server = api_server.local_addr().expect("an address");
        write!(
            kubeconfig,
            "{{ apiVersion: v1, kind: Config, current-context: test, clusters: [{{ name: test, cluster: {{ server: 'http://{server}' }} }}], \
             users: [{{ name: test, user: {{}} }}], contexts: [{{ name: test, context: {{ cluster: test, user: test }} }}] }}"
        )
        .expect("written");
        // Free a moment ago; nobody else asks for a port of this address.
        let free = TcpListener::bind("127.0.0.2:0").expect("a port");
        let ops = free.local_addr().expect("an address");
        drop(free);
        let process = Command::new(env!("CARGO_BIN_EXE_rotunda-operator"))
            .args(["run", "--ops-listen", &ops.to_string()])
            .env("KUBECONFIG", kubeconfig.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("the operator starts");
        let end = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(ops).is_err() {
            assert!(Instant::now() < end, "the operator doesn't listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self {
            process,
            ops,
            _api_server: api_server,
            _kubeconfig: kubeconfig,
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn every_query_of_the_dashboard_gives_something() {
    let operator = Operator::start();
    let prometheus = Prometheus::scraping(operator.ops, "demo", "rotunda-operator-metrics");
    let dashboard = read("charts/rotunda/files/dashboards/operator.json");
    prometheus.expect_answers(&queries(&dashboard, "demo", "rotunda-operator-metrics"));
}

#[test]
fn what_documents_alerts_and_dashboard_name_is_what_the_operator_serves() {
    let operator = Operator::start();
    let served = served(&get(operator.ops, "/metrics"));
    let manual = read("docs/operations.md");
    assert_eq!(
        named(section(&manual, "### Metrics of the operator")),
        served
    );
    for file in ["alerts/operator.yaml", "dashboards/operator.json"] {
        let text = read(&format!("charts/rotunda/files/{file}"));
        let named: Vec<_> = named(&text).difference(&served).cloned().collect();
        assert!(named.is_empty(), "{file} names {named:?}");
    }
}

/// Runs `promtool` in a folder.
fn promtool(folder: &Path, arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("promtool is installed by scripts/setup");
    assert!(
        output.status.success(),
        "promtool {arguments:?}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, path) in [
        ("operator.yaml", "charts/rotunda/files/alerts/operator.yaml"),
        (
            "gateway.yaml",
            "operator/src/cluster/build/monitoring/alerts.yaml",
        ),
        (
            "operator.test.yaml",
            "operator/tests/alerts/operator.test.yaml",
        ),
        (
            "gateway.test.yaml",
            "operator/tests/alerts/gateway.test.yaml",
        ),
    ] {
        fs::write(folder.path().join(name), read(path)).expect("written");
    }
    promtool(
        folder.path(),
        &["check", "rules", "operator.yaml", "gateway.yaml"],
    );
    promtool(
        folder.path(),
        &["test", "rules", "operator.test.yaml", "gateway.test.yaml"],
    );
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let pairs = [
        (
            "charts/rotunda/files/alerts/operator.yaml",
            "operator/tests/alerts/operator.test.yaml",
        ),
        (
            "operator/src/cluster/build/monitoring/alerts.yaml",
            "operator/tests/alerts/gateway.test.yaml",
        ),
    ];
    for (alerts, tests) in pairs {
        let (alerts, tests) = (read(alerts), read(tests));
        for alert in alerts
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: "))
        {
            let fires = tests.split("- eval_time:").any(|case| {
                case.contains(&format!("alertname: {alert}\n")) && case.contains("exp_alerts:")
            });
            assert!(fires, "{alert} never fires");
        }
    }
}
