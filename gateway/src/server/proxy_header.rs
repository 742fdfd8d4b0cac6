//! The PROXY protocol, versions 1 and 2: the header by which a load balancer says whose connection it passes on
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).
//!
//! What follows the header is left in the socket for whoever speaks next.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What a header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a header of version 1 begins with.
const WORD: &[u8] = b"PROXY ";

/// The longest header of version 1, its line's end included (section 2.1).
const MAX_LINE: usize = 107;

/// Signature, version and command, family, length (section 2.2).
const FIXED: usize = 16;

/// The most that may follow: addresses take 36, the rest are notes of the load balancer, which are passed over.
const MAX_REST: usize = 4096;

/// A header, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it has.
    pub length: usize,
    /// Whose connection it is; `None` when it is the load balancer's own, such as a health check, or when it doesn't know.
    pub source: Option<SocketAddr>,
}

/// Why the bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHeader {
    #[error("the connection doesn't begin with a PROXY protocol header")]
    Absent,
    #[error("the PROXY protocol header is broken")]
    Broken,
    #[error("the PROXY protocol header is longer than allowed")]
    TooLong,
}

impl From<NoHeader> for io::Error {
    fn from(error: NoHeader) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Reads a header and nothing beyond it. Bounded in time by the caller.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut seen = Vec::new();
    let mut ahead = vec![0; FIXED + MAX_REST];
    loop {
        let room = ahead.len() - seen.len();
        let count = stream.peek(&mut ahead[..room]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = seen.len();
        seen.extend_from_slice(&ahead[..count]);
        let header = parse(&seen)?;
        let taken = header.map_or(seen.len(), |header| header.length) - before;
        stream.read_exact(&mut ahead[..taken]).await?;
        if let Some(header) = header {
            return Ok(header.source);
        }
    }
}

/// Finds the header at the beginning; `None` while it isn't whole.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    if begins(bytes, SIGNATURE) {
        parse_binary(bytes)
    } else if begins(bytes, WORD) {
        parse_line(bytes)
    } else {
        Err(NoHeader::Absent)
    }
}

/// Whether the bytes begin with the word, as far as they go.
fn begins(bytes: &[u8], word: &[u8]) -> bool {
    let length = bytes.len().min(word.len());
    bytes[..length] == word[..length]
}

fn parse_line(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let within = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_LINE {
            Ok(None)
        } else {
            Err(NoHeader::TooLong)
        };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(NoHeader::Broken)?;
    let line = std::str::from_utf8(line).map_err(|_| NoHeader::Broken)?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words[..] {
        // Whatever follows is to be passed over.
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", from, to, port, to_port] => {
            Some(source_of_line::<Ipv4Addr>([from, to], [port, to_port])?)
        }
        ["PROXY", "TCP6", from, to, port, to_port] => {
            Some(source_of_line::<Ipv6Addr>([from, to], [port, to_port])?)
        }
        _ => return Err(NoHeader::Broken),
    };
    Ok(Some(Header {
        length: end + 1,
        source,
    }))
}

fn source_of_line<A: std::str::FromStr + Into<IpAddr>>(
    addresses: [&str; 2],
    ports: [&str; 2],
) -> Result<SocketAddr, NoHeader> {
    let address = |text: &str| text.parse::<A>().map_err(|_| NoHeader::Broken);
    let port = |text: &str| text.parse::<u16>().map_err(|_| NoHeader::Broken);
    let [source, _] = [address(addresses[0])?, address(addresses[1])?];
    let [source_port, _] = [port(ports[0])?, port(ports[1])?];
    Ok(SocketAddr::new(source.into(), source_port))
}

fn parse_binary(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else {
        return Ok(None);
    };
    let [version, family, high, low] = [fixed[12], fixed[13], fixed[14], fixed[15]];
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_REST {
        return Err(NoHeader::TooLong);
    }
    let proxied = match version {
        0x20 => false,
        0x21 => true,
        _ => return Err(NoHeader::Broken),
    };
    let Some(rest) = rest.get(..length) else {
        return Ok(None);
    };
    let source = match family {
        _ if !proxied => None,
        // Unspecified: the load balancer doesn't know.
        0x00 => None,
        0x11 => Some(source_of_binary::<4, 12>(rest)?),
        0x21 => Some(source_of_binary::<16, 36>(rest)?),
        // Datagrams and UNIX sockets don't come in at this port.
        _ => return Err(NoHeader::Broken),
    };
    Ok(Some(Header {
        length: FIXED + length,
        source,
    }))
}

/// Addresses of `N` bytes, source and destination, then their ports: `ALL` bytes.
fn source_of_binary<const N: usize, const ALL: usize>(bytes: &[u8]) -> Result<SocketAddr, NoHeader>
where
    IpAddr: From<[u8; N]>,
{
    let (all, _) = bytes.split_first_chunk::<ALL>().ok_or(NoHeader::Broken)?;
    let (source, rest) = all.split_first_chunk::<N>().ok_or(NoHeader::Broken)?;
    let (_, ports) = rest.split_first_chunk::<N>().ok_or(NoHeader::Broken)?;
    let (port, _) = ports.split_first_chunk::<2>().ok_or(NoHeader::Broken)?;
    Ok(SocketAddr::new(
        IpAddr::from(*source),
        u16::from_be_bytes(*port),
    ))
}

#[cfg(test)]
mod tests;
