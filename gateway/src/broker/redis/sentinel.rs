//! Asks Sentinels which server is the primary (<https://redis.io/docs/latest/develop/reference/sentinel-clients/>).
//!
//! All are asked, and the answer with the highest configuration epoch counts: one that was cut off goes on naming the past. Whoever is named
//! is served by only while it says itself that it is the primary. Sentinels are offered the URL's user and password, and nothing if they refuse those.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::Value;
use tokio_util::task::TaskTracker;

use super::link::{Link, Login, describe};
use super::url::{Address, RedisUrl};
use super::wire::{list, number, text};

/// How long the others may take once one has answered.
const PATIENCE: Duration = Duration::from_millis(300);

/// The Sentinels of a URL and the connections to them.
pub(super) struct Sentinels {
    url: RedisUrl,
    master: Arc<str>,
    tasks: TaskTracker,
    links: Vec<(Address, Option<Link>)>,
}

/// What a Sentinel says.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    config_epoch: u64,
    primary: Address,
}

impl Sentinels {
    pub(super) fn new(url: &RedisUrl, master: &Arc<str>, tasks: &TaskTracker) -> Self {
        Self {
            url: url.clone(),
            master: Arc::clone(master),
            tasks: tasks.clone(),
            links: url
                .addresses
                .iter()
                .map(|address| (address.clone(), None))
                .collect(),
        }
    }

    /// The primary that most recently became so, as far as a Sentinel answers.
    pub(super) async fn primary(&mut self) -> Result<Address, String> {
        let (url, master, tasks) = (&self.url, &self.master, &self.tasks);
        let mut asked: FuturesUnordered<_> = self
            .links
            .iter_mut()
            .map(|(address, link)| ask(address, link, url, master, tasks))
            .collect();
        let mut best: Option<Named> = None;
        let mut why = "no Sentinel to ask".to_owned();
        while let Some(answer) = match &best {
            None => asked.next().await,
            Some(_) => tokio::time::timeout(PATIENCE, asked.next())
                .await
                .unwrap_or(None),
        } {
            match answer {
                Ok(named)
                    if best
                        .as_ref()
                        .is_none_or(|best| best.config_epoch < named.config_epoch) =>
                {
                    best = Some(named);
                }
                Ok(_) => {}
                Err(error) => why = error,
            }
        }
        best.map(|named| named.primary).ok_or(why)
    }
}

async fn ask(
    address: &Address,
    link: &mut Option<Link>,
    url: &RedisUrl,
    master: &str,
    tasks: &TaskTracker,
) -> Result<Named, String> {
    if link.as_ref().is_none_or(|link| link.lost.is_cancelled()) {
        *link = Some(connect(address, url, tasks).await?);
    }
    let Some(connected) = link else {
        return Err(format!("{address}: not connected"));
    };
    let mut command = redis::cmd("SENTINEL");
    command.arg("MASTER").arg(master);
    let answer = connected.connection.send_packed_command(&command).await;
    let answer = answer.and_then(Value::extract_error).map_err(|error| {
        let detail = error.detail().unwrap_or_default();
        if detail.contains("No such master") {
            return format!(
                "{address}: this Sentinel knows no primary named {master}: check the name at the end of the URL"
            );
        }
        if detail.contains("unknown command") {
            return format!("{address}: it is no Sentinel, use a redis:// URL, or the Sentinels' port");
        }
        format!("{address}: {}", describe(&error))
    });
    if answer.is_err() {
        // One that hangs is asked on a connection of its own next time.
        *link = None;
    }
    read_answer(answer?).ok_or_else(|| format!("{address}: its answer isn't readable"))
}

async fn connect(address: &Address, url: &RedisUrl, tasks: &TaskTracker) -> Result<Link, String> {
    match Link::open(address, url, Login::NoDatabase, tasks).await {
        Err(no_link) if no_link.refused => Link::open(address, url, Login::Nobody, tasks).await,
        opened => opened,
    }
    .map_err(|no_link| no_link.why)
}

/// Reads an answer to `SENTINEL MASTER`: alternating names and values.
fn read_answer(answer: Value) -> Option<Named> {
    let fields = list(answer).ok()?;
    let field = |name: &str| {
        fields
            .chunks_exact(2)
            .find(|pair| text(&pair[0]).is_ok_and(|found| found == name))
            .map(|pair| &pair[1])
    };
    let port = u16::try_from(number(field("port")?).ok()?).ok()?;
    Some(Named {
        config_epoch: number(field("config-epoch")?).ok()?,
        primary: Address::new(text(field("ip")?).ok()?, port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fields: &[&str]) -> Value {
        let text = |field: &&str| Value::BulkString(field.as_bytes().to_vec());
        Value::Array(fields.iter().map(text).collect())
    }

    #[test]
    fn an_answer_names_the_primary_and_how_new_that_is() {
        let full = answer(&[
            "name",
            "m",
            "ip",
            "10.0.0.1",
            "port",
            "6379",
            "config-epoch",
            "7",
        ]);
        let named = Named {
            config_epoch: 7,
            primary: Address::new("10.0.0.1", 6379),
        };
        assert_eq!(read_answer(full), Some(named));
        for broken in [
            answer(&[]),
            answer(&["ip", "h", "config-epoch", "7"]),
            answer(&["ip", "h", "port", "70000", "config-epoch", "7"]),
            Value::Nil,
        ] {
            assert_eq!(read_answer(broken), None);
        }
    }
}
