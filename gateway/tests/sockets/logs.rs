//! What the program itself writes into its log, at the most talkative level: never a token, whichever way it came.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::gateway::PATIENCE;

#[tokio::test]
async fn a_gateway_never_logs_a_token() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/chat");
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_rotunda-gateway"));
    program.arg("dev").arg(example);
    for flag in ["--listen", "--api-listen", "--ops-listen"] {
        program.args([flag, "127.0.0.1:0"]);
    }
    let mut gateway = program
        .env("RUST_LOG", "trace")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(gateway.stderr.take().unwrap()).lines();
    let mut log = String::new();
    let address: SocketAddr = loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.unwrap().unwrap().expect("it says where it serves");
        log.push_str(&line);
        let line: Value = serde_json::from_str(&line).unwrap();
        if let Some(page) = line["page"].as_str() {
            let address = page.trim_start_matches("http://").trim_end_matches('/');
            break address.parse().unwrap();
        }
    };
    // Read on meanwhile, so that it never waits for a reader.
    let reading = tokio::spawn(async move {
        while let Some(line) = lines.next_line().await.unwrap() {
            log.push_str(&line);
            log.push('\n');
        }
        log
    });

    let minted = ask(address, "GET /dev/token?user=alice", "").await;
    let (_, body) = minted.split_once("\r\n\r\n").unwrap();
    let minted: Value = serde_json::from_str(body).unwrap();
    let token = minted["token"].as_str().unwrap();
    let encoded = BASE64_URL_SAFE_NO_PAD.encode(token);
    let url = format!("ws://{address}/v1/ws?room=lobby");
    for (query, header, value) in [
        (format!("&token={token}"), "x-none", String::new()),
        (String::new(), "authorization", format!("Bearer {token}")),
        (
            String::new(),
            "sec-websocket-protocol",
            format!("rotunda.v1, bearer.{encoded}"),
        ),
    ] {
        let mut request = format!("{url}{query}").into_client_request().unwrap();
        request.headers_mut().insert(header, value.parse().unwrap());
        let (mut socket, _) = connect_async(request).await.unwrap();
        let welcome = socket.next().await.unwrap().unwrap();
        assert!(welcome.to_text().unwrap().contains("alice"), "{welcome}");
        // One that is refused tells no more.
        let bad = format!("{url}&token={token}x");
        connect_async(bad).await.unwrap();
    }
    let bearer = format!("authorization: Bearer {token}\r\n");
    ask(address, "GET /v1/rooms/lobby/members", &bearer).await;
    ask(
        address,
        &format!("GET /v1/poll?room=lobby&wait=0&token={token}"),
        "",
    )
    .await;
    ask(address, &format!("GET /nowhere?token={token}"), "").await;

    gateway.kill().await.unwrap();
    let log = tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap()
        .unwrap();
    assert!(
        log.contains("connected") && log.contains("/v1/rooms/lobby/members"),
        "{log}"
    );
    let signature = token.rsplit('.').next().unwrap();
    for secret in [signature, &encoded] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// One request, and all that comes back.
async fn ask(address: SocketAddr, request: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text =
        format!("{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap()
        .unwrap();
    answer
}
