//! A relay between gateway and Redis that can be cut, frozen, and pointed at another server.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::server::ENCODED_PASSWORD;

pub(crate) struct Proxy {
    port: u16,
    /// Where new connections lead, and how often all connections were cut.
    target: Arc<watch::Sender<(u16, u32)>>,
    /// Whether answers are held back.
    frozen: Arc<watch::Sender<bool>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let own_port = listener.local_addr().expect("it is bound").port();
        let target = Arc::new(watch::Sender::new((port, 0)));
        let frozen = Arc::new(watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target.subscribe(), frozen.subscribe()));
        Self {
            port: own_port,
            target,
            frozen,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:{ENCODED_PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// Cuts all connections; new ones lead to another server.
    pub(crate) fn lead_to(&self, port: u16) {
        self.target
            .send_modify(|target| *target = (port, target.1 + 1));
    }

    /// Holds the server's answers back, or lets them pass.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }
}

async fn accept(
    listener: TcpListener,
    target: watch::Receiver<(u16, u32)>,
    frozen: watch::Receiver<bool>,
) {
    let mut relays = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        let mut cut = target.clone();
        let port = cut.borrow_and_update().0;
        let frozen = frozen.clone();
        relays.spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            tokio::select! {
                // An answer that was held back is lost with the connection, also when others may pass again.
                biased;
                _ = cut.changed() => {}
                () = relay(client, server, frozen) => {}
            }
        });
    }
}

async fn relay(client: TcpStream, server: TcpStream, mut frozen: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async { drop(tokio::io::copy(&mut from_client, &mut to_server).await) };
    let back = async {
        let mut buffer = [0; 16 * 1024];
        loop {
            let Ok(count @ 1..) = from_server.read(&mut buffer).await else {
                return;
            };
            if frozen.wait_for(|frozen| !frozen).await.is_err() {
                return;
            }
            if to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
    // What was on its way may arrive.
    tokio::time::sleep(Duration::from_millis(1)).await;
}
