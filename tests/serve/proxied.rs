//! The PROXY protocol's header: from trusted proxies only, its addresses, and its errors.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::fixture::{Reaper, Server, assert_closed, exchange, peer};
use crate::support::{connect_from, read_to_end, wait_until};

trials!(
    both: log_and_environment_show_the_proxied_client,
        a_header_without_addresses_leaves_those_of_the_connection,
        a_header_may_arrive_byte_by_byte,
        bytes_after_the_header_go_to_the_program,
        a_silent_proxy_is_closed_after_3_seconds_and_delays_nobody,
        a_client_that_is_no_proxy_needs_no_header,
        limits_apply_to_the_proxied_client,
        an_invalid_header_is_refused_and_its_fault_logged;
    once: ;
);

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.80 40123 80\r\n";

/// A header of version 2.
fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

/// A header for the client 192.0.2.7:40123 of 192.0.2.80:80, with a TLV.
fn v2_ipv4() -> Vec<u8> {
    v2(1, 0x11, &[192, 0, 2, 7, 192, 0, 2, 80, 0x9c, 0xbb, 0, 80, 4, 0, 1, 0])
}

/// A header for the client [2001:db8::7]:40123 of [2001:db8::80]:80.
fn v2_ipv6() -> Vec<u8> {
    let mut addresses = [0; 36];
    addresses[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    addresses[15] = 7;
    addresses[16..20].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    addresses[31] = 0x80;
    addresses[32..].copy_from_slice(&[0x9c, 0xbb, 0, 80]);
    v2(1, 0x21, &addresses)
}

const TRUSTED: [&str; 2] = ["--proxy-protocol", "127.0.0.0/8"];

/// A program that prints its client's addresses, then echoes.
const PRINT_ADDRESSES: [&str; 3] =
    ["sh", "-c", "echo $REMOTE_ADDR $REMOTE_PORT $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP $TCPLOCALPORT; cat"];

fn log_and_environment_show_the_proxied_client(reaper: Reaper) {
    let mut server = Server::start(reaper, &TRUSTED, &PRINT_ADDRESSES);
    let v4 = "192.0.2.7 40123 192.0.2.7 40123 192.0.2.80 80\n";
    let v6 = "2001:db8::7 40123 2001:db8::7 40123 2001:db8::80 80\n";
    let v1_ipv6 = b"PROXY TCP6 2001:db8::7 2001:db8::80 40123 80\r\n";
    for (header, printed, logged) in [
        (V1, v4, "192.0.2.7:40123"),
        (v1_ipv6, v6, "[2001:db8::7]:40123"),
        (&v2_ipv4(), v4, "192.0.2.7:40123"),
        (&v2_ipv6(), v6, "[2001:db8::7]:40123"),
        // an IPv4-mapped IPv6 address counts as IPv4
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.80 40123 80\r\n", v4, "192.0.2.7:40123"),
    ] {
        let before = server.logged(&format!(" peer={logged} "));
        assert_eq!(String::from_utf8_lossy(&server.ask(header)), printed);
        wait_until("start and end are logged", || server.logged(&format!(" peer={logged} ")) == before + 2);
    }
    server.wait_idle();
    let log = server.stop();
    assert!(!log.contains("peer=127.0.0.1"), "{log}");
}

fn a_header_without_addresses_leaves_those_of_the_connection(reaper: Reaper) {
    let mut server = Server::start(reaper, &TRUSTED, &PRINT_ADDRESSES);
    for header in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        &v2(0, 0x00, &[]),
        &v2(0, 0x11, &[192, 0, 2, 7, 192, 0, 2, 80, 0x9c, 0xbb, 0, 80]),
        &v2(1, 0x00, &[]),
    ] {
        let client = server.connect();
        let (ip, port) = ("127.0.0.1", client.local_addr().unwrap().port());
        let expected = format!("{ip} {port} {ip} {port} {ip} {}\n", server.port);
        let line = format!(" peer={} ", peer(&client));
        assert_eq!(String::from_utf8_lossy(&exchange(client, header)), expected);
        wait_until("start and end are logged", || server.logged(&line) == 2);
    }
    server.wait_idle();
    server.stop();
}

fn a_header_may_arrive_byte_by_byte(reaper: Reaper) {
    let mut server = Server::start(reaper, &TRUSTED, &["cat"]);
    for header in [V1, &v2_ipv4()] {
        let mut client = server.connect();
        client.set_nodelay(true).unwrap();
        for byte in header {
            client.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
        assert_eq!(exchange(client, b"what follows"), b"what follows");
    }
    assert_eq!(server.wait_idle().refused, 0);
    server.stop();
}

fn bytes_after_the_header_go_to_the_program(reaper: Reaper) {
    let mut server = Server::start(reaper, &TRUSTED, &["cat"]);
    for header in [V1, b"PROXY UNKNOWN\r\n", &v2_ipv4(), &v2_ipv6(), &v2(0, 0, &[])] {
        // the client's bytes may look like a header or like the end of one
        for payload in [&b"\r\n"[..], b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", &[0; 5000], b"x", b""] {
            assert_eq!(server.ask(&[header, payload].concat()), payload);
        }
    }
    assert_eq!(server.wait_idle().refused, 0);
    server.stop();
}

fn a_silent_proxy_is_closed_after_3_seconds_and_delays_nobody(reaper: Reaper) {
    let mut server = Server::start(reaper, &TRUSTED, &["cat"]);
    let begin = Instant::now();
    let mut silent: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut silent[25..] {
        client.write_all(&V1[..20]).unwrap();
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(server.ask(&[V1, b"hello"].concat()), b"hello");
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_millis(2900), "a client waited for {slowest:?}");
    if begin.elapsed() < Duration::from_secs(2) {
        assert_eq!(server.status().waiting, 50);
    }
    silent.iter_mut().for_each(assert_closed);
    assert!(begin.elapsed() >= Duration::from_millis(2900), "{:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    wait_until("each refusal is logged", || server.logged(" why=proxy-timeout\n") == 50);
    let status = server.wait_idle();
    assert_eq!((status.started, status.refused), (20, 50));
    server.stop();
}

fn a_client_that_is_no_proxy_needs_no_header(reaper: Reaper) {
    let mut server = Server::start(reaper, &["--proxy-protocol", "10.0.0.0/8,127.0.0.2"], &["cat"]);
    // from 127.0.0.1, bytes that look like a header go to the program
    assert_eq!(server.ask(V1), V1);
    assert_eq!(exchange(connect_from("127.0.0.2", server.port), &[V1, b"x"].concat()), b"x");
    server.wait_idle();
    assert_eq!(server.logged(" peer=192.0.2.7:40123 "), 2);
    server.stop();
}

fn limits_apply_to_the_proxied_client(reaper: Reaper) {
    let options = [&TRUSTED[..], &["--per-ip", "1", "--rate", "3/3600"]].concat();
    let mut server = Server::start(reaper, &options, &["cat"]);
    let announce = |server: &Server, ip: &str| {
        let mut client = server.connect();
        client.write_all(format!("PROXY TCP4 {ip} 192.0.2.80 40123 80\r\n").as_bytes()).unwrap();
        client
    };
    let held = announce(&server, "192.0.2.7");
    server.wait_children(1);
    assert_closed(&mut announce(&server, "192.0.2.7"));
    server.wait_log("prise: refused peer=192.0.2.7:40123 why=per-ip\n");
    assert_eq!(exchange(announce(&server, "192.0.2.8"), b"other"), b"other");
    assert_eq!(exchange(held, b"held"), b"held");
    server.wait_children(0);
    for _ in 0..2 {
        assert_eq!(exchange(announce(&server, "192.0.2.7"), b"again"), b"again");
        server.wait_children(0);
    }
    assert_closed(&mut announce(&server, "192.0.2.7"));
    server.wait_log("prise: refused peer=192.0.2.7:40123 why=rate\n");
    let status = server.wait_idle();
    assert_eq!((status.started, status.refused), (4, 2));
    server.stop();
}

fn an_invalid_header_is_refused_and_its_fault_logged(reaper: Reaper) {
    let mut server = Server::start(reaper, &TRUSTED, &["cat"]);
    let mut bad_version = v2_ipv4();
    bad_version[12] = 0x11;
    for (bytes, why) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "proxy-header-missing"),
        (b"PROXY TCP5 1 2 3 4\r\n", "proxy-protocol"),
        (b"PROXY TCP4 192.0.2.300 192.0.2.80 1 2\r\n", "proxy-address"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.80 080 2\r\n", "proxy-port"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.80 1 2\rX", "proxy-line-end"),
        (&bad_version, "proxy-version"),
        (&v2(2, 0x11, &[0; 12]), "proxy-command"),
        (&v2(1, 0x77, &[0; 12]), "proxy-family"),
        (&v2(1, 0x11, &[0; 11]), "proxy-length"),
        (&v2(1, 0x11, &[0; 5000]), "proxy-too-long"),
        (b"PROXY TCP4 192.0.2.7", "proxy-closed"),
        (b"", "proxy-closed"),
    ] {
        let mut client = server.connect();
        let line = format!("prise: refused peer={} why={why}\n", peer(&client));
        // the server may close the connection at the first wrong byte
        let _ = client.write_all(bytes);
        let _ = client.shutdown(Shutdown::Write);
        let (got, _) = read_to_end(&mut client);
        assert_eq!(got, b"", "{why}");
        wait_until(&line, || server.logged(&line) == 1);
    }
    let status = server.wait_idle();
    assert_eq!((status.started, status.refused), (0, 12));
    server.stop();
}
