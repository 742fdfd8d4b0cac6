//! HTTP requests: paths, queries, headers and bodies, through the same routes that both ports serve.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use rotunda_crds::GatewayConfig;
use rotunda_crds::config::{ApiKeyConfig, JwtConfig, JwtKeyConfig};
use rotunda_crds::realtime_cluster::auth::JwtAlgorithm;
use rotunda_gateway::auth::Origins;
use rotunda_gateway::broker::memory::MemoryBroker;
use rotunda_gateway::config::{Files, Settings};
use rotunda_gateway::gateway::Gateway;
use rotunda_gateway::metrics::Metrics;
use rotunda_gateway::policy::PublishCounters;
use rotunda_gateway::{http, ids};
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const API_KEY: &str = "key";

/// Requests after which everything starts afresh, so that what they left behind doesn't pile up.
const REQUESTS: u32 = 5000;

struct Server {
    runtime: Runtime,
    gateway: Arc<Gateway>,
    public: Router,
    api: Router,
    requests: u32,
}

impl Server {
    fn start() -> Self {
        let mut config = GatewayConfig {
            undeclared_rooms: rotunda_crds::realtime_cluster::rooms::UndeclaredRooms::Allow,
            ..GatewayConfig::default()
        };
        config.auth.anonymous = true;
        config.auth.jwt = Some(JwtConfig {
            keys: vec![JwtKeyConfig {
                id: "main".to_owned(),
                file: Some("jwt".to_owned()),
                jwks_url: None,
                algorithms: vec![JwtAlgorithm::HS256],
            }],
            ..JwtConfig::default()
        });
        config.auth.api_keys = vec![ApiKeyConfig {
            name: "backend".to_owned(),
            file: "api".to_owned(),
        }];
        config.allowed_origins = vec!["https://*.example.org".to_owned()];
        let files = Files::from([
            ("jwt".to_owned(), b"a secret for tests".to_vec()),
            ("api".to_owned(), API_KEY.as_bytes().to_vec()),
        ]);
        let counters = PublishCounters::default();
        let settings = Settings::build(config, &files, &counters).expect("a fine config");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let gateway = runtime.block_on(async {
            Gateway::start(settings, counters, Arc::new(Metrics::new()), |rooms| {
                MemoryBroker::start(Duration::from_secs(30), rooms)
            })
        });
        Self {
            runtime,
            public: http::public(&gateway, None),
            api: http::server_api(&gateway),
            gateway,
            requests: 0,
        }
    }
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

fn with_server<T>(run: impl FnOnce(&Server) -> T) -> T {
    SERVER.with_borrow_mut(|server| {
        if server
            .as_ref()
            .is_some_and(|server| server.requests > REQUESTS)
        {
            *server = None;
        }
        let server = server.get_or_insert_with(Server::start);
        server.requests += 1;
        run(server)
    })
}

/// `METHOD target`, lines of headers, an empty line, a body. Methods in small letters are for the server API, with its key.
pub(super) fn request(input: &[u8]) {
    let Some((request, for_servers)) = parse(input) else {
        return;
    };
    let for_head = request.method() == Method::HEAD;
    with_server(|server| {
        let router = if for_servers {
            &server.api
        } else {
            &server.public
        };
        let (head, body) = server.runtime.block_on(async {
            let Ok(response) = router.clone().oneshot(request).await;
            let (head, body) = response.into_parts();
            let waiting = tokio::time::timeout(Duration::from_secs(5), to_bytes(body, 1 << 22));
            (head, waiting.await)
        });
        assert_ne!(head.status.as_u16(), 500);
        // A stream of events doesn't end by itself.
        if let Ok(Ok(body)) = body
            && head.status.is_client_error()
            && !for_head
        {
            let answer: Value = serde_json::from_slice(&body)
                .unwrap_or_else(|_| panic!("{} without an error: {body:?}", head.status));
            assert!(answer["error"]["code"].is_string() && answer["error"]["message"].is_string());
        }
    });
}

fn parse(input: &[u8]) -> Option<(Request<Body>, bool)> {
    let (line, mut rest) = split_line(input);
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (method, target) = (&line[..space], &line[space + 1..]);
    let for_servers = method.first()?.is_ascii_lowercase();
    let method = Method::from_bytes(&method.to_ascii_uppercase()).ok()?;
    let mut request = Request::builder().method(method).uri(target);
    if for_servers {
        request = request.header(header::AUTHORIZATION, format!("Bearer {API_KEY}"));
    }
    loop {
        let (line, after) = split_line(rest);
        rest = after;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request = request.header(name, value);
    }
    let request = request.body(Body::from(rest.to_vec())).ok()?;
    Some((request, for_servers))
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

/// The query of a WebSocket's handshake: each room is a wish or a failure.
pub(super) fn upgrade_query(input: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/v1/ws?", input].concat()) else {
        return;
    };
    let wishes = http::ws::wishes(&uri);
    let rooms = http::token::query_values(&uri, "room").count();
    assert_eq!(wishes.rooms.len() + wishes.failures.len(), rooms);
}

/// No text is taken for a token but one that was signed here.
pub(super) fn token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    with_server(|server| {
        let settings = server.gateway.settings();
        let checking = settings.authenticator.authenticate(Some(text));
        let admitted = server.runtime.block_on(checking);
        if let Ok(identity) = admitted {
            // The corpus holds none, and nobody guesses a signature.
            panic!("{:?} was let in", identity.user);
        }
    });
    if let Ok(user) = ids::UserId::parse(text) {
        assert_eq!(user.as_str(), text);
    }
}

/// A foreign page stays one: only hosts below the domain that is allowed.
pub(super) fn origin(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let origins = Origins::new(&["https://*.example.org".to_owned()]);
    if origins.allow(text, Some("gateway.example.net")) {
        let lower = text.to_ascii_lowercase();
        let host = lower.split_once("://").map_or("", |(_, host)| host);
        assert!(
            lower.starts_with("https://")
                && host.ends_with(".example.org")
                && !host.contains(['/', '@', ':', '?', '#'])
                || host == "gateway.example.net",
            "{text}"
        );
    }
}
