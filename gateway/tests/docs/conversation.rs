//! Plays the conversations of a page, each against a gateway of its own.
//!
//! Frames that are shown one after the other must come, and nothing else. An `ack` and what its publish delivers may come in either order,
//! as the protocol says; the frames of one room must come as shown. The welcome and
//! presence are left out where a conversation shows none. Every frame is
//! checked against its schema too, what is shown and what came.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bindings::Bindings;
use crate::clients::{Answer, Came, Client, request};
use crate::gateway::{API_KEY, Running};
use crate::page::Page;
use crate::schemas::Schemas;
use crate::script::{Step, parse};

/// Stands for the sender's token in what a client sends.
const TOKEN: &str = "TOKEN";

/// Plays all of a page; how many there were.
pub(crate) async fn play_all(page: &Page) -> usize {
    let blocks = page.blocks("text conversation");
    let schemas = Schemas::read();
    for block in &blocks {
        let played = async { Play::start(parse(&block.text)?, &schemas).run().await };
        if let Err(error) = played.await {
            panic!("{}: {error}", block.place);
        }
    }
    blocks.len()
}

/// A request, and how it was answered.
struct Asked {
    who: String,
    path: String,
    answer: Answer,
}

struct Play<'a> {
    steps: std::vec::IntoIter<Step>,
    schemas: &'a Schemas,
    gateway: Running,
    bindings: Bindings,
    clients: BTreeMap<String, Client>,
    answer: Option<Asked>,
    /// Types of frames that aren't shown.
    ignores: Vec<&'static str>,
}

impl<'a> Play<'a> {
    fn start(steps: Vec<Step>, schemas: &'a Schemas) -> Self {
        let rooms: Vec<_> = steps.iter().filter_map(room).collect();
        let shows = |kind: &str| {
            let shown =
                |step: &Step| matches!(step, Step::Receive { frame, .. } if frame["type"] == kind);
            steps.iter().any(shown)
        };
        let mut ignores = vec!["welcome", "presence"];
        ignores.retain(|kind| !shows(kind));
        Self {
            steps: steps.into_iter(),
            schemas,
            gateway: Running::start(&rooms.join("\n---\n")),
            bindings: Bindings::default(),
            clients: BTreeMap::new(),
            answer: None,
            ignores,
        }
    }

    async fn run(mut self) -> Result<(), String> {
        while let Some(step) = self.steps.next() {
            let text = format!("{step:?}");
            self.step(step)
                .await
                .map_err(|error| format!("{error}\n  at {text}"))?;
        }
        for (who, client) in self.clients {
            if let Some(frame) = client.close().await.first() {
                return Err(format!("{who} also gets {frame}"));
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Room { .. } => {}
            Step::Connect { who, path } => self.connect(who, &path).await,
            Step::Send { who, frame } => self.send(&who, &frame).await?,
            Step::Receive { who, frame } => self.receive(&who, frame).await?,
            Step::Request {
                who,
                method,
                path,
                body,
            } => {
                let (address, bearer) = match who.as_str() {
                    "server" => (self.gateway.api, Some(API_KEY.to_owned())),
                    "nobody" => (self.gateway.client, None),
                    user => (self.gateway.client, Some(self.gateway.token(user))),
                };
                let (path, body) = (
                    self.bindings.substitute(&path),
                    self.bindings.substitute(&body),
                );
                let answer = request(address, &method, &path, bearer.as_deref(), &body).await;
                self.answer = Some(Asked { who, path, answer });
            }
            Step::Answer { who, status, body } => self.answered(&who, status, &body)?,
            Step::Close { who } => {
                let client = self.clients.remove(&who).ok_or("not connected")?;
                if let Some(frame) = client.close().await.first() {
                    return Err(format!("{who} also gets {frame}"));
                }
            }
            Step::CutOff { who } => drop(self.clients.remove(&who).ok_or("not connected")?),
            Step::Closed { who, code, reason } => {
                let mut client = self.clients.remove(&who).ok_or("not connected")?;
                match client.next().await? {
                    Came::Closed {
                        code: came,
                        reason: text,
                    } if came == code && text == reason => {}
                    other => return Err(format!("{who} gets {other:?}")),
                }
            }
            Step::Drain => self.gateway.drain(),
            Step::Pass { milliseconds } => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
        }
        Ok(())
    }

    async fn connect(&mut self, who: String, path: &str) {
        let token = (who != "nobody").then(|| self.gateway.token(&who));
        let path = self.bindings.substitute(path);
        let mut client = Client::connect(self.gateway.client, &path, token.as_deref()).await;
        client.ignores.clone_from(&self.ignores);
        self.clients.insert(who, client);
    }

    async fn send(&mut self, who: &str, frame: &str) -> Result<(), String> {
        // What breaks the protocol on purpose is no JSON, or has no schema.
        if let Ok(shown) = serde_json::from_str(frame) {
            self.schemas.check_command_if_known(&shown)?;
        }
        let frame = self.bindings.substitute(frame);
        let frame = frame.replace(
            &format!("\"{TOKEN}\""),
            &format!("\"{}\"", self.gateway.token(who)),
        );
        let client = self.clients.get_mut(who).ok_or("not connected")?;
        client.send(&frame).await
    }

    /// Takes all frames that are shown for someone one after the other.
    async fn receive(&mut self, who: &str, first: Value) -> Result<(), String> {
        let mut shown = vec![first];
        while let Some(Step::Receive { who: next, frame }) = self.steps.as_slice().first()
            && next == who
        {
            shown.push(frame.clone());
            self.steps.next();
        }
        let client = self.clients.get_mut(who).ok_or("not connected")?;
        let mut came = Vec::new();
        while came.len() < shown.len() {
            match client.next().await {
                Ok(Came::Frame(frame)) => came.push(frame),
                other => return Err(format!("after {came:#?}\n{other:?}")),
            }
        }
        for shown in shown {
            let fits = |frame: &Value| stream(frame) == stream(&shown);
            let index = came
                .iter()
                .position(fits)
                .ok_or_else(|| format!("{shown} didn't come, but {came:#?}"))?;
            let frame = came.remove(index);
            self.schemas.check_event(&shown)?;
            self.schemas.check_event(&frame)?;
            self.bindings
                .compare(&shown, &frame)
                .map_err(|error| format!("{error}\n  shown {shown}\n  came  {frame}"))?;
        }
        Ok(())
    }

    fn answered(&mut self, who: &str, status: u16, body: &str) -> Result<(), String> {
        let asked = self.answer.take().ok_or("nothing was asked")?;
        let answer = asked.answer;
        if asked.who != who || answer.status != status {
            return Err(format!("{} gets {answer:?}", asked.who));
        }
        if asked.path.starts_with("/v1/poll") && status == 200 {
            for answer in [body, &answer.body] {
                let polled = serde_json::from_str(answer).map_err(|error| error.to_string())?;
                self.schemas.check_other("polled", &polled)?;
            }
        }
        self.bindings.compare_line(body, &answer.body)
    }
}

/// Frames of one stream keep their order: those of a room but presence, and answers.
fn stream(frame: &Value) -> (String, String) {
    let text = |member: &str| frame[member].as_str().unwrap_or_default().to_owned();
    match frame["type"].as_str() {
        Some("ack" | "signaled" | "presence") => (text("type"), text("room")),
        _ => (String::new(), text("room")),
    }
}

/// The manifest of a Room that a conversation asks for.
fn room(step: &Step) -> Option<String> {
    let Step::Room { name, spec } = step else {
        return None;
    };
    let matched = if name.contains('*') {
        "pattern"
    } else {
        "name"
    };
    let resource = name.replace([':', '*', '.'], "x");
    let mut spec: Value = serde_yaml::from_str(spec).unwrap();
    spec["clusterRef"] = json!({ "name": "chat" });
    spec[matched] = name.as_str().into();
    let manifest = json!({
        "apiVersion": "rotunda.dev/v1alpha1",
        "kind": "Room",
        "metadata": { "name": resource, "namespace": "chat-demo" },
        "spec": spec,
    });
    // JSON is YAML.
    Some(manifest.to_string())
}
