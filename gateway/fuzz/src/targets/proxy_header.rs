//! What a load balancer, or whoever reaches the port instead of it, sends before HTTP.

use rotunda_gateway::server::proxy_header::parse;

pub(crate) fn header(bytes: &[u8]) {
    let Ok(Some(header)) = parse(bytes) else {
        return;
    };
    assert!(header.length <= bytes.len());
    // What follows changes nothing, and no less would have been enough.
    assert_eq!(parse(&bytes[..header.length]), Ok(Some(header)));
    for end in 0..header.length {
        assert_eq!(parse(&bytes[..end]), Ok(None));
    }
}
