//! haproxy in front of the server: it announces its clients by the PROXY protocol.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use crate::server::{Server, exchange, read_answer, serve};
use crate::support::{
    DEADLINE, Running, connect, connect_from, free_port, has, skipped, start_piped, wait_until,
};

/// A program that sends its client both addresses of the connection.
const PRINT_ADDRESSES: [&str; 3] =
    ["sh", "-c", "echo $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP $TCPLOCALPORT; exec cat >/dev/null"];

/// haproxy drops a client that half-closes without a message before haproxy has connected to the server, so send one.
const HELLO: &str = "hello\n";

/// A running haproxy, with one port for each version of the protocol.
struct Haproxy {
    _running: Running,
    _folder: tempfile::TempDir,
    /// The ports for `send-proxy` and for `send-proxy-v2`.
    ports: [u16; 2],
}

/// Start haproxy in front of a server, on an address of this machine; `more` is added to each `server` line.
fn haproxy(server: &Server, host: &str, more: &str) -> Haproxy {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let ports = [free_port(), free_port()];
    let mut config =
        "defaults\n mode tcp\n timeout connect 15s\n timeout client 15s\n timeout server 15s\n".to_string();
    for (port, sends) in ports.into_iter().zip(["send-proxy", "send-proxy-v2"]) {
        config += &format!("listen {sends}\n bind {host}:{port}\n");
        config += &format!(" server prise 127.0.0.1:{} {sends} {more}\n", server.port);
    }
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, config).expect("a file can be written");
    let mut running = start_piped(Command::new("haproxy").arg("-db").arg("-f").arg(file));
    wait_until("haproxy listens", || {
        assert!(running.try_wait().is_none(), "haproxy has ended: {}", running.stderr());
        ports.iter().all(|&port| TcpStream::connect((host, port)).is_ok())
    });
    Haproxy { _running: running, _folder: folder, ports }
}

#[test]
fn behind_haproxy_the_program_gets_the_clients_address() {
    if !has("haproxy", "haproxy") {
        return;
    }
    let mut server = serve(&["--proxy-protocol", "127.0.0.1"], &PRINT_ADDRESSES);
    for port in haproxy(&server, "127.0.0.1", "").ports {
        let client = connect_from("127.0.0.77", port);
        let here = client.local_addr().expect("it is connected").port();
        assert_eq!(exchange(client, HELLO), format!("127.0.0.77 {here} 127.0.0.1 {port}\n"));
        // the lines of its start and of its end
        server.wait_log(2, &format!(" peer=127.0.0.77:{here} "));
    }
    server.stop();
}

#[test]
fn behind_haproxy_over_ipv4_the_program_gets_an_ipv6_clients_address() {
    if !has("haproxy", "haproxy") {
        return;
    }
    if TcpListener::bind("[::1]:0").is_err() {
        return skipped("this machine has no IPv6");
    }
    let server = serve(&["--proxy-protocol", "127.0.0.1"], &PRINT_ADDRESSES);
    for port in haproxy(&server, "::1", "").ports {
        let client = TcpStream::connect(("::1", port)).expect("haproxy listens");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        let here = client.local_addr().expect("it is connected").port();
        assert_eq!(exchange(client, HELLO), format!("::1 {here} ::1 {port}\n"));
    }
    server.stop();
}

#[test]
fn behind_haproxy_per_ip_counts_the_clients_addresses() {
    if !has("haproxy", "haproxy") {
        return;
    }
    let mut server = serve(&["--proxy-protocol", "127.0.0.1", "--per-ip", "1"], &PRINT_ADDRESSES);
    let haproxy = haproxy(&server, "127.0.0.1", "");
    let [port, other_port] = haproxy.ports;
    let held = connect_from("127.0.0.77", port);
    server.wait_log(1, " peer=127.0.0.77:");
    assert_eq!(read_answer(connect_from("127.0.0.77", other_port)), "");
    let log = server.wait_log(1, "refused peer=127.0.0.77:");
    assert!(log.contains(" why=per-ip\n"), "{log}");
    let answer = exchange(connect_from("127.0.0.78", port), HELLO);
    assert!(answer.starts_with("127.0.0.78 "), "{answer}");
    assert!(exchange(held, HELLO).starts_with("127.0.0.77 "));
    server.stop();
}

#[test]
fn a_health_check_of_haproxy_counts_as_a_client_with_the_proxys_address() {
    if !has("haproxy", "haproxy") {
        return;
    }
    let mut server = serve(&["--proxy-protocol", "127.0.0.1"], &["true"]);
    let haproxy = haproxy(&server, "127.0.0.1", "check inter 100ms");
    // both `server` lines are checked several times; the headers say UNKNOWN or LOCAL
    server.wait_log(8, "end pid=");
    let port = haproxy.ports[1];
    let log = server.log();
    assert!(!log.contains("refused"), "{log}");
    assert_eq!(read_answer(connect_from("127.0.0.77", port)), "");
    server.wait_log(2, " peer=127.0.0.77:");
    server.stop();
}

#[test]
fn a_header_from_an_untrusted_address_is_not_believed() {
    let server = serve(&["--proxy-protocol", "127.0.0.2"], &["sh", "-c", "echo $TCPREMOTEIP; cat"]);
    let header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    assert_eq!(exchange(connect_from("127.0.0.77", server.port), header), format!("127.0.0.77\n{header}"));
    assert_eq!(exchange(connect_from("127.0.0.2", server.port), header), "192.0.2.1\n");
    server.stop();
}

#[test]
fn a_reset_during_the_header_is_logged_as_one_word() {
    let mut server = serve(&["--proxy-protocol", "127.0.0.1"], &["true"]);
    let mut proxy = connect(server.port);
    proxy.write_all(b"PROXY TCP4 ").expect("the server accepts the bytes");
    crate::support::reset(proxy);
    let log = server.wait_log(1, "refused peer=127.0.0.1:");
    assert!(log.contains(" why=proxy-econnreset\n"), "{log}");
    server.stop();
}
