//! The program itself, told to end before it could serve anybody.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rotunda_crds::config::{encode_gzip, files};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::gateway::{config, eventually};

/// Far less than the drain of a minute that these gateways would have.
const PROMPTLY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_gateway_that_waits_for_its_redis_ends_promptly_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&["lobby"]);
    config.drain_seconds = 60;
    config.redis.url_file = Some(files::REDIS_URL_FILE.to_owned());
    let redis = format!("redis://127.0.0.1:{}", free_port());
    let content: [(&str, &[u8]); 6] = [
        (files::CONFIG_FILE, &encode_gzip(&config)),
        (files::REVISION_FILE, config.secrets_revision.as_bytes()),
        (files::REDIS_URL_FILE, redis.as_bytes()),
        ("jwt.main", b"a secret for tests"),
        ("apikey.backend", b"key-of-the-backend"),
        ("apikey.batch", b"key-of-the-batch-jobs"),
    ];
    for (name, bytes) in content {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    ends_promptly_while_it_says(folder.path(), "refused").await;
}

#[tokio::test]
async fn a_gateway_that_waits_for_its_config_ends_promptly_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    ends_promptly_while_it_says(folder.path(), files::CONFIG_FILE).await;
}

/// `why`: part of what `/readyz` says meanwhile.
async fn ends_promptly_while_it_says(folder: &Path, why: &str) {
    let [client, api, ops] = [free_port(), free_port(), free_port()];
    let mut gateway: Child = tokio::process::Command::new(env!("CARGO_BIN_EXE_rotunda-gateway"))
        .arg("serve")
        .arg("--config-dir")
        .arg(folder)
        .arg(format!("--listen=127.0.0.1:{client}"))
        .arg(format!("--api-listen=127.0.0.1:{api}"))
        .arg(format!("--ops-listen=127.0.0.1:{ops}"))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually(async || readiness(ops).await.contains(why)).await;
    let told = Instant::now();
    let pid = gateway.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    let status = tokio::time::timeout(PROMPTLY, gateway.wait()).await;
    let status = status.expect("it ends").unwrap();
    assert!(status.success(), "{status} after {:?}", told.elapsed());
}

/// What `/readyz` answers, empty while nobody does.
async fn readiness(port: u16) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await {
        let request = b"GET /readyz HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.ok();
        stream.read_to_string(&mut answer).await.ok();
    }
    answer
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
