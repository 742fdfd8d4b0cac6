//! The gateway over real sockets with the memory broker, or with Redis where several work together: what clients, pages and servers meet.

mod control;
#[cfg(test)]
mod gateway;
mod handshake;
mod http;
mod lifecycle;
#[cfg(test)]
mod redis;
mod rooms;
