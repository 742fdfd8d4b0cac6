//! Real Redis processes for tests: started by the very scripts and `redis.conf` that run in a pod, on loopback, on free
//! ports, in a folder of their own. They end with the test.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::{
    link::Login,
    observe::{Process, RedisPod},
    topology::{Address, PodKey},
};
use crate::cluster::{build::redis_files, model::Hidden};

/// How long a test waits for what should happen soon.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The password of all servers; with characters that have a meaning in shells and in `redis.conf`.
pub(super) fn password() -> Hidden {
    Hidden("pass word \"$HOME\" \\ 'x'".to_owned())
}

/// A pod with a Redis.
pub(super) struct TestServer {
    key: PodKey,
    at: Address,
    folder: TempDir,
    process: Child,
}

impl TestServer {
    /// Starts an empty one.
    pub(super) fn start(shard: u32, name: &str) -> Self {
        Self::start_with(shard, name, launch)
    }

    /// Starts an empty one that isn't in cluster mode, as somebody else's may be.
    pub(super) fn alone(name: &str) -> Self {
        Self::start_with(0, name, launch_alone)
    }

    /// The same, encrypted and not otherwise; gives the certificate of the authority that signed its own.
    pub(super) fn encrypted(name: &str) -> (Self, String) {
        let mut authority = String::new();
        let server = Self::start_with(0, name, |folder, _, at| {
            authority = issue(folder.path());
            launch_plainly(
                folder,
                &["--port", "0", "--tls-port", &at.client.port().to_string()],
            )
        });
        (server, authority)
    }

    /// A Sentinel that wants no login and watches another under the name `main`.
    pub(super) fn sentinel_of(watched: &Self) -> Self {
        Self::start_with(0, "sentinel", |folder, _, at| {
            // Quoted as `redis.conf` wants it.
            let password = password().0.replace('\\', "\\\\").replace('"', "\\\"");
            let conf = format!(
                "port {}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\nsentinel auth-pass main \"{password}\"\n",
                at.client.port(),
                watched.at.client.port()
            );
            let file = folder.path().join("sentinel.conf");
            fs::write(&file, conf).expect("a file can be written");
            Command::new("redis-server")
                .arg(file)
                .arg("--sentinel")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server is installed")
        })
    }

    fn start_with(
        shard: u32,
        name: &str,
        launch: impl FnOnce(&TempDir, &PodKey, Address) -> Child,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for part in ["conf", "data", "run", "secret"] {
            fs::create_dir(folder.path().join(part)).expect("a folder can be made");
        }
        fs::write(folder.path().join("secret/password"), password().0)
            .expect("a file can be written");
        let at = free_address();
        let key = PodKey {
            shard,
            name: name.to_owned(),
            uid: format!("uid-of-{name}-{}", at.client.port()),
        };
        let process = launch(&folder, &key, at);
        Self {
            key,
            at,
            folder,
            process,
        }
    }

    /// Ends the process at once and starts the pod's successor: another UID and address. It keeps the data or not.
    pub(super) fn replace(&mut self, keep_data: bool) {
        self.kill();
        if !keep_data {
            let data = self.folder.path().join("data");
            fs::remove_dir_all(&data).expect("the data can be deleted");
            fs::create_dir(&data).expect("a folder can be made");
        }
        self.at = free_address();
        self.key.uid = format!("uid-of-{}-{}", self.key.name, self.at.client.port());
        self.process = launch(&self.folder, &self.key, self.at);
    }

    /// Ends the process at once.
    pub(super) fn kill(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it ends");
    }

    /// The pod as Kubernetes would show it.
    pub(super) fn pod(&self) -> RedisPod {
        RedisPod {
            key: self.key.clone(),
            process: Process::Running(self.at),
        }
    }

    pub(super) fn at(&self) -> Address {
        self.at
    }

    pub(super) fn login(&self) -> Login {
        Login::managed(self.at, &password())
    }

    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Runs one of the pod's scripts and tells whether it succeeded, and what it printed.
    pub(super) fn run(&self, script: &str, arguments: &[&str]) -> (bool, String) {
        let output = command(&self.folder, script)
            .args(arguments)
            .env("PORT", self.at.client.port().to_string())
            .output()
            .expect("a shell is there");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.process.kill();
        let _waited = self.process.wait();
    }
}

fn free_address() -> Address {
    let free = || TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let (client, bus) = (free(), free());
    let port = |listener: &TcpListener| {
        listener
            .local_addr()
            .map(|at: SocketAddr| at.port())
            .expect("it is bound")
    };
    Address {
        client: ([127, 0, 0, 1], port(&client)).into(),
        bus_port: port(&bus),
    }
}

fn launch(folder: &TempDir, key: &PodKey, at: Address) -> Child {
    let path = |part: &str| folder.path().join(part).display().to_string();
    for (name, text) in redis_files(None) {
        let text = text
            .replace("/run/redis/", &format!("{}/", path("run")))
            .replace("dir /data\n", &format!("dir {}\n", path("data")))
            .replace(
                "port 6379\n",
                &format!("port {}\ncluster-port {}\n", at.client.port(), at.bus_port),
            )
            .replace("bind * -::*\n", "bind 127.0.0.1\n")
            .replace("cluster-node-timeout 5000", "cluster-node-timeout 1000");
        fs::write(folder.path().join("conf").join(name), text).expect("a file can be written");
    }
    let log = fs::File::create(folder.path().join("log")).expect("a file can be written");
    command(folder, "start.sh")
        .env("POD_IP", at.client.ip().to_string())
        .env("POD_UID", &key.uid)
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a file can be shared"))
        .stdout(log)
        .spawn()
        .expect("redis-server is installed")
}

fn launch_alone(folder: &TempDir, _key: &PodKey, at: Address) -> Child {
    launch_plainly(folder, &["--port", &at.client.port().to_string()])
}

/// As somebody else might run it.
fn launch_plainly(folder: &TempDir, arguments: &[&str]) -> Child {
    let log = fs::File::create(folder.path().join("log")).expect("a file can be written");
    let files = ["ca.pem", "server.pem", "server.key"];
    let [ca, certificate, key] = files.map(|file| folder.path().join(file).display().to_string());
    let mut server = Command::new("redis-server");
    server
        .args(["--bind", "127.0.0.1", "--save", ""])
        .args(["--requirepass", &password().0])
        .args(arguments);
    if arguments.contains(&"--tls-port") {
        server.args(["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"]);
        server.args(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
    }
    server
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log)
        .spawn()
        .expect("redis-server is installed")
}

/// Puts a certificate for 127.0.0.1, its key and its authority's certificate into a folder, and gives the latter.
fn issue(folder: &std::path::Path) -> String {
    let key = KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::new([]).expect("no names are fine");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("a certificate can be made");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key can be made");
    let server = CertificateParams::new(["127.0.0.1".to_owned()])
        .and_then(|params| params.signed_by(&key, &issuer))
        .expect("a certificate can be made");
    for (name, content) in [
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
        ("ca.pem", authority.pem()),
    ] {
        fs::write(folder.join(name), content).expect("a file can be written");
    }
    authority.pem()
}

fn command(folder: &TempDir, script: &str) -> Command {
    let path = |part: &str| folder.path().join(part);
    let mut command = Command::new("/bin/sh");
    command
        .arg(path("conf").join(script))
        .env("CONF", path("conf"))
        .env("DATA", path("data"))
        .env("RUN", path("run"))
        .env("SECRET", path("secret"))
        .env("EMPTY_WAIT_SECONDS", "3");
    command
}

/// Asks again and again until `check` yields something; fails with `what` after [`PATIENCE`].
pub(super) async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
