//! `/stats` of a gateway: what it says about itself.

use serde::Deserialize;
use thiserror::Error;

/// What a gateway is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Takes connections.
    #[default]
    Serving,
    /// Hands its connections over.
    Draining,
    /// Something that a newer gateway says.
    #[serde(other)]
    Other,
}

/// What a gateway says about itself. Unknown fields are those of a newer gateway.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stats {
    /// Release of the gateway.
    pub version: String,
    /// What it is doing.
    pub state: State,
    /// Revision of the config in force.
    pub revision: Option<String>,
    /// Why it refused the newest config.
    pub config_error: Option<String>,
    /// Open connections.
    pub connections: u64,
    /// Rooms with at least one connection here.
    pub active_rooms: u64,
    /// One entry for each Room resource of the config in force.
    pub rooms: Vec<RoomStats>,
}

impl Stats {
    /// The entry of one Room resource.
    pub fn room(&self, namespace: &str, name: &str) -> Option<&RoomStats> {
        self.rooms
            .iter()
            .find(|room| room.namespace == namespace && room.name == name)
    }
}

/// What a gateway says about one Room resource.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomStats {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Generation in force.
    pub generation: i64,
    /// Why its access expressions don't work.
    pub policy_error: Option<String>,
    /// Rooms of this policy with at least one connection here.
    pub active_rooms: u64,
    /// Members of these rooms that are connected here.
    pub members: u64,
    /// Messages published through this gateway since it started.
    pub messages_published: u64,
}

/// Why a gateway gave no answer.
#[derive(Debug, Error)]
pub enum StatsError {
    /// Nobody listens, or the connection broke.
    #[error("gateway can't be reached")]
    Connect(#[source] std::io::Error),
    /// The connection isn't HTTP, or broke.
    #[error("gateway's answer broke off")]
    Http(#[source] hyper::Error),
    /// Another status than 200.
    #[error("gateway answered with status {0}")]
    Status(u16),
    /// Larger than any real answer.
    #[error("gateway's answer is too large or broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not the expected JSON.
    #[error("gateway's answer can't be read")]
    Json(#[source] serde_json::Error),
    /// No answer in time.
    #[error("gateway didn't answer in time")]
    Timeout,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_of_a_newer_gateway_can_be_read() {
        let text = r#"{"version":"0.9.0","state":"hibernating","revision":null,"connections":3,"new":[1],
            "rooms":[{"namespace":"demo","name":"lobby","generation":2,"members":5,"policyError":null,"other":true}]}"#;
        let stats: Stats = serde_json::from_str(text).expect("readable");
        assert_eq!(stats.state, State::Other);
        assert_eq!(stats.revision, None);
        assert_eq!((stats.rooms[0].generation, stats.rooms[0].members), (2, 5));
    }
}
