//! Tokens and API keys are nobody's business: a whole gateway at its most talkative, searched for those that it was given.

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc;
    use std::thread::JoinHandle;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};
    use tokio_tungstenite::tungstenite::{Message, client, http};

    const SECRET: &str = "the-shared-secret-of-this-test-alone";
    const API_KEY: &str = "the-api-key-of-this-test-alone";
    const REFUSED_API_KEY: &str = "an-api-key-that-nobody-has-given-out";

    const MANIFESTS: &str = r#"
apiVersion: rotunda.dev/v1alpha1
kind: RealtimeCluster
metadata: { name: quiet, namespace: test }
spec:
  auth:
    jwt: { keys: [{ id: main, secretRef: { name: keys, key: secret }, algorithms: [HS256] }] }
    apiKeysSecretRef: { name: api-keys }
  monitoring: { tracing: { endpoint: "http://127.0.0.1:9", sampleRatio: 1 } }
---
{ apiVersion: v1, kind: Secret, metadata: { name: keys, namespace: test }, stringData: { secret: SECRET } }
---
{ apiVersion: v1, kind: Secret, metadata: { name: api-keys, namespace: test }, stringData: { backend: API_KEY } }
---
apiVersion: rotunda.dev/v1alpha1
kind: Room
metadata: { name: lobby, namespace: test }
spec:
  clusterRef: { name: quiet }
  name: lobby
  access: { publish: "user.claims.marker == 'never'" }
"#;

    /// A gateway that logs all there is to log; it ends when dropped.
    struct Gateway {
        process: Child,
        log: Option<JoinHandle<String>>,
        client: SocketAddr,
        api: SocketAddr,
        ops: SocketAddr,
    }

    impl Gateway {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let manifests = folder.path().join("quiet.yaml");
            let text = MANIFESTS
                .replace("SECRET", SECRET)
                .replace("API_KEY", API_KEY);
            std::fs::write(&manifests, text).unwrap();
            let free = || {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                listener.local_addr().unwrap()
            };
            let (client, api, ops) = (free(), free(), free());
            let mut process = Command::new(env!("CARGO_BIN_EXE_rotunda-gateway"))
                .arg("dev")
                .arg(&manifests)
                .args(["--listen", &client.to_string()])
                .args(["--api-listen", &api.to_string()])
                .args(["--ops-listen", &ops.to_string()])
                .env("RUST_LOG", "trace,tungstenite::protocol=trace")
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(process.stderr.take().unwrap()).lines();
            let (serving, started) = mpsc::channel();
            let log = std::thread::spawn(move || {
                let mut log = String::new();
                for line in lines.map_while(Result::ok) {
                    if line.contains("serving; stop with") {
                        serving.send(()).ok();
                    }
                    log.push_str(&line);
                    log.push('\n');
                }
                log
            });
            started.recv_timeout(Duration::from_secs(30)).unwrap();
            Self {
                process,
                log: Some(log),
                client,
                api,
                ops,
            }
        }

        /// Ends it; all that it said.
        fn log(mut self) -> String {
            self.process.kill().unwrap();
            self.log.take().unwrap().join().unwrap()
        }
    }

    impl Drop for Gateway {
        fn drop(&mut self) {
            self.process.kill().ok();
            self.process.wait().ok();
        }
    }

    fn request(address: SocketAddr, request: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let length = body.len();
        write!(
        stream,
        "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Opens a WebSocket, says something, and hears what comes up to the close or an answer.
    fn converse(
        address: SocketAddr,
        query: &str,
        protocol: Option<&str>,
        says: &[Value],
    ) -> String {
        let mut request = http::Request::get(format!("ws://{address}/v1/ws?{query}"))
            .header("host", address.to_string())
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        if let Some(protocol) = protocol {
            request = request.header("sec-websocket-protocol", protocol);
        }
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let (mut socket, response) = client(request.body(()).unwrap(), stream).unwrap();
        let mut heard = vec![format!("{response:?}")];
        let mut hear = |socket: &mut tokio_tungstenite::tungstenite::WebSocket<TcpStream>| {
            let message = socket.read();
            heard.push(format!("{message:?}"));
            matches!(message, Ok(Message::Text(_)))
        };
        // The welcome, or the close.
        if hear(&mut socket) {
            for frame in says {
                socket.send(Message::text(frame.to_string())).unwrap();
                hear(&mut socket);
            }
        }
        heard.join("\n")
    }

    /// A token; its claims hold the marker, so that they are found too if they get out by themselves.
    fn token(marker: &str, secret: &str, valid_seconds: u64) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let expires = if valid_seconds == 0 {
            1
        } else {
            now + valid_seconds
        };
        let claims = json!({ "sub": "alice", "exp": expires, "marker": marker });
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&Header::default(), &claims, &key).unwrap()
    }

    #[test]
    fn no_token_and_no_key_is_in_a_log_a_metric_or_an_answer() {
        let gateway = Gateway::start();
        let mut tokens = Vec::new();
        let mut told = String::new();
        for (index, (secret, valid)) in [(SECRET, 60), ("forged", 60), (SECRET, 0)]
            .iter()
            .enumerate()
        {
            let mut mint = |way: &str| {
                let token = token(&format!("marker-{way}-{index}-value"), secret, *valid);
                tokens.push(token.clone());
                token
            };
            let (query, header, offered, again) = (mint("a"), mint("b"), mint("c"), mint("d"));
            let protocol = format!("rotunda.v1, bearer.{}", URL_SAFE_NO_PAD.encode(&offered));
            let denied = json!({ "type": "publish", "ref": 1, "room": "lobby", "data": 1 });
            let refresh = json!({ "type": "refresh", "ref": 2, "token": again });
            let says = [denied, refresh];
            told += &converse(gateway.client, &format!("token={query}"), None, &says);
            told += &converse(gateway.client, "", Some(&protocol), &says);
            let bearer = format!("authorization: Bearer {header}\r\n");
            for path in [
                "/v1/poll?room=lobby&wait=0",
                "/v1/rooms/lobby/members",
                "/v1/ws",
                "/v1/none",
            ] {
                told += &request(gateway.client, &format!("GET {path}"), &bearer, "");
                let parameter = if path.contains('?') { '&' } else { '?' };
                let asked = format!("GET {path}{parameter}token={query}");
                told += &request(gateway.client, &asked, "", "");
            }
            let publish = "POST /v1/rooms/lobby/messages";
            told += &request(gateway.client, publish, &bearer, r#"{"data":1}"#);
            let foreign = format!("{bearer}origin: https://evil.example\r\n");
            told += &request(gateway.client, publish, &foreign, r#"{"data":1}"#);
            // A client's token is no key.
            told += &request(gateway.api, publish, &bearer, r#"{"data":1}"#);
        }
        for key in [API_KEY, REFUSED_API_KEY] {
            let bearer = format!("authorization: Bearer {key}\r\n");
            let publish = "POST /v1/rooms/lobby/messages";
            told += &request(gateway.api, publish, &bearer, r#"{"data":1}"#);
            told += &request(gateway.api, publish, &bearer, r#"{"data":"#);
        }
        for path in ["/metrics", "/stats", "/readyz"] {
            told += &request(gateway.ops, &format!("GET {path}"), "", "");
        }
        let log = gateway.log();
        // What is searched is worth searching: every connection is in the log, every kind of answer was given.
        assert!(log.contains("DEBUG") && log.contains("connected"), "{log}");
        for part in [
            "welcome",
            "refreshed",
            "access.publish",
            "has expired",
            "signature is wrong",
            " 401 ",
            " 403 ",
            " 200 ",
        ] {
            assert!(told.contains(part), "{part} is missing in {told}");
        }
        let mut secrets = vec![
            SECRET.to_owned(),
            API_KEY.to_owned(),
            REFUSED_API_KEY.to_owned(),
        ];
        for token in &tokens {
            secrets.push(URL_SAFE_NO_PAD.encode(token));
            // The head is the same for all of the world's tokens; the claims and the signature aren't.
            secrets.extend(token.split('.').skip(1).map(str::to_owned));
        }
        secrets.push("marker-".to_owned());
        for (place, text) in [("the log", &log), ("an answer", &told)] {
            for secret in &secrets {
                let found = text.lines().find(|line| line.contains(secret.as_str()));
                assert_eq!(found, None, "{secret} is in {place}");
            }
        }
    }
}
