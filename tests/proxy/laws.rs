//! The laws that the header's parser obeys for any bytes. The property tests and the fuzz target use them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use prise::inside::proxy::{Addresses, Header, LONGEST, parse};

/// Panic unless the parser obeys the laws for these bytes and for each of their beginnings.
pub fn assert_laws(bytes: &[u8]) {
    let end = (0..=bytes.len()).find(|&n| !matches!(parse(&bytes[..n]), Header::Partial { .. }));
    let pieces = end.unwrap_or(bytes.len() + 1);
    for n in 0..pieces {
        assert_never_asks_too_much(&bytes[..n], bytes.get(..n + 1).map(parse));
    }
    match end {
        None => assert_asks_for_the_shortest_rest(bytes),
        Some(n) => {
            if let Some(before) = n.checked_sub(1) {
                assert_asks_for_the_shortest_rest(&bytes[..before]);
            }
            assert_final(bytes, n);
        }
    }
}

/// A partial header asks for at least one byte, for no byte after the header, and never beyond the longest header.
fn assert_never_asks_too_much(beginning: &[u8], next: Option<Header>) {
    let Header::Partial { at_least } = parse(beginning) else { unreachable!("the caller has checked this") };
    assert!(at_least >= 1 && beginning.len() + at_least <= LONGEST, "{at_least} after {beginning:?}");
    match next {
        Some(Header::Partial { at_least: then }) => assert!(then + 1 >= at_least, "{at_least}, then {then}"),
        Some(Header::Whole { length, .. }) => assert_eq!((length, at_least), (beginning.len() + 1, 1)),
        Some(Header::Bad(_)) | None => {}
    }
}

/// Some next byte reduces the number of missing bytes by one. Since this holds for each beginning in turn, there is a
/// valid header with exactly this rest: the parser asks for the shortest rest, and the beginning is not invalid.
fn assert_asks_for_the_shortest_rest(beginning: &[u8]) {
    let Header::Partial { at_least } = parse(beginning) else { unreachable!("the caller has checked this") };
    let mut longer = beginning.to_vec();
    longer.push(0);
    let missing = (0..=u8::MAX).filter_map(|byte| {
        longer[beginning.len()] = byte;
        match parse(&longer) {
            Header::Partial { at_least } => Some(at_least),
            Header::Whole { .. } => Some(0),
            Header::Bad(_) => None,
        }
    });
    assert_eq!(missing.min(), Some(at_least - 1), "after {beginning:?}");
}

/// After byte `n`, more bytes do not change the result; and a simple second parser finds the same header.
fn assert_final(bytes: &[u8], n: usize) {
    let first = parse(&bytes[..n]);
    // bytes after the longest line cannot change a line, so test 108 lengths and the whole
    for longer in (n..=bytes.len()).take(108).chain([bytes.len()]).map(|n| parse(&bytes[..n])) {
        match (first, longer) {
            // with more bytes, the parser may report another fault
            (Header::Bad(_), Header::Bad(_)) => {}
            _ => assert_eq!(first, longer, "{bytes:?}"),
        }
    }
    let found = match first {
        Header::Whole { length, source } => Some((length, source)),
        _ => None,
    };
    let expected = if bytes.starts_with(b"PROXY") { simple_v1(bytes) } else { simple_v2(bytes) };
    assert_eq!(found, expected, "{bytes:?}");
}

/// A simple parser of version 1: it splits a complete line at its spaces.
fn simple_v1(bytes: &[u8]) -> Option<(usize, Option<Addresses>)> {
    let start = &bytes[..bytes.len().min(107)];
    let end = start.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &start[..end];
    if line == b"PROXY UNKNOWN" || line.starts_with(b"PROXY UNKNOWN ") {
        return Some((end + 2, None));
    }
    let words: Vec<&str> = str::from_utf8(line).ok()?.split(' ').collect();
    let ["PROXY", family, client, local, client_port, local_port] = words[..] else { return None };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => Some(text.parse::<Ipv4Addr>().ok()?.into()),
            "TCP6" => Some(text.parse::<Ipv6Addr>().ok()?.into()),
            _ => None,
        }
    };
    let is_decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_canonical = |text: &str| text == "0" || !text.starts_with('0') && is_decimal(text);
    let port = |text: &str| is_canonical(text).then(|| text.parse::<u16>().ok())?;
    let client = SocketAddr::new(address(client)?, port(client_port)?);
    let local = SocketAddr::new(address(local)?, port(local_port)?);
    Some((end + 2, Some(Addresses { client, local })))
}

/// A simple parser of version 2: it reads a complete header byte by byte.
fn simple_v2(bytes: &[u8]) -> Option<(usize, Option<Addresses>)> {
    if bytes.len() < 16 || bytes[..12] != *b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A" {
        return None;
    }
    let (command, family) = (bytes[12], bytes[13]);
    let length = 256 * usize::from(bytes[14]) + usize::from(bytes[15]);
    let least = match family {
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        0x00..=0x02 | 0x10 | 0x20 | 0x30 => 0,
        _ if command == 0x20 => 0,
        _ => return None,
    };
    let least = if command == 0x20 { 0 } else { least };
    if !matches!(command, 0x20 | 0x21) || length < least || 16 + length > 4096 {
        return None;
    }
    let block = bytes.get(16..16 + length)?;
    let port = |at: usize| 256 * u16::from(block[at]) + u16::from(block[at + 1]);
    let v4 = |at: usize| Ipv4Addr::new(block[at], block[at + 1], block[at + 2], block[at + 3]);
    let v6 = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&block[at..at + 16]).expect("16 bytes"));
    let source = match (command, family) {
        (0x21, 0x11) => Some((SocketAddr::from((v4(0), port(8))), SocketAddr::from((v4(4), port(10))))),
        (0x21, 0x21) => Some((SocketAddr::from((v6(0), port(32))), SocketAddr::from((v6(16), port(34))))),
        _ => None,
    };
    Some((16 + length, source.map(|(client, local)| Addresses { client, local })))
}
