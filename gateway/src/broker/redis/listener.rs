//! The connection on which one server sends the messages of its slots.
//!
//! It subscribes to each room with a command of its own (`SSUBSCRIBE` takes channels of one slot only), hands messages to the rooms as it reads
//! them, and when it breaks it is made again. Answers to commands come in the order of the commands, which is how an error is matched
//! with its room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rotunda_crds::RoomName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::Event;
use super::Engine;
use super::backoff::Backoff;
use super::call::redirected_to;
use super::link::{CONNECT_TIMEOUT, forbidden};
use super::resp::{Part, Reply, take_reply};
use super::socket::Socket;
use super::trouble::Trouble;
use super::url::Address;
use super::wire::{self, Malformed, Payload};

/// How many orders may wait; what doesn't fit is placed again a little later.
const ORDERS: usize = 1024;

/// How much is read at once.
const READ_SIZE: usize = 64 * 1024;

/// How often an idle connection is tried out.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// After how long a silent connection is given up.
const SILENCE: Duration = Duration::from_secs(8);

/// What a listener is told to do.
#[derive(Debug)]
pub(super) enum Order {
    Subscribe(RoomName),
    Unsubscribe(RoomName),
}

/// A command whose answer is to come.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Login,
    Subscribe(RoomName),
    Unsubscribe(RoomName),
    Ping,
}

struct Connection<'a> {
    engine: &'a Engine,
    address: &'a Address,
    reader: ReadHalf<Socket>,
    writer: WriteHalf<Socket>,
    incoming: BytesMut,
    outgoing: BytesMut,
    sent: VecDeque<Sent>,
    heard_at: Instant,
    /// Something good has come back: the login was taken.
    works: bool,
}

impl Engine {
    /// Listens to the server until told to stop.
    pub(super) async fn listen(self: Arc<Self>, address: Address, stop: CancellationToken) {
        let (mut backoff, mut trouble) = (Backoff::default(), Trouble::default());
        let mut again = false;
        loop {
            let listening = self.listen_once(&address, &mut backoff, &mut trouble, again);
            let why = tokio::select! {
                () = stop.cancelled() => None,
                why = listening => Some(why),
            };
            self.subscriptions.unsettle(&address, why.as_deref());
            let Some(why) = why else { return };
            if trouble.is_news(&why) {
                tracing::warn!(server = %address, why, "lost the connection that messages come from");
            }
            again = true;
            self.pool.want_topology();
            tokio::select! {
                () = stop.cancelled() => return,
                () = backoff.pause() => {}
                // No need to wait when it is back for commands.
                () = self.pool.reconnected(&address) => backoff.reset(),
            }
        }
    }

    /// Connects and listens until that fails, and says why it did.
    async fn listen_once(
        &self,
        address: &Address,
        backoff: &mut Backoff,
        trouble: &mut Trouble,
        again: bool,
    ) -> String {
        let opened = Socket::open(address, self.pool.url.tls.as_ref());
        let socket = match tokio::time::timeout(CONNECT_TIMEOUT, opened).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(why)) => return why,
            Err(_) => return format!("no answer in {CONNECT_TIMEOUT:?}"),
        };
        let (reader, writer) = tokio::io::split(socket);
        let mut connection = Connection {
            engine: self,
            address,
            reader,
            writer,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            sent: VecDeque::new(),
            heard_at: Instant::now(),
            works: false,
        };
        connection.log_in();
        let (orders, received) = mpsc::channel(ORDERS);
        for room in self
            .subscriptions
            .settle(address, orders, &self.pool.slots())
        {
            connection.subscribe(room);
        }
        if again {
            self.pool.metrics.reconnected();
        }
        connection.run(received, backoff, trouble).await
    }
}

impl Connection<'_> {
    fn log_in(&mut self) {
        let url = &self.engine.pool.url;
        match (&url.username, &url.password) {
            (Some(username), Some(password)) => {
                self.send(&["AUTH", username, password], Sent::Login);
            }
            (None, Some(password)) => self.send(&["AUTH", password], Sent::Login),
            (_, None) => {}
        }
    }

    fn subscribe(&mut self, room: RoomName) {
        let channel = self.engine.keys.channel(&room);
        self.send(&["SSUBSCRIBE", &channel], Sent::Subscribe(room));
    }

    fn unsubscribe(&mut self, room: RoomName) {
        let channel = self.engine.keys.channel(&room);
        self.send(&["SUNSUBSCRIBE", &channel], Sent::Unsubscribe(room));
    }

    fn send(&mut self, command: &[&str], sent: Sent) {
        self.outgoing
            .extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
        for word in command {
            self.outgoing
                .extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.sent.push_back(sent);
    }

    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        backoff: &mut Backoff,
        trouble: &mut Trouble,
    ) -> String {
        let mut pings = tokio::time::interval(PING_INTERVAL);
        let mut flushed = true;
        loop {
            self.incoming.reserve(READ_SIZE);
            tokio::select! {
                read = self.reader.read_buf(&mut self.incoming) => {
                    match read {
                        Ok(0) => return "the connection was closed".into(),
                        Ok(_) => {}
                        Err(error) => return error.to_string(),
                    }
                    self.heard_at = Instant::now();
                    if let Err(why) = self.take_replies() {
                        return why;
                    }
                    if self.works {
                        backoff.reset();
                        trouble.over();
                    }
                }
                written = push(&mut self.writer, &self.outgoing), if !flushed || !self.outgoing.is_empty() => match written {
                    Ok(count) => {
                        flushed = self.outgoing.is_empty();
                        self.outgoing.advance(count);
                    }
                    Err(error) => return error.to_string(),
                },
                order = orders.recv() => match order {
                    Some(Order::Subscribe(room)) => self.subscribe(room),
                    Some(Order::Unsubscribe(room)) => self.unsubscribe(room),
                    None => return "another listener has taken its place".into(),
                },
                _ = pings.tick() => {
                    if self.heard_at.elapsed() >= SILENCE {
                        return format!("nothing was heard for {SILENCE:?}");
                    }
                    self.send(&["PING"], Sent::Ping);
                }
            }
        }
    }

    fn take_replies(&mut self) -> Result<(), String> {
        while let Some(reply) =
            take_reply(&mut self.incoming).map_err(|_| "it doesn't speak the protocol of Redis")?
        {
            match reply {
                Reply::Parts(parts) => {
                    self.works = true;
                    self.take_parts(&parts);
                }
                // `OK` to the login, `PONG` while nothing is subscribed.
                Reply::Status(_) => {
                    self.works = true;
                    self.sent.pop_front();
                }
                Reply::Error(error) => self.take_error(&error)?,
            }
        }
        Ok(())
    }

    fn take_parts(&mut self, parts: &[Part]) {
        let part = |at: usize| parts.get(at).map(Part::as_bytes).unwrap_or_default();
        let channel = std::str::from_utf8(part(1)).ok();
        let room = channel.and_then(|channel| self.engine.keys.room_of_channel(channel));
        match (part(0), room) {
            (b"smessage", Some(room)) => self.take_message(room, part(2)),
            (b"ssubscribe", Some(room)) => {
                if matches!(self.sent.front(), Some(Sent::Subscribe(_))) {
                    self.sent.pop_front();
                }
                match self.engine.subscriptions.get(room) {
                    Some(subscription) => self
                        .engine
                        .subscriptions
                        .confirm(&subscription, self.address),
                    None => self.unsubscribe_unknown(room),
                }
            }
            (b"sunsubscribe", Some(room)) => {
                if matches!(self.sent.front(), Some(Sent::Unsubscribe(sent)) if sent.as_str() == room)
                {
                    self.sent.pop_front();
                } else if let Some(subscription) = self.engine.subscriptions.get(room) {
                    // Unasked: the slot has gone to another server.
                    subscription.evict(self.address);
                    self.engine.pool.want_topology();
                }
            }
            (b"pong", _) => drop(self.sent.pop_front()),
            _ => {}
        }
    }

    fn take_message(&mut self, room: &str, payload: &[u8]) {
        let Some(subscription) = self.engine.subscriptions.get(room) else {
            self.unsubscribe_unknown(room);
            return;
        };
        let subscriptions = &self.engine.subscriptions;
        match wire::decode(payload) {
            Ok(Payload::Event(event)) => subscriptions.deliver(&subscription, event),
            Ok(Payload::Announcement(change)) => subscriptions.announce(&subscription, change),
            // A newer gateway may write what this one can't read: the log will tell, or refuse, too.
            Err(Malformed) => subscriptions.deliver(&subscription, Event::Interrupted),
        }
    }

    fn unsubscribe_unknown(&mut self, room: &str) {
        let pending =
            |sent: &Sent| matches!(sent, Sent::Unsubscribe(sent) if sent.as_str() == room);
        if !self.sent.iter().any(pending)
            && let Ok(room) = RoomName::parse(room)
        {
            self.unsubscribe(room);
        }
    }

    /// An error is the answer to what was sent first.
    fn take_error(&mut self, error: &str) -> Result<(), String> {
        let (code, details) = error.split_once(' ').unwrap_or((error, ""));
        match self.sent.pop_front() {
            Some(Sent::Login) => Err("the user or the password was refused".into()),
            // Trying the other rooms, too, would only flood the log.
            Some(Sent::Subscribe(_)) if code == "NOPERM" => Err(forbidden(details)),
            Some(Sent::Subscribe(room)) => {
                if let Some(subscription) = self.engine.subscriptions.get(room.as_str()) {
                    subscription.evict(self.address);
                    if let ("MOVED", Some(to)) = (code, redirected_to(details, self.address)) {
                        self.engine.pool.moved(subscription.slot, &to);
                    } else {
                        tracing::warn!(server = %self.address, %room, code, "Redis refuses a subscription");
                        self.engine.pool.want_topology();
                    }
                }
                Ok(())
            }
            Some(Sent::Unsubscribe(_) | Sent::Ping) => Ok(()),
            None => Err(format!("it answered {code}")),
        }
    }
}

/// Writes a part of what there is to write, and gives how much; or makes sure that all is on its way: encryption keeps back what the socket had
/// no room for. Nothing is lost when it is given up half way.
async fn push(writer: &mut WriteHalf<Socket>, outgoing: &[u8]) -> std::io::Result<usize> {
    if outgoing.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    writer.write(outgoing).await
}
