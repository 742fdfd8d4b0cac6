//! The gateway over real sockets with the memory broker: what clients, pages and servers meet.

#[cfg(test)]
mod gateway;
mod handshake;
mod http;
mod lifecycle;
mod rooms;
