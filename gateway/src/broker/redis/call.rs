//! Calls: one command to the owner of a slot, through redirections and short troubles, and what is known of its outcome.
//!
//! A refusal that says that nothing was executed (`MOVED`, `ASK`, `TRYAGAIN`, `CLUSTERDOWN`, …) is tried again, up to five seconds. What was sent
//! and not answered is sent again only if that does no harm ([`Repeat`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Cmd, Pipeline, ServerError, Value};
use tokio::time::Instant;

use super::super::BrokerError;
use super::link::{describe, forbidden};
use super::node::Node;
use super::pool::Pool;
use super::scripts::Script;
use super::url::Address;

/// How long refusals are tried again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a call waits for a lost connection to come back.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait before a refused call is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Whether a command may be sent again when it isn't known whether it was executed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Repeat<'a> {
    /// Nobody is misled if it failed and was executed all the same.
    Safe,
    /// As `Safe`, but whoever asked must know whether a failure means that nothing was done.
    Told(&'a Doubt),
    Never,
}

/// Whether something was sent and not answered, in any try. Once it is there, it stays.
#[derive(Debug, Default)]
pub(super) struct Doubt(AtomicBool);

impl Doubt {
    fn arise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A command and all that sending it takes.
pub(super) struct Call<'a> {
    pub(super) slot: u16,
    pub(super) command: &'a Cmd,
    /// Loaded where the command's `EVALSHA` finds it missing.
    pub(super) script: Option<&'static Script>,
    pub(super) repeat: Repeat<'a>,
    /// Counts as done only when a replica has it, too; holds what tells an answer that stored something.
    pub(super) replicated: Option<fn(&Value) -> bool>,
    /// Sent only to a server of this replication history. Where a redirection or a new connection leads to another, the answer is nil, as
    /// from a script that finds its epoch outdated.
    pub(super) history: Option<Arc<str>>,
}

impl<'a> Call<'a> {
    /// Runs a script that does no harm when it runs twice.
    pub(super) fn of(slot: u16, command: &'a Cmd, script: &'static Script) -> Self {
        Self {
            slot,
            command,
            script: Some(script),
            repeat: Repeat::Safe,
            replicated: None,
            history: None,
        }
    }
}

impl Pool {
    /// Executes a call and gives its answer, which is never a server's error.
    pub(super) async fn call(self: &Arc<Self>, call: Call<'_>) -> Result<Value, BrokerError> {
        let started = Instant::now();
        let mut asking: Option<Address> = None;
        loop {
            let node = self.connection(call.slot, asking.as_ref(), started).await?;
            let sent = Instant::now();
            let asks = asking.take().is_some();
            // A server that takes the slot over continues the history of the one that sends there.
            if let (false, Some(history)) = (asks, &call.history)
                && self.history(call.slot, started).await? != *history
            {
                return Ok(Value::Nil);
            }
            let answer = if call.replicated.is_some() {
                node.prepare_to_wait()
                    .await
                    .map_err(BrokerError::Unavailable)?;
                node.send_and_wait(call.command, asks).await
            } else if asks {
                ask(&node, call.command).await.map(|answer| (answer, 1))
            } else {
                node.send(call.command).await.map(|answer| (answer, 1))
            };
            match answer {
                Ok((Value::ServerError(refusal), _)) => {
                    asking = self.consider(&call, &node, &refusal, started).await?;
                }
                Ok((answer, replicas)) => {
                    self.metrics.roundtrip(sent.elapsed());
                    // What was stored may be lost again.
                    if replicas == 0 && call.replicated.is_some_and(|stores| stores(&answer)) {
                        return Err(BrokerError::OutcomeUnknown);
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    match call.repeat {
                        Repeat::Safe => {}
                        Repeat::Told(doubt) => doubt.arise(),
                        Repeat::Never => return Err(BrokerError::OutcomeUnknown),
                    }
                    if started.elapsed() >= RECONNECT_PATIENCE {
                        return Err(BrokerError::Unavailable(format!(
                            "{}: {}",
                            node.address,
                            describe(&error)
                        )));
                    }
                    // A broken connection is replaced by the one who keeps it.
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// The replication history of the primary that owns a slot. A replica goes by its primary's, and by another once it is promoted: it is
    /// asked until it says that it is the primary.
    pub(super) async fn history(
        self: &Arc<Self>,
        slot: u16,
        started: Instant,
    ) -> Result<Arc<str>, BrokerError> {
        loop {
            let node = self.connection(slot, None, started).await?;
            let known = node.replication();
            if known.primary {
                return Ok(known.id);
            }
            let found = node.check().await.map_err(BrokerError::Unavailable)?;
            if found.primary {
                return Ok(found.id);
            }
            if started.elapsed() >= PATIENCE {
                return Err(BrokerError::Unavailable(format!(
                    "{}: it is a replica",
                    node.address
                )));
            }
            self.want_topology();
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// The working connection to ask, which may be on its way.
    pub(super) async fn connection(
        self: &Arc<Self>,
        slot: u16,
        asking: Option<&Address>,
        started: Instant,
    ) -> Result<Arc<Node>, BrokerError> {
        let mut changes = self.changes();
        let deadline = started + RECONNECT_PATIENCE;
        loop {
            if self.closed.is_cancelled() {
                return Err(BrokerError::Unavailable("it is closed".into()));
            }
            changes.mark_unchanged();
            let why = match asking {
                Some(address) => self.node_at(address),
                None => self.node_of(slot),
            };
            let why = match why {
                Ok(node) => return Ok(node),
                Err(why) => why,
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = self.closed.cancelled() => {}
                () = tokio::time::sleep_until(deadline) => return Err(BrokerError::Unavailable(why)),
            }
        }
    }

    /// What to make of a refusal: an error, or another try, perhaps elsewhere.
    async fn consider(
        self: &Arc<Self>,
        call: &Call<'_>,
        node: &Arc<Node>,
        refusal: &ServerError,
        started: Instant,
    ) -> Result<Option<Address>, BrokerError> {
        if started.elapsed() >= PATIENCE {
            return Err(BrokerError::Unavailable(format!(
                "{}: it keeps answering {}",
                node.address,
                refusal.code()
            )));
        }
        match refusal.code() {
            "MOVED" => match redirection(refusal, node) {
                Some(to) if to == node.address => tokio::time::sleep(RETRY_PAUSE).await,
                Some(to) => self.moved(call.slot, &to),
                None => return Err(refused(node, refusal, call.script)),
            },
            "ASK" => {
                return redirection(refusal, node)
                    .map(Some)
                    .ok_or_else(|| refused(node, refusal, call.script));
            }
            "NOSCRIPT" => match call.script {
                Some(script) => load(node, script).await?,
                None => return Err(refused(node, refusal, call.script)),
            },
            // Nothing was executed, and it is a matter of time.
            "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "READONLY" | "BUSY" => {
                self.want_topology();
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            _ => return Err(refused(node, refusal, call.script)),
        }
        Ok(None)
    }

    /// Sends commands in one go to a server, past redirections and retries: for what is done again soon anyway.
    pub(super) async fn call_all(
        &self,
        node: &Node,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, BrokerError> {
        let sent = Instant::now();
        let answers = node.send_all(commands).await;
        let answers = answers.map_err(|error| {
            BrokerError::Unavailable(format!("{}: {}", node.address, describe(&error)))
        })?;
        self.metrics.roundtrip(sent.elapsed());
        Ok(answers)
    }
}

/// Sends a command to a server that takes over the slot but doesn't own it yet.
async fn ask(node: &Node, command: &Cmd) -> Result<Value, redis::RedisError> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("ASKING").add_command(command.clone());
    let answers = node.send_all(&pipeline).await?;
    Ok(answers.into_iter().next_back().unwrap_or(Value::Nil))
}

pub(super) async fn load(node: &Node, script: &Script) -> Result<(), BrokerError> {
    let answer = node
        .send(redis::cmd("SCRIPT").arg("LOAD").arg(script.code))
        .await;
    match answer.and_then(Value::extract_error) {
        Ok(_) => Ok(()),
        Err(error) => Err(BrokerError::Unavailable(format!(
            "{}: {}",
            node.address,
            describe(&error)
        ))),
    }
}

fn redirection(refusal: &ServerError, node: &Node) -> Option<Address> {
    redirected_to(refusal.details()?, &node.address)
}

/// Where `<slot> <host>:<port>` leads; an empty host is that of the server that said so.
pub(super) fn redirected_to(details: &str, asked: &Address) -> Option<Address> {
    let to = Address::parse(details.split_ascii_whitespace().nth(1)?)?;
    if to.host.is_empty() {
        return Some(Address::new(&asked.host, to.port));
    }
    Some(to)
}

/// A refusal that trying again doesn't cure.
fn refused(node: &Node, refusal: &ServerError, script: Option<&'static Script>) -> BrokerError {
    let code = refusal.code();
    let details = refusal.details().unwrap_or_default();
    match code {
        "NOPERM" => BrokerError::Unavailable(format!("{}: {}", node.address, forbidden(details))),
        _ if details.contains("ACL failure") || details.contains("user executing the script") => {
            let command = script.and_then(|script| failed_command(script.code, details));
            let details =
                command.map_or_else(|| details.to_owned(), |name| format!("{name} in a script"));
            BrokerError::Unavailable(format!("{}: {}", node.address, forbidden(&details)))
        }
        "OOM" | "MISCONF" | "NOREPLICAS" | "NOAUTH" | "WRONGPASS" => {
            BrokerError::Unavailable(format!("{}: it answered {code}", node.address))
        }
        _ => BrokerError::Corrupt(format!("{code} {details}")),
    }
}

/// The command in the line of a script that an error names, `… @user_script:27.`; Redis 7.0 doesn't name the command itself.
fn failed_command<'a>(code: &'a str, details: &str) -> Option<&'a str> {
    let (_, place) = details.rsplit_once("user_script:")?;
    let digits = place.split(|c: char| !c.is_ascii_digit()).next()?;
    let line = code
        .lines()
        .nth(digits.parse::<usize>().ok()?.checked_sub(1)?)?;
    line.split_once("call('")?.1.split('\'').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_failed_is_found_by_its_line() {
        let code = "#!lua\nlocal a = redis.call('TIME')\nb()\n";
        let details = |line| format!("no, on @user_script:{line}.");
        assert_eq!(failed_command(code, &details(2)), Some("TIME"));
        for line in [0, 1, 3, 4] {
            assert_eq!(failed_command(code, &details(line)), None);
        }
        assert_eq!(failed_command(code, "no"), None);
    }

    #[test]
    fn redirections_are_read() {
        let asked = Address::new("asked", 1);
        assert_eq!(
            redirected_to("3999 h:6381", &asked),
            Some(Address::new("h", 6381))
        );
        assert_eq!(
            redirected_to("3999 :6381", &asked),
            Some(Address::new("asked", 6381))
        );
        assert_eq!(redirected_to("3999", &asked), None);
        assert_eq!(redirected_to("3999 h:x", &asked), None);
    }
}
