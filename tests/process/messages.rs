//! The client's message, the line in the log, and the reply.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pretty_assertions::assert_eq;

use crate::fixture::{Kind, REPLY, Server, accepted, ask, exchange};
use crate::support::{connect, read_to_end};

both!(
    prints_hostile_messages_on_one_line_each,
    reads_a_message_in_several_pieces,
    reads_255_bytes_and_answers_longer_messages_too,
    takes_a_long_pause_for_the_end_of_a_message,
    answers_an_empty_message,
);

/// Messages, and how the log shows each.
const HOSTILE: [(&[u8], &str); 18] = [
    (b"hello", "hello"),
    (b"hello\n", "hello\n"),
    (b"hello\r\n", "hello\r\n"),
    (b"x\nConnection from 6.6.6.6:1 accepted\n", "x\\nConnection from 6.6.6.6:1 accepted\n"),
    (b"x\r\nMessage from client: y", "x\\r\\nMessage from client: y"),
    (b"overwritten\rby this", "overwritten\\rby this"),
    (b"a\tb", "a\\tb"),
    (b"seen\0unseen", "seen"),
    (b"\0unseen\n", ""),
    ("d\u{e9}j\u{e0} vu \u{1f980}".as_bytes(), "d\u{e9}j\u{e0} vu \u{1f980}"),
    (b"\xff\xfe\x80", "\\xff\\xfe\\x80"),
    (b"\xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80", "\\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80"),
    (b"cut \xf0\x9f\xa6", "cut \\xf0\\x9f\\xa6"),
    (b"\x1b[2J\x1b]0;title\x07\x08\x7f", "\\x1b[2J\\x1b]0;title\\x07\\x08\\x7f"),
    ("\u{9b}31m\u{85}".as_bytes(), "\\xc2\\x9b31m\\xc2\\x85"),
    ("\u{202e}gnp.exe \u{2066}".as_bytes(), "\\xe2\\x80\\xaegnp.exe \\xe2\\x81\\xa6"),
    ("\u{2028}\u{2029}\u{200f}\u{61c}".as_bytes(), "\\xe2\\x80\\xa8\\xe2\\x80\\xa9\\xe2\\x80\\x8f\\xd8\\x9c"),
    (b"%s%n%x \\n \\x1b", "%s%n%x \\n \\x1b"),
];

fn prints_hostile_messages_on_one_line_each(kind: Kind) {
    let server = Server::start(kind);
    let mut expected = String::new();
    for (message, printed) in HOSTILE {
        let client = connect(server.port);
        expected += &format!("{}Message from client: {printed}\n", accepted(&client));
        assert_eq!(&exchange(client, message), REPLY, "{printed}");
    }
    assert_eq!(server.end_log(), expected);
}

/// Send pieces 200 ms apart.
fn send_pieces(client: &mut TcpStream, pieces: &[&[u8]]) {
    for (n, piece) in pieces.iter().enumerate() {
        if n > 0 {
            sleep(Duration::from_millis(200));
        }
        client.write_all(piece).unwrap();
    }
}

fn reads_a_message_in_several_pieces(kind: Kind) {
    let server = Server::start(kind);
    let cases: [(&[&[u8]], &str); 4] = [
        (&[b"h", b"el", b"lo wor", b"ld\n"], "hello world\n"),
        (&[b"caf\xc3", b"\xa9", b"\n"], "caf\u{e9}\n"),
        (&[&[b'a'; 100], &[b'b'; 100], &[b'c'; 100]], ""),
        (&[b"before", b"\0after"], "before"),
    ];
    let mut expected = String::new();
    for (pieces, printed) in cases {
        let mut client = connect(server.port);
        let long = ["a".repeat(100), "b".repeat(100), "c".repeat(55)].concat();
        let printed = if printed.is_empty() { &long } else { printed };
        expected += &format!("{}Message from client: {printed}\n", accepted(&client));
        send_pieces(&mut client, pieces);
        let (reply, end) = read_to_end(&mut client);
        end.expect("the end of file");
        assert_eq!(&reply, REPLY);
    }
    assert_eq!(server.end_log(), expected);
}

fn reads_255_bytes_and_answers_longer_messages_too(kind: Kind) {
    let server = Server::start(kind);
    let mut expected = String::new();
    for length in [1, 254, 255, 256, 5_000, 200_000] {
        let mut client = connect(server.port);
        let printed = "m".repeat(length.min(255));
        expected += &format!("{}Message from client: {printed}\n", accepted(&client));
        client.write_all("m".repeat(length).as_bytes()).unwrap();
        // shorter messages need a half-close, which marks their end
        if length < 255 {
            client.shutdown(Shutdown::Write).unwrap();
        }
        let (reply, end) = read_to_end(&mut client);
        end.unwrap_or_else(|error| panic!("{length} bytes: {error}"));
        assert_eq!(&reply, REPLY, "{length} bytes");
    }
    // the 255th byte is the first half of a character
    let client = connect(server.port);
    expected += &format!("{}Message from client: {}\\xc3\n", accepted(&client), "m".repeat(254));
    assert_eq!(&exchange(client, format!("{}\u{e9}", "m".repeat(254)).as_bytes()), REPLY);
    assert_eq!(server.end_log(), expected);
}

fn takes_a_long_pause_for_the_end_of_a_message(kind: Kind) {
    let server = Server::start(kind);
    let mut client = connect(server.port);
    let begin = Instant::now();
    let expected = format!("{}Message from client: x\n", accepted(&client));
    client.write_all(b"x").unwrap();
    let (reply, end) = read_to_end(&mut client);
    end.expect("the end of file");
    assert_eq!(&reply, REPLY);
    // a piece that TCP retransmits after a second must still be in time
    assert!(begin.elapsed() > Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(server.end_log(), expected);
}

fn answers_an_empty_message(kind: Kind) {
    let server = Server::start(kind);
    let client = connect(server.port);
    let expected = format!("{}Message from client: \n", accepted(&client));
    assert_eq!(&exchange(client, b""), REPLY);
    assert_eq!(server.end_log(), expected);
}

#[test]
fn both_editions_print_random_messages_the_same_way() {
    let [rust, c] = [Kind::Rust, Kind::C].map(|kind| {
        let server = Server::start(kind);
        for message in random_messages() {
            assert_eq!(ask(server.port, &message), REPLY, "{kind:?}: {message:?}");
        }
        let log = server.end_log();
        let lines = log.lines().filter(|line| !line.starts_with("Connection from "));
        lines.map(String::from).collect::<Vec<_>>()
    });
    assert!(rust.len() >= 200, "{} lines", rust.len());
    assert_eq!(rust, c);
}

/// Pseudo-random messages from a fixed seed: any bytes, any but NUL, and bytes that matter to UTF-8 and to terminals.
fn random_messages() -> Vec<Vec<u8>> {
    const EDGES: &[u8] = b"\x00\n\r\t\x1b\x7f\x80\x8f\x90\x9b\x9c\x9f\xa0\xa8\xae\xbf\xc0\xc2\xd8\xe0\xe2\xed\xef\xf0\xf4\xf5 a";
    let mut random = Random(0x5eed);
    let mut message = |n: u64| {
        let length = random.below(300);
        let byte = |random: &mut Random| match n % 3 {
            0 => random.below(256) as u8,
            1 => 1 + random.below(255) as u8,
            _ => EDGES[1 + random.below(EDGES.len() as u64 - 1) as usize],
        };
        (0..length).map(|_| byte(&mut random)).collect()
    };
    (0..210).map(&mut message).collect()
}

/// Marsaglia's xorshift generator: the same seed gives the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
