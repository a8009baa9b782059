//! The parser of the PROXY protocol's header: valid headers, bytes of clients that are no proxy, and altered headers.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use prise::inside::proxy::{Addresses, Fault, Header, LONGEST, parse};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;

#[path = "proxy/laws.rs"]
mod laws;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

const STARTS: &[&[u8]] = &[b"", b"PROXY", b"PROXY TCP4 1.1.1.1 ", b"PROXY TCP6 ", SIGNATURE];

/// A header, and the addresses in it.
type Written = (Vec<u8>, Option<Addresses>);

fn addresses(client: &str, local: &str) -> Option<Addresses> {
    let socket = |text: &str| text.parse().expect("an address and a port");
    Some(Addresses { client: socket(client), local: socket(local) })
}

/// A header of version 2: the byte of version and command, the byte of family and transport, the rest.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("a length of 16 bits");
    [SIGNATURE, &[command, family], &length.to_be_bytes(), block].concat()
}

/// Two addresses and two ports in the binary form of version 2.
fn block(both: &Addresses) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ports = [both.client.port(), both.local.port()].map(u16::to_be_bytes);
    [octets(both.client.ip()), octets(both.local.ip()), ports.concat()].concat()
}

/// An IPv6 address in one of its written forms.
fn spelled(ip: Ipv6Addr, form: u8) -> String {
    match form % 4 {
        0 => ip.to_string(),
        1 => ip.to_string().to_uppercase(),
        2 => ip.segments().map(|segment| format!("{segment:04x}")).join(":"),
        _ => ip.segments().map(|segment| format!("{segment:x}")).join(":"),
    }
}

fn v4_pair() -> impl Strategy<Value = Addresses> {
    any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(client, from, local, to)| Addresses {
        client: SocketAddr::new(client.into(), from),
        local: SocketAddr::new(local.into(), to),
    })
}

/// IPv6 addresses: any, with zero segments, IPv4-mapped.
fn v6() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        any::<[u16; 8]>().prop_map(Ipv6Addr::from),
        (any::<[u16; 8]>(), any::<u8>()).prop_map(|(mut segments, zeros)| {
            (0..8).filter(|n| zeros >> n & 1 == 1).for_each(|n| segments[n] = 0);
            Ipv6Addr::from(segments)
        }),
        any::<[u8; 4]>().prop_map(|octets| std::net::Ipv4Addr::from(octets).to_ipv6_mapped()),
    ]
}

fn v6_pair() -> impl Strategy<Value = Addresses> {
    (v6(), any::<u16>(), v6(), any::<u16>()).prop_map(|(client, from, local, to)| Addresses {
        client: SocketAddr::new(client.into(), from),
        local: SocketAddr::new(local.into(), to),
    })
}

fn v1_header() -> impl Strategy<Value = Written> {
    let line = |family: &str, client: String, local: String, both: Addresses| {
        let (from, to) = (both.client.port(), both.local.port());
        (format!("PROXY {family} {client} {local} {from} {to}\r\n").into_bytes(), Some(both))
    };
    let tcp4 = v4_pair()
        .prop_map(move |both| line("TCP4", both.client.ip().to_string(), both.local.ip().to_string(), both));
    let tcp6 =
        (v6(), v6(), any::<[u8; 2]>(), any::<[u16; 2]>()).prop_map(move |(client, local, forms, ports)| {
            let both = Addresses {
                client: SocketAddr::new(client.into(), ports[0]),
                local: SocketAddr::new(local.into(), ports[1]),
            };
            line("TCP6", spelled(client, forms[0]), spelled(local, forms[1]), both)
        });
    let unknown = prop::collection::vec(any::<u8>(), 0..90)
        .prop_filter("the line ends at its CR LF", |text| !text.windows(2).any(|pair| pair == b"\r\n"))
        .prop_map(|text| ([b"PROXY UNKNOWN ", &text[..], b"\r\n"].concat(), None));
    let short = Just((b"PROXY UNKNOWN\r\n".to_vec(), None));
    prop_oneof![4 => tcp4, 8 => tcp6, 2 => unknown, 1 => short]
}

/// Several TLVs (type, length, value), or arbitrary bytes.
fn tlvs() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![8 => prop::collection::vec(any::<u8>(), 0..40), 1 => prop::collection::vec(any::<u8>(), 900)];
    let tlv = (any::<u8>(), value)
        .prop_map(|(kind, value)| [&[kind][..], &(value.len() as u16).to_be_bytes(), &value].concat());
    prop_oneof![
        prop::collection::vec(tlv, 0..4).prop_map(|tlvs| tlvs.concat()),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn v2_header() -> impl Strategy<Value = Written> {
    let tcp = |family: u8| {
        move |(both, tlvs): (Addresses, Vec<u8>)| {
            (v2(0x21, family, &[block(&both), tlvs].concat()), Some(both))
        }
    };
    let ignored = |(family, tlvs): ((u8, usize), Vec<u8>)| {
        (v2(0x21, family.0, &[vec![0xA5; family.1], tlvs].concat()), None)
    };
    const FAMILIES: &[(u8, usize)] =
        &[(0x00, 0), (0x01, 0), (0x10, 0), (0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)];
    prop_oneof![
        4 => (v4_pair(), tlvs()).prop_map(tcp(0x11)),
        4 => (v6_pair(), tlvs()).prop_map(tcp(0x21)),
        2 => (prop::sample::select(FAMILIES), tlvs()).prop_map(ignored),
        2 => (any::<u8>(), tlvs()).prop_map(|(family, tlvs)| (v2(0x20, family, &tlvs), None)),
    ]
}

fn header() -> impl Strategy<Value = Written> {
    prop_oneof![v1_header(), v2_header()]
}

/// Headers with a few bytes inserted, removed or changed; most of them are invalid.
fn altered() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(&b" \r\n\t0123456789abcdefABCDEF:.+-%/TCPUDX\x11\x20\x21"[..])
    ];
    let edits = prop::collection::vec((0..4_u8, any::<Index>(), byte), 1..4);
    (header(), edits).prop_map(|((mut bytes, _), edits)| {
        for (kind, at, byte) in edits {
            let at = at.index(bytes.len().min(108));
            match kind {
                0 => bytes.insert(at, byte),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes[at] ^= 1 << (byte % 8),
                _ => bytes[at] = byte,
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::with_cases(500)
    })]

    #[test]
    fn a_header_is_parsed_as_it_was_written(
        (header, source) in header(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let whole = Header::Whole { length: header.len(), source };
        prop_assert_eq!(parse(&header), whole);
        prop_assert_eq!(parse(&[header, payload].concat()), whole);
    }

    #[test]
    fn a_partial_header_never_asks_for_bytes_after_the_header((header, _) in header()) {
        for n in 0..header.len() {
            match parse(&header[..n]) {
                Header::Partial { at_least } => prop_assert!((1..=header.len() - n).contains(&at_least)),
                other => prop_assert!(false, "{:?} after {} bytes", other, n),
            }
        }
    }

    #[test]
    fn reading_only_what_is_asked_for_reads_exactly_the_header(
        (header, source) in header(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let sent = [&header[..], &payload].concat();
        let mut read = 0;
        let mut calls = 0;
        let last = loop {
            match parse(&sent[..read]) {
                Header::Partial { at_least } => read += at_least,
                other => break other,
            }
            calls += 1;
        };
        prop_assert_eq!(last, Header::Whole { length: header.len(), source });
        prop_assert_eq!(read, header.len());
        // version 2 takes at most three reads: 15 bytes as for a line, one more byte, and the announced rest
        prop_assert!(!header.starts_with(b"\r") || calls <= 3, "{} calls", calls);
    }

    #[test]
    fn headers_and_their_beginnings_obey_the_laws((header, _) in header(), cut: Index) {
        laws::assert_laws(&header);
        laws::assert_laws(&header[..cut.index(header.len())]);
    }

    #[test]
    fn altered_headers_obey_the_laws(bytes in altered()) {
        laws::assert_laws(&bytes);
    }

    #[test]
    fn any_bytes_obey_the_laws(
        start in prop::sample::select(STARTS),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        laws::assert_laws(&[start, &rest].concat());
    }

    #[test]
    fn texts_of_address_characters_obey_the_laws(text in "PROXY TCP[46] [0-9a-fF:. ]{0,50}\r?\n?") {
        laws::assert_laws(text.as_bytes());
    }
}

/// Valid headers of version 1, and the addresses in them.
fn valid_lines() -> Vec<(String, Option<Addresses>)> {
    let v4 = addresses("192.0.2.7:56324", "198.51.100.1:443");
    let filled = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", v4),
        ("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", addresses("0.0.0.0:0", "255.255.255.255:65535")),
        ("PROXY TCP6 2001:db8::7 2001:DB8::1 1 2\r\n", addresses("[2001:db8::7]:1", "[2001:db8::1]:2")),
        ("PROXY TCP6 :: ::1 1 2\r\n", addresses("[::]:1", "[::1]:2")),
        ("PROXY TCP6 1:2:3:4:5:6:7:: 0:0:0:0:0:0:0:1 1 2\r\n", addresses("[1:2:3:4:5:6:7::]:1", "[::1]:2")),
        // as inet_ntop writes an IPv4-mapped address
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", addresses("[::ffff:192.0.2.7]:1", "[::1]:2")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN \r\n", None),
        ("PROXY UNKNOWN  whatever, \r\r or \n or \0\r\r\n", None),
        ("PROXY UNKNOWN ::1 ::1 1 2\r\n", None),
    ]
    .map(|(line, source)| (line.to_string(), source))
    .into_iter()
    .chain([(filled(107), None)])
    .collect()
}

#[test]
fn valid_lines_are_parsed() {
    for (line, source) in valid_lines() {
        assert_eq!(parse(line.as_bytes()), Header::Whole { length: line.len(), source }, "{line:?}");
        laws::assert_laws(line.as_bytes());
    }
}

/// Assert that the last byte makes this header invalid, with this fault, and no byte before it.
#[track_caller]
fn assert_bad_at_last_byte(bytes: &[u8], fault: Fault) {
    let shown = bytes.escape_ascii();
    let before = &bytes[..bytes.len() - 1];
    assert!(matches!(parse(before), Header::Partial { .. }), "before \"{shown}\": {:?}", parse(before));
    assert_eq!(parse(bytes), Header::Bad(fault), "\"{shown}\"");
    laws::assert_laws(bytes);
}

#[test]
fn a_client_that_is_no_proxy_is_detected_at_its_first_wrong_byte() {
    for start in
        ["G", "p", " ", "\n", "\0", "S", "\x16", "PO", "PROXY\r", "PROXY\t", "\r\r", "\r\nG", "\r\n\r\n\x01"]
    {
        assert_bad_at_last_byte(start.as_bytes(), Fault::NoHeader);
    }
    assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n"), Header::Bad(Fault::NoHeader));
}

#[test]
fn a_line_is_bad_at_its_first_wrong_byte() {
    for (line, fault) in [
        ("PROXY  ", Fault::Protocol),
        ("PROXY t", Fault::Protocol),
        ("PROXY TCP ", Fault::Protocol),
        ("PROXY TCP5", Fault::Protocol),
        ("PROXY TCP4\r", Fault::Protocol),
        ("PROXY UD", Fault::Protocol),
        ("PROXY UNKNOWNS", Fault::Protocol),
        ("PROXY UNKNOWN\n", Fault::Protocol),
        ("PROXY UNKNOWN\rx", Fault::LineEnd),
        ("PROXY TCP4  ", Fault::Address),
        ("PROXY TCP4 a", Fault::Address),
        ("PROXY TCP4 :", Fault::Address),
        ("PROXY TCP4 256", Fault::Address),
        ("PROXY TCP4 01", Fault::Address),
        ("PROXY TCP4 1..", Fault::Address),
        ("PROXY TCP4 1.2.3 ", Fault::Address),
        ("PROXY TCP4 1.2.3.4.", Fault::Address),
        ("PROXY TCP4 1.2.3.4\t", Fault::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4\r", Fault::Address),
        ("PROXY TCP6 g", Fault::Address),
        ("PROXY TCP6 :1", Fault::Address),
        ("PROXY TCP6 :::", Fault::Address),
        ("PROXY TCP6 1::2::", Fault::Address),
        ("PROXY TCP6 12345", Fault::Address),
        ("PROXY TCP6 1.", Fault::Address),
        ("PROXY TCP6 127 ", Fault::Address),
        ("PROXY TCP6 1:2:3:4:5:6:7:8:", Fault::Address),
        ("PROXY TCP6 1:2:3:4:5:6:7:8.", Fault::Address),
        ("PROXY TCP6 fe80::1%", Fault::Address),
        ("PROXY TCP6 [", Fault::Address),
        ("PROXY TCP6 ::1 ::1\r", Fault::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4  ", Fault::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 65536", Fault::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 00", Fault::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +", Fault::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 -", Fault::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r", Fault::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r", Fault::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 ", Fault::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", Fault::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx", Fault::LineEnd),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r", Fault::LineEnd),
    ] {
        assert_bad_at_last_byte(line.as_bytes(), fault);
    }
    assert_bad_at_last_byte(b"PROXY TCP4 1.2.3.\xD9", Fault::Address);
}

#[test]
fn a_line_has_at_most_107_bytes() {
    // 106 bytes: CR LF would be bytes 107 and 108
    let unknown = format!("PROXY UNKNOWN {}", "x".repeat(92));
    assert_bad_at_last_byte(unknown.as_bytes(), Fault::TooLong);
    // two IPv6 addresses in their longest form leave no room for the ports
    let long = "0000:0000:0000:0000:0000:ffff:255.255.255.255";
    assert_bad_at_last_byte(format!("PROXY TCP6 {long} {long}").as_bytes(), Fault::TooLong);
}

#[test]
fn valid_binary_headers_are_parsed() {
    let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 4, 1, 0xBB];
    let v6 = block(&addresses("[2001:db8::7]:1", "[2001:db8::1]:65535").expect("addresses"));
    let v4_source = addresses("192.0.2.7:56324", "198.51.100.1:443");
    let v6_source = addresses("[2001:db8::7]:1", "[2001:db8::1]:65535");
    let noop = [4, 0, 3, 1, 2, 3];
    let longest = [&v4[..], &vec![0; LONGEST - 16 - 12]].concat();
    for (header, source) in [
        (v2(0x21, 0x11, &v4), v4_source),
        (v2(0x21, 0x11, &[&v4[..], &noop].concat()), v4_source),
        // bytes after the addresses are skipped, even an invalid TLV
        (v2(0x21, 0x11, &[&v4[..], &[4, 0xFF]].concat()), v4_source),
        (v2(0x21, 0x11, &longest), v4_source),
        (v2(0x21, 0x21, &v6), v6_source),
        // LOCAL: the proxy's own connection, with or without addresses
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &v4), None),
        (v2(0x20, 0x11, &v4[..3]), None),
        (v2(0x20, 0xFF, &noop), None),
        // unspecified family or transport
        (v2(0x21, 0x00, &[]), None),
        (v2(0x21, 0x00, &v4), None),
        (v2(0x21, 0x01, &[]), None),
        (v2(0x21, 0x10, &[]), None),
        // UDP, UNIX
        (v2(0x21, 0x12, &v4), None),
        (v2(0x21, 0x22, &v6), None),
        (v2(0x21, 0x31, &[b'/'; 216]), None),
        (v2(0x21, 0x32, &[b'/'; 216]), None),
    ] {
        let shown = header.escape_ascii();
        assert_eq!(parse(&header), Header::Whole { length: header.len(), source }, "\"{shown}\"");
        laws::assert_laws(&header);
    }
}

#[test]
fn a_binary_header_is_bad_at_its_first_wrong_byte() {
    let long = u16::try_from(LONGEST - 16).expect("16 bits") + 1;
    let [high, low] = long.to_be_bytes();
    for (rest, fault) in [
        (&[0x11][..], Fault::Version),
        (&[0x01], Fault::Version),
        (&[0x31], Fault::Version),
        (&[0x22], Fault::Command),
        (&[0x2F], Fault::Command),
        (&[0x21, 0x13], Fault::Family),
        (&[0x21, 0x03], Fault::Family),
        (&[0x21, 0x40], Fault::Family),
        (&[0x21, 0x41], Fault::Family),
        (&[0x21, 0xFF], Fault::Family),
        (&[0x21, 0x11, 0, 11], Fault::Length),
        (&[0x21, 0x12, 0, 0], Fault::Length),
        (&[0x21, 0x21, 0, 35], Fault::Length),
        (&[0x21, 0x31, 0, 215], Fault::Length),
        (&[0x21, 0x11, high, low], Fault::TooLong),
        (&[0x21, 0x11, high + 1], Fault::TooLong),
        (&[0x20, 0x00, 0xFF], Fault::TooLong),
    ] {
        assert_bad_at_last_byte(&[SIGNATURE, rest].concat(), fault);
    }
}

#[test]
fn a_partial_header_asks_for_the_shortest_possible_rest() {
    for (start, at_least) in [
        (&b""[..], "PROXY UNKNOWN\r\n".len()),
        (b"PROXY ", "UNKNOWN\r\n".len()),
        (b"PROXY T", "CP6 :: :: 0 0\r\n".len()),
        (b"PROXY TCP4 ", "0.0.0.0 0.0.0.0 0 0\r\n".len()),
        (b"PROXY TCP4 192.0.2", ".0 0.0.0.0 0 0\r\n".len()),
        (b"PROXY TCP6 1:2", ":: :: 0 0\r\n".len()),
        (b"PROXY TCP6 1:2:3:4:5:6:7:8", " :: 0 0\r\n".len()),
        (b"PROXY TCP6 ::1.", "0.0.0 :: 0 0\r\n".len()),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 80", " 0\r\n".len()),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 80 80", "\r\n".len()),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 80 80\r", "\n".len()),
        (b"PROXY UNKNOWN \r", 1),
        (b"PROXY UNKNOWN \r-", 2),
        (b"\r", 15),
        (SIGNATURE, 4),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", 2 + 12),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x01", 1 + 256),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x11\x00\x03ab", 1),
    ] {
        assert_eq!(parse(start), Header::Partial { at_least }, "\"{}\"", start.escape_ascii());
    }
}

#[test]
fn every_fault_has_its_own_word_for_the_log() {
    let faults = [
        Fault::NoHeader,
        Fault::Protocol,
        Fault::Address,
        Fault::Port,
        Fault::LineEnd,
        Fault::Version,
        Fault::Command,
        Fault::Family,
        Fault::Length,
        Fault::TooLong,
    ];
    let words: std::collections::BTreeSet<_> = faults.map(|fault| fault.to_string()).into();
    assert_eq!(words.len(), faults.len());
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    assert!(words.iter().all(|word| word.starts_with("proxy-") && word.bytes().all(is_plain)), "{words:?}");
}

/// A header that a real program sent: its file in fuzz/corpus/proxy, the addresses in it, the bytes after it.
type Recorded = (&'static str, Option<[&'static str; 2]>, &'static [u8]);

const RECORDED: [Recorded; 12] = [
    ("curl-v1-tcp4", Some(["127.0.0.1:58220", "127.0.0.1:23150"]), b"GET / HTTP/1.1"),
    ("haproxy-v1-check", Some(["127.0.0.1:57416", "127.0.0.1:23120"]), b""),
    ("haproxy-v1-tcp4", Some(["127.0.0.1:46768", "127.0.0.1:23100"]), b"hello\n"),
    ("haproxy-v1-tcp6", Some(["[::1]:47860", "[::1]:23100"]), b"hello\n"),
    ("haproxy-v1-unix", None, b"hello\n"),
    ("haproxy-v2-check", None, b""),
    ("haproxy-v2-tcp4", Some(["127.0.0.1:53912", "127.0.0.1:23101"]), b"hello\n"),
    ("haproxy-v2-tcp6", Some(["[::1]:50608", "[::1]:23101"]), b"hello\n"),
    ("haproxy-v2-tls-tcp4", Some(["127.0.0.1:59112", "127.0.0.1:23102"]), b"hello\n"),
    ("haproxy-v2-tls-tcp6", Some(["[::1]:38890", "[::1]:23102"]), b"hello\n"),
    ("haproxy-v2-tls-unix", None, b"hello\n"),
    ("haproxy-v2-unix", None, b"hello\n"),
];

#[test]
fn headers_recorded_from_real_proxies_are_parsed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/proxy");
    for (name, source, payload) in RECORDED {
        let sent = fs::read(folder.join(name)).expect("the file can be read");
        let Header::Whole { length, source: found } = parse(&sent) else {
            panic!("{name}: {:?}", parse(&sent))
        };
        assert_eq!(found, source.and_then(|[client, local]| addresses(client, local)), "{name}");
        assert!(sent[length..].starts_with(payload), "{name}: \"{}\"", sent[length..].escape_ascii());
        assert!(!payload.is_empty() || sent.len() == length, "{name}");
    }
}

#[test]
fn the_fuzzing_corpus_obeys_the_laws() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/proxy");
    let corpus = fs::read_dir(folder).expect("the folder exists");
    let corpus: Vec<_> = corpus.map(|entry| entry.expect("the folder can be read").path()).collect();
    assert!(corpus.len() >= RECORDED.len());
    for path in corpus {
        laws::assert_laws(&fs::read(path).expect("the file can be read"));
    }
}
