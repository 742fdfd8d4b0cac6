//! Headers as load balancers send them, and as they must not be.

use proptest::prelude::*;

use super::*;

fn binary(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[version, family], &length, rest].concat()
}

fn source(bytes: &[u8]) -> Option<String> {
    let header = parse(bytes).unwrap().expect("a whole header");
    assert_eq!(header.length, bytes.len());
    header.source.map(|source| source.to_string())
}

const FOUR: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x15, 0xb3, 0x01, 0xbb];

#[test]
fn both_versions_name_the_client() {
    for line in [
        "PROXY TCP4 192.0.2.7 10.0.0.1 5555 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 5555 0\r\n",
    ] {
        assert_eq!(source(line.as_bytes()).unwrap(), "192.0.2.7:5555");
    }
    let line = b"PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\n";
    assert_eq!(source(line).unwrap(), "[2001:db8::7]:5555");
    assert_eq!(
        source(&binary(0x21, 0x11, &FOUR)).unwrap(),
        "192.0.2.7:5555"
    );
    // What stands behind the addresses is passed over.
    let noted = [&FOUR[..], &[0xea, 0, 3, 1, 2, 3]].concat();
    assert_eq!(
        source(&binary(0x21, 0x11, &noted)).unwrap(),
        "192.0.2.7:5555"
    );
    let mut six = [0; 36];
    six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    six[15] = 7;
    six[32..34].copy_from_slice(&5555u16.to_be_bytes());
    assert_eq!(
        source(&binary(0x21, 0x21, &six)).unwrap(),
        "[2001:db8::7]:5555"
    );
}

#[test]
fn health_checks_and_unknown_clients_keep_the_address_of_the_connection() {
    assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
    assert_eq!(source(b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n"), None);
    assert_eq!(source(&binary(0x20, 0x00, &[])), None);
    // The command decides, whatever addresses it carries.
    assert_eq!(source(&binary(0x20, 0x11, &FOUR)), None);
    assert_eq!(source(&binary(0x21, 0x00, &[1, 2, 3])), None);
}

#[test]
fn what_is_no_header_is_refused_as_early_as_it_shows() {
    for absent in [
        &b"G"[..],
        b"POST / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"proxy TCP4",
        b"\r\n\r\nG",
    ] {
        assert_eq!(
            parse(absent),
            Err(NoHeader::Absent),
            "{}",
            absent.escape_ascii()
        );
    }
    for broken in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 5555 443\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 5555 443 \r\n",
        "PROXY  TCP4 192.0.2.7 10.0.0.1 5555 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
        "PROXY TCP4 2001:db8::7 10.0.0.1 1 443\r\n",
        "PROXY TCP6 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY TCP5 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY \u{e9}\r\n",
    ] {
        assert_eq!(
            parse(broken.as_bytes()),
            Err(NoHeader::Broken),
            "{broken:?}"
        );
    }
    for (version, family, rest) in [
        (0x11, 0x11, &FOUR[..]),
        (0x22, 0x11, &FOUR),
        (0x21, 0x12, &FOUR),
        (0x21, 0x31, &[0; 216]),
        (0x21, 0x11, &FOUR[..11]),
        (0x21, 0x21, &FOUR),
    ] {
        let bytes = binary(version, family, rest);
        assert_eq!(
            parse(&bytes),
            Err(NoHeader::Broken),
            "{version:x} {family:x}"
        );
    }
}

#[test]
fn a_header_has_bounds() {
    let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
    assert_eq!(parse(long.as_bytes()), Err(NoHeader::TooLong));
    assert_eq!(parse(&long.as_bytes()[..106]), Ok(None));
    // Its length is enough, nothing of it has to come.
    assert_eq!(
        parse(&binary(0x21, 0x11, &[0; MAX_REST + 1])[..FIXED]),
        Err(NoHeader::TooLong)
    );
}

proptest! {
    #[test]
    fn a_header_is_found_whole_wherever_it_is_cut_and_whatever_follows(
        notes in proptest::collection::vec(any::<u8>(), 0..40),
        line in any::<bool>(),
        next in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let header = if line {
            b"PROXY TCP4 192.0.2.7 10.0.0.1 5555 443\r\n".to_vec()
        } else {
            binary(0x21, 0x11, &[&FOUR[..], &notes].concat())
        };
        let all = [&header[..], &next].concat();
        for end in 0..=all.len() {
            let found = parse(&all[..end]).unwrap();
            prop_assert_eq!(found.map(|found| found.length), (end >= header.len()).then_some(header.len()));
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..300), version in 0..3_usize) {
        let start: &[u8] = [b"", SIGNATURE, WORD][version];
        if let Ok(Some(header)) = parse(&[start, &bytes].concat()) {
            prop_assert!(header.length <= start.len() + bytes.len());
        }
    }
}
