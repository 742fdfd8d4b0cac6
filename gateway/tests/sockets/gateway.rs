//! A gateway on free ports, and clients of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use jsonwebtoken::{EncodingKey, Header, encode};
use rotunda_crds::GatewayConfig;
use rotunda_crds::config::{
    ApiKeyConfig, JwtConfig, JwtKeyConfig, RoomConfig, RoomMatch, RoomPolicy,
};
use rotunda_crds::realtime_cluster::auth::JwtAlgorithm;
use rotunda_gateway::broker::Broker;
use rotunda_gateway::broker::memory::MemoryBroker;
use rotunda_gateway::config::{Files, Settings};
use rotunda_gateway::gateway::Gateway;
use rotunda_gateway::http::PublicEntrance;
use rotunda_gateway::hub::Rooms;
use rotunda_gateway::ids::UserId;
use rotunda_gateway::metrics::Metrics;
use rotunda_gateway::ops::{self, Ops};
use rotunda_gateway::policy::PublishCounters;
use rotunda_gateway::server::{Entrance, Open, Terms, Timeouts};
use rotunda_gateway::{http, server, token};
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

/// No answer takes longer on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const API_KEY: &str = "key-of-the-backend";
pub(crate) const OTHER_API_KEY: &str = "key-of-the-batch-jobs";

/// A running gateway; it ends with the test's runtime.
pub(crate) struct TestGateway {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) listeners: CancellationToken,
    pub(crate) files: Files,
    pub(crate) client: SocketAddr,
    api: SocketAddr,
    ops: SocketAddr,
}

/// A room for each name or pattern.
pub(crate) fn config(rooms: &[&str]) -> GatewayConfig {
    let mut config = GatewayConfig::default();
    config.auth.jwt = Some(JwtConfig {
        keys: vec![JwtKeyConfig {
            id: "main".to_owned(),
            file: Some("jwt.main".to_owned()),
            jwks_url: None,
            algorithms: vec![JwtAlgorithm::HS256],
        }],
        ..JwtConfig::default()
    });
    config.auth.api_keys = ["backend", "batch"]
        .map(|name| ApiKeyConfig {
            name: name.to_owned(),
            file: format!("apikey.{name}"),
        })
        .to_vec();
    config.allowed_origins = vec!["https://app.example.com".to_owned()];
    config.rooms = rooms
        .iter()
        .map(|matches| RoomConfig {
            namespace: "demo".to_owned(),
            name: matches.replace([':', '*'], "-"),
            generation: 3,
            creation_timestamp: None,
            matches: if matches.contains('*') {
                RoomMatch::Pattern((*matches).to_owned())
            } else {
                RoomMatch::Name((*matches).to_owned())
            },
            policy: RoomPolicy::default(),
        })
        .collect();
    config
}

impl TestGateway {
    pub(crate) fn start(config: GatewayConfig) -> Self {
        Self::start_within(config, Timeouts::default())
    }

    /// Starts a gateway whose clients may take so long.
    pub(crate) fn start_within(config: GatewayConfig, timeouts: Timeouts) -> Self {
        let ttl = Duration::from_secs(30);
        Self::launch(config, timeouts, |rooms| MemoryBroker::start(ttl, rooms))
    }

    /// Starts a gateway on a broker.
    pub(crate) fn start_with(
        config: GatewayConfig,
        broker: impl FnOnce(Arc<Rooms>) -> Arc<dyn Broker>,
    ) -> Self {
        Self::launch(config, Timeouts::default(), broker)
    }

    fn launch(
        config: GatewayConfig,
        timeouts: Timeouts,
        broker: impl FnOnce(Arc<Rooms>) -> Arc<dyn Broker>,
    ) -> Self {
        let files = Files::from([
            ("jwt.main".to_owned(), b"a secret for tests".to_vec()),
            ("apikey.backend".to_owned(), API_KEY.as_bytes().to_vec()),
            ("apikey.batch".to_owned(), OTHER_API_KEY.as_bytes().to_vec()),
        ]);
        let counters = PublishCounters::default();
        let settings = Settings::build(config, &files, &counters).unwrap();
        let metrics = Arc::new(Metrics::new());
        let ops = Ops::new(Arc::clone(&metrics));
        let gateway = Gateway::start(settings, counters, metrics, broker);
        ops.gateway.set(Arc::clone(&gateway)).unwrap();
        let listeners = CancellationToken::new();
        let mut addresses = Vec::new();
        let ports: [(_, Arc<dyn Entrance>); 3] = [
            (http::public(&gateway, None), PublicEntrance::new(&gateway)),
            (http::server_api(&gateway), Arc::new(Open)),
            (ops::router(ops), Arc::new(Open)),
        ];
        for (router, entrance) in ports {
            let terms = Terms { timeouts, entrance };
            let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
            addresses.push(listener.local_addr().unwrap());
            let tracker = gateway.tracker.clone();
            let stop = listeners.clone();
            let serving = server::serve_on(terms, listener, router, tracker, stop);
            tokio::spawn(serving);
        }
        Self {
            gateway,
            listeners,
            files,
            client: addresses[0],
            api: addresses[1],
            ops: addresses[2],
        }
    }

    pub(crate) fn token(&self, user: &str) -> String {
        self.token_for(user, Duration::from_mins(1))
    }

    pub(crate) fn token_for(&self, user: &str, expires: Duration) -> String {
        self.mint(user, Map::new(), expires)
    }

    /// A token with more claims.
    pub(crate) fn token_with(&self, user: &str, claims: Value) -> String {
        let Value::Object(claims) = claims else {
            panic!("claims are an object")
        };
        self.mint(user, claims, Duration::from_mins(1))
    }

    fn mint(&self, user: &str, claims: Map<String, Value>, expires: Duration) -> String {
        let settings = self.gateway.settings();
        let user = UserId::parse(user).unwrap();
        token::mint(&settings.config, &self.files, &user, claims, expires).unwrap()
    }

    /// Signed with the right key, and over since 1970.
    pub(crate) fn expired_token(&self, user: &str) -> String {
        let claims = serde_json::json!({ "sub": user, "exp": 1 });
        let key = EncodingKey::from_secret(&self.files["jwt.main"]);
        encode(&Header::default(), &claims, &key).unwrap()
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.client
    }

    pub(crate) fn url(&self, query: &str) -> String {
        format!("ws://{}/v1/ws?{query}", self.client)
    }

    /// Connects with headers of one's own.
    pub(crate) async fn try_connect(
        &self,
        query: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Client, Error> {
        let mut request = self.url(query).into_client_request()?;
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let (socket, _) = connect_async(request).await?;
        Ok(Client { socket })
    }

    /// Connects a user and takes its welcome.
    pub(crate) async fn connect(&self, user: &str, query: &str) -> Client {
        let query = format!("token={}&{query}", self.token(user));
        let mut client = self.try_connect(&query, &[]).await.unwrap();
        let welcome = client.next().await;
        assert_eq!(
            (&welcome["type"], &welcome["user"]),
            (&"welcome".into(), &user.into())
        );
        client
    }

    pub(crate) async fn reload(&self, config: GatewayConfig) {
        let settings = Settings::build(config, &self.files, &self.gateway.counters).unwrap();
        self.gateway.reload(settings).await;
    }

    /// One HTTP request to the public port, with a token.
    pub(crate) async fn http(&self, user: &str, request: &str, body: &str) -> Answer {
        let bearer = format!("authorization: Bearer {}\r\n", self.token(user));
        exchange(self.client, request, &bearer, body).await
    }

    /// Publishes by a request, and returns the message's id.
    pub(crate) async fn publish(&self, user: &str, room: &str, data: &str) -> String {
        let request = format!("POST /v1/rooms/{room}/messages");
        let body = format!("{{\"data\":{data}}}");
        let answer = self.http(user, &request, &body).await;
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn http_with(&self, headers: &str, request: &str, body: &str) -> Answer {
        exchange(self.client, request, headers, body).await
    }

    /// One HTTP request to the server API.
    pub(crate) async fn api(&self, key: &str, request: &str, body: &str) -> Answer {
        exchange(
            self.api,
            request,
            &format!("authorization: Bearer {key}\r\n"),
            body,
        )
        .await
    }

    pub(crate) async fn api_with(&self, headers: &str, request: &str, body: &str) -> Answer {
        exchange(self.api, request, headers, body).await
    }

    /// Where `/metrics` is.
    pub(crate) fn ops_address(&self) -> SocketAddr {
        self.ops
    }

    pub(crate) async fn ops(&self, path: &str) -> Answer {
        exchange(self.ops, &format!("GET {path}"), "", "").await
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// As they came: some values have upper-case letters.
    headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut headers = self.headers.iter();
        headers.find_map(|(known, value)| known.eq_ignore_ascii_case(name).then(|| value.clone()))
    }

    /// Status and error code.
    pub(crate) fn error(&self) -> (u16, String) {
        (
            self.status,
            self.json()["error"]["code"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

/// Raw on purpose: also requests that no client library would send.
async fn exchange(address: SocketAddr, request: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        headers: head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        text: text.to_owned(),
    }
}

/// A WebSocket client.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub(crate) async fn send(&mut self, command: Value) {
        self.socket
            .send(Message::text(command.to_string()))
            .await
            .unwrap();
    }

    async fn message(&mut self) -> Option<Message> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match next.expect("nothing came in time")? {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(message) => return Some(message),
                Err(_) => return None,
            }
        }
    }

    /// The next frame but presence.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let Some(Message::Text(text)) = self.message().await else {
                panic!("the connection ended")
            };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] != "presence" {
                return frame;
            }
        }
    }

    /// The next frame of a type.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let Some(Message::Text(text)) = self.message().await else {
                panic!("the connection ended")
            };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    pub(crate) async fn ask(&mut self, command: Value) -> Value {
        self.send(command).await;
        self.next().await
    }

    /// How it is closed, whatever comes before.
    pub(crate) async fn closed(mut self) -> CloseFrame {
        loop {
            match self.message().await {
                Some(Message::Close(frame)) => return frame.expect("a code"),
                Some(_) => {}
                None => panic!("the connection ended without a close"),
            }
        }
    }

    pub(crate) async fn close(mut self) {
        let normal = tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode::Normal;
        let frame = CloseFrame {
            code: normal,
            reason: "".into(),
        };
        self.socket.close(Some(frame)).await.unwrap();
        while self.message().await.is_some() {}
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it never came true");
}
