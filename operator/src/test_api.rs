//! A stand-in for the API server in tests: objects in memory by path, a log of requests, answers that a test can replace.
//! It knows as much of apply, create, patch and delete as reconcilers depend on, and nothing of schemas.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use axum::http::{Method, Request, Response};
use futures::{FutureExt, future::BoxFuture};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::{
    context::{Context, Parts, Queues},
    gateways::{Gateways, PodTarget, Pods, Stats, StatsError},
    queue::{Requests, queue},
    stores::{Writers, stores},
};

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method and path, such as `GET /api/v1/namespaces/demo/secrets/chat-jwt`.
    pub(crate) what: String,
    /// The query string.
    pub(crate) query: String,
    /// The body, `null` without one.
    pub(crate) body: Value,
}

/// The stand-in; clones share everything.
#[derive(Clone, Default)]
pub(crate) struct TestApi {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    asked: Vec<Asked>,
    version: u64,
    refusals: BTreeMap<String, u16>,
}

impl TestApi {
    /// A client that talks to it.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { api.answer(request).await }
        });
        Client::new(service, "default")
    }

    /// Puts an object there.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state.lock();
        stamp(&mut state, path, &mut object);
        state.objects.insert(path.to_owned(), object);
    }

    /// The object at a path.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().objects.get(path).cloned()
    }

    /// Everything that was asked since the last call.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().asked)
    }

    /// Refuses what starts with this method and path from now on.
    pub(crate) fn refuse(&self, what: &str, code: u16) {
        self.state.lock().refusals.insert(what.to_owned(), code);
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let path = parts.uri.path().to_owned();
        let mut state = self.state.lock();
        let asked = Asked {
            what: format!("{} {path}", parts.method),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: body.clone(),
        };
        let refusal = state
            .refusals
            .iter()
            .find(|(what, _)| asked.what.starts_with(what.as_str()));
        let (code, answer) = match refusal.map(|(_, code)| *code) {
            Some(code) => (code, failure(code)),
            None => carry_out(&mut state, &parts.method, &path, body),
        };
        state.asked.push(asked);
        let response = Response::builder()
            .status(code)
            .body(Body::from(answer.to_string().into_bytes()));
        Ok(response.expect("a response"))
    }
}

fn carry_out(state: &mut State, method: &Method, path: &str, mut body: Value) -> (u16, Value) {
    // A status lives in its object.
    let path = path.trim_end_matches("/status");
    match method.as_str() {
        "GET" => state
            .objects
            .get(path)
            .map_or_else(|| (404, failure(404)), |object| (200, object.clone())),
        "POST" if path.ends_with("/events") => (201, body),
        "POST" => {
            let path = format!(
                "{path}/{}",
                body["metadata"]["name"].as_str().unwrap_or_default()
            );
            if state.objects.contains_key(&path) {
                return (409, failure(409));
            }
            stamp(state, &path, &mut body);
            state.objects.insert(path, body.clone());
            (201, body)
        }
        "PUT" => match state.objects.get(path) {
            None => (404, failure(404)),
            Some(object)
                if object["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] =>
            {
                (409, failure(409))
            }
            Some(_) => {
                stamp(state, path, &mut body);
                state.objects.insert(path.to_owned(), body.clone());
                (200, body)
            }
        },
        "PATCH" => {
            let mut object = state
                .objects
                .get(path)
                .cloned()
                .unwrap_or_else(|| json!({}));
            let before = object.clone();
            merge(&mut object, body);
            if object != before {
                stamp(state, path, &mut object);
            }
            state.objects.insert(path.to_owned(), object.clone());
            (200, object)
        }
        "DELETE" => match state.objects.remove(path) {
            Some(object) => (200, object),
            None => (404, failure(404)),
        },
        _ => (405, failure(405)),
    }
}

/// Gives an object what only the server gives.
fn stamp(state: &mut State, path: &str, object: &mut Value) {
    state.version += 1;
    let name = path.rsplit('/').next().unwrap_or_default();
    let meta = &mut object["metadata"];
    if meta["name"].is_null() {
        meta["name"] = json!(name);
    }
    if meta["uid"].is_null() {
        meta["uid"] = json!(format!("uid-of-{name}"));
    }
    meta["resourceVersion"] = json!(state.version.to_string());
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn failure(code: u16) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": format!("refused with {code}"), "code": code,
    })
}

/// A context on this stand-in, with the writing ends of its (empty) stores.
pub(crate) struct Bench {
    pub(crate) api: TestApi,
    pub(crate) ctx: Arc<Context>,
    pub(crate) writers: Writers,
    // Held, so that pushing into the queues finds someone.
    _requests: [Requests; 2],
}

impl Bench {
    pub(crate) fn new() -> Self {
        let api = TestApi::default();
        let (stores, writers) = stores();
        let (clusters, cluster_requests) = queue();
        let (rooms, room_requests) = queue();
        let tasks = TaskTracker::new();
        let ctx = Context::new(Parts {
            client: api.client(),
            settings: crate::cluster::validate::settings(),
            stores,
            gateways: Gateways::new(Arc::new(NoPods), Arc::new(|_, _| {}), tasks.clone()),
            queues: Queues { clusters, rooms },
            metrics: Arc::default(),
            tasks,
            instance: Some("test".to_owned()),
        });
        Self {
            api,
            ctx: Arc::new(ctx),
            writers,
            _requests: [cluster_requests, room_requests],
        }
    }
}

/// Gateways that nobody can reach.
struct NoPods;

impl Pods for NoPods {
    fn stats<'a>(&'a self, _: &'a PodTarget) -> BoxFuture<'a, Result<Stats, StatsError>> {
        futures::future::ready(Err(StatsError::Timeout)).boxed()
    }

    fn annotate<'a>(
        &'a self,
        _: &'a PodTarget,
        _: String,
    ) -> BoxFuture<'a, Result<(), kube::Error>> {
        futures::future::ready(Ok(())).boxed()
    }
}
