//! Redis servers and clusters for tests: started on free loopback ports, gone with the process that started them, however it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use redis::{ConnectionLike, Value};

/// What the password of all servers is: with characters that a URL has to encode.
pub(crate) const PASSWORD: &str = "p@ss/word%";
pub(crate) const ENCODED_PASSWORD: &str = "p%40ss%2Fword%25";

/// A user of the access control list of each cluster's servers.
const USER: &str = "rotunda";

/// Runs the server until its own standard input ends, which it does when the tests do.
const GUARD: &str = r#"
trap '' INT
dir=$1; shift; cd "$dir" || exit 1
redis-server "$@" >>log 2>&1 &
server=$!
read -r _
kill -9 $server
wait $server
[ -e keep ] || rm -rf "$dir"
"#;

/// A running server.
pub(crate) struct Server {
    pub(crate) port: u16,
    bus_port: u16,
    /// Whether it wants [`PASSWORD`].
    locked: bool,
    dir: PathBuf,
    arguments: Vec<String>,
    guard: Child,
}

impl Server {
    /// Starts a server, with more arguments for `redis-server`.
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::start_at(free_port(), more)
    }

    pub(crate) fn start_at(port: u16, more: &[&str]) -> Self {
        Self::start_in(new_dir(), port, more)
    }

    /// Starts a server in a folder that may hold files for it.
    pub(crate) fn start_in(dir: PathBuf, port: u16, more: &[&str]) -> Self {
        let port_text = port.to_string();
        let mut arguments = vec!["--port", &port_text, "--bind", "127.0.0.1", "--save", ""];
        arguments.extend([
            "--requirepass",
            PASSWORD,
            "--masterauth",
            PASSWORD,
            "--repl-diskless-sync-delay",
            "0",
        ]);
        arguments.extend(["--stream-node-max-bytes", "1024"]);
        arguments.extend(more);
        Self::run_in(dir, port, true, &arguments)
    }

    /// Starts a Sentinel that watches a primary under the name `main`; it wants a password itself if `locked`.
    pub(crate) fn start_sentinel(primary: u16, quorum: usize, locked: bool) -> Self {
        let (dir, port) = (new_dir(), free_port());
        let mut config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary} {quorum}\n\
             sentinel auth-pass main {PASSWORD}\nsentinel down-after-milliseconds main 1000\n\
             sentinel failover-timeout main 5000\n"
        );
        if locked {
            for line in ["requirepass", "sentinel sentinel-pass"] {
                config = format!("{config}{line} {PASSWORD}\n");
            }
        }
        std::fs::write(dir.join("sentinel.conf"), config).expect("the folder is there");
        Self::run_in(dir, port, locked, &["sentinel.conf", "--sentinel"])
    }

    fn run_in(dir: PathBuf, port: u16, locked: bool, arguments: &[&str]) -> Self {
        let found = Command::new("redis-server").arg("--version").output();
        assert!(
            found.is_ok(),
            "redis-server isn't installed: run `apt-get install redis-server`"
        );
        let arguments: Vec<String> = arguments.iter().copied().map(String::from).collect();
        let guard = spawn(&dir, &arguments);
        let server = Self {
            port,
            bus_port: 0,
            locked,
            dir,
            arguments,
            guard,
        };
        server.wait_until_it_answers();
        server
    }

    fn start_cluster_member() -> Self {
        Self::start_cluster_member_in(new_dir(), &[])
    }

    fn start_cluster_member_in(dir: PathBuf, more: &[&str]) -> Self {
        let bus_port = free_port().to_string();
        let own = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus_port,
            "--cluster-node-timeout",
            "5000",
            "--user",
            USER,
            "on",
            &format!(">{PASSWORD}"),
            "~*",
            "&*",
            "+@all",
        ];
        let mut server = Self::start_in(dir, free_port(), &[&own[..], more].concat());
        server.bus_port = bus_port.parse().expect("a port");
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:{ENCODED_PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// Executes a command and gives its answer, which may be an error.
    pub(crate) fn try_run(&self, command: &[&str]) -> redis::RedisResult<Value> {
        let mut words = command.iter();
        let mut request = redis::cmd(words.next().expect("a command has a name"));
        for word in words {
            request.arg(*word);
        }
        let mut login = redis::RedisConnectionInfo::default();
        if self.locked {
            login = login.set_password(PASSWORD);
        }
        let address = redis::ConnectionAddr::Tcp("127.0.0.1".into(), self.port);
        let info =
            redis::IntoConnectionInfo::into_connection_info(address)?.set_redis_settings(login);
        let client = redis::Client::open(info)?;
        client
            .get_connection()?
            .req_command(&request)?
            .extract_error()
    }

    pub(crate) fn run(&self, command: &[&str]) -> Value {
        self.try_run(command)
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// For commands that only ask: a server that changes its role cuts everyone off, and is asked again.
    pub(crate) fn text(&self, command: &[&str]) -> String {
        let answer = match self.try_run(command) {
            Err(error) if error.is_io_error() => self.run(command),
            answer => answer.unwrap_or_else(|error| panic!("{command:?}: {error}")),
        };
        redis::from_redis_value(answer).expect("it answers with text")
    }

    pub(crate) fn number(&self, command: &[&str]) -> i64 {
        redis::from_redis_value(self.run(command)).expect("it answers with a number")
    }

    pub(crate) fn text_list(&self, command: &[&str]) -> Vec<String> {
        redis::from_redis_value(self.run(command)).expect("it answers with texts")
    }

    /// Kills the server and starts it again on what it had written.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    pub(crate) fn kill(&mut self) {
        std::fs::write(self.dir.join("keep"), "").expect("the folder is there");
        self.end();
    }

    pub(crate) fn start_again(&mut self) {
        std::fs::remove_file(self.dir.join("keep")).expect("it was killed");
        self.guard = spawn(&self.dir, &self.arguments);
        self.wait_until_it_answers();
    }

    /// Stops the server where it stands (`SIGSTOP`) until the answer is dropped.
    pub(crate) fn stop(&self) -> Stopped {
        let info = self.text(&["INFO", "server"]);
        let mut lines = info.lines();
        let pid = lines.find_map(|line| line.strip_prefix("process_id:"));
        let pid = pid.expect("it knows its own").trim().to_owned();
        signal("-STOP", &pid);
        Stopped { pid }
    }

    fn end(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().expect("the guard ends");
    }

    fn wait_until_it_answers(&self) {
        wait_until(&format!("the server at port {} answers", self.port), || {
            self.try_run(&["PING"]).is_ok()
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            eprintln!("log of the server at port {}:\n{log}", self.port);
        }
        if self.guard.stdin.is_some() {
            self.end();
        }
        // One that was killed and not started again has left it behind.
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// A server that stands still.
pub(crate) struct Stopped {
    pid: String,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.pid);
    }
}

fn signal(signal: &str, pid: &str) {
    let sent = Command::new("kill").args([signal, pid]).status();
    assert!(sent.is_ok_and(|status| status.success()));
}

fn spawn(dir: &Path, arguments: &[String]) -> Child {
    let mut guard = Command::new("sh");
    guard.args(["-c", GUARD, "guard"]).arg(dir).args(arguments);
    guard
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    guard.spawn().expect("there is a shell")
}

/// A cluster whose first servers are the primaries that own all slots.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start(primaries: usize) -> Self {
        Self::of(
            (0..primaries).map(|_| Server::start_cluster_member()),
            primaries,
        )
    }

    /// As many primaries, then as many replicas in the same order, all in sync.
    pub(crate) fn start_with_replicas(primaries: usize) -> Self {
        let servers = (0..2 * primaries).map(|_| Server::start_cluster_member());
        let cluster = Self::of(servers, primaries);
        let (primaries, replicas) = cluster.servers.split_at(primaries);
        for (primary, replica) in primaries.iter().zip(replicas) {
            replica.follow(primary);
        }
        for (primary, replica) in primaries.iter().zip(replicas) {
            replica.wait_until_it_follows(primary);
        }
        cluster
    }

    /// One primary, in a folder that may hold files for it.
    pub(crate) fn start_in(dir: PathBuf, more: &[&str]) -> Self {
        Self::of([Server::start_cluster_member_in(dir, more)], 1)
    }

    /// The first of the servers share the slots.
    fn of(servers: impl IntoIterator<Item = Server>, primaries: usize) -> Self {
        let servers: Vec<Server> = servers.into_iter().collect();
        let share = 16384_usize.div_ceil(primaries);
        for (index, server) in servers.iter().enumerate() {
            if index < primaries {
                let (first, last) = (index * share, ((index + 1) * share).min(16384) - 1);
                server.run(&[
                    "CLUSTER",
                    "ADDSLOTSRANGE",
                    &first.to_string(),
                    &last.to_string(),
                ]);
            }
            server.run(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
            servers[0].meet(server);
        }
        let cluster = Self { servers };
        cluster.wait_until_all_know_all();
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let seeds: Vec<String> = self
            .servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port))
            .collect();
        format!(
            "redis+cluster://{USER}:{ENCODED_PASSWORD}@{}",
            seeds.join(",")
        )
    }

    fn wait_until_all_know_all(&self) {
        let known = format!("cluster_known_nodes:{}\r", self.servers.len());
        wait_until("the cluster is whole", || {
            self.servers.iter().all(|server| {
                let info = server.text(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&known)
            })
        });
    }
}

impl Server {
    fn meet(&self, other: &Server) {
        let (port, bus_port) = (other.port.to_string(), other.bus_port.to_string());
        self.run(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]);
    }

    fn follow(&self, primary: &Server) {
        let id = primary.text(&["CLUSTER", "MYID"]);
        wait_until("the replica knows its primary", || {
            self.try_run(&["CLUSTER", "REPLICATE", &id]).is_ok()
        });
    }

    fn wait_until_it_follows(&self, primary: &Server) {
        wait_until("the replica is in sync", || {
            self.text(&["INFO", "replication"])
                .contains("master_link_status:up")
        });
        // Until then it wouldn't hand over to it.
        let (id, own_id) = (
            primary.text(&["CLUSTER", "MYID"]),
            self.text(&["CLUSTER", "MYID"]),
        );
        wait_until("the primary knows its replica", || {
            let nodes = primary.text(&["CLUSTER", "NODES"]);
            let mut lines = nodes.lines();
            lines.any(|line| line.starts_with(&own_id) && line.contains(&format!("slave {id}")))
        });
    }
}

/// The servers shared by all tests that do them no harm.
pub(crate) fn standalone() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

pub(crate) fn three_primaries() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(3))
}

pub(crate) fn one_primary() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(1))
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

pub(crate) fn new_dir() -> PathBuf {
    tempfile::Builder::new()
        .prefix("rotunda-redis-")
        .tempdir()
        .expect("a temporary folder")
        .keep()
}

/// As `eventually`, for what blocks.
pub(crate) fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
