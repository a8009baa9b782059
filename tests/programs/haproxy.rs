//! haproxy in front, which says by the PROXY protocol who its clients are.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use crate::server::{Server, connect_from, heard, serve, tell};
use crate::support::{DEADLINE, Running, connect, free_port, has, skipped, start_piped, wait_until};

/// What a client is told: who it is, and where it came to.
const WHO: [&str; 3] =
    ["sh", "-c", "echo $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP $TCPLOCALPORT; exec cat >/dev/null"];

/// A client that half-closes before haproxy has reached the server, and has said nothing until then, is given up.
const HELLO: &str = "hello\n";

/// haproxy, with a port of its own for each way to say it.
struct Haproxy {
    _running: Running,
    _folder: tempfile::TempDir,
    /// `send-proxy`, `send-proxy-v2`
    ports: [u16; 2],
}

/// Start it before a server. `more` stands in each line of a server.
fn haproxy(server: &Server, host: &str, more: &str) -> Haproxy {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
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
fn behind_haproxy_a_program_knows_the_client_and_not_the_proxy() {
    if !has("haproxy", "haproxy") {
        return;
    }
    let mut server = serve(&["--proxy-protocol", "127.0.0.1"], &WHO);
    for port in haproxy(&server, "127.0.0.1", "").ports {
        let client = connect_from(77, port);
        let here = client.local_addr().expect("it is connected").port();
        assert_eq!(tell(client, HELLO), format!("127.0.0.77 {here} 127.0.0.1 {port}\n"));
        // its start, and its end
        server.wait_log(2, &format!(" peer=127.0.0.77:{here} "));
    }
    server.stop();
}

#[test]
fn behind_haproxy_an_ipv6_client_is_known_though_the_proxy_comes_by_ipv4() {
    if !has("haproxy", "haproxy") {
        return;
    }
    if TcpListener::bind("[::1]:0").is_err() {
        return skipped("this machine has no IPv6");
    }
    let server = serve(&["--proxy-protocol", "127.0.0.1"], &WHO);
    for port in haproxy(&server, "::1", "").ports {
        let client = TcpStream::connect(("::1", port)).expect("haproxy listens");
        client.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
        let here = client.local_addr().expect("it is connected").port();
        assert_eq!(tell(client, HELLO), format!("::1 {here} ::1 {port}\n"));
    }
    server.stop();
}

#[test]
fn behind_haproxy_a_cap_counts_the_clients_and_not_the_proxy() {
    if !has("haproxy", "haproxy") {
        return;
    }
    let mut server = serve(&["--proxy-protocol", "127.0.0.1", "--per-ip", "1"], &WHO);
    let haproxy = haproxy(&server, "127.0.0.1", "");
    let [port, other_port] = haproxy.ports;
    let held = connect_from(77, port);
    server.wait_log(1, " peer=127.0.0.77:");
    assert_eq!(heard(connect_from(77, other_port)), "");
    let log = server.wait_log(1, "refused peer=127.0.0.77:");
    assert!(log.contains(" why=per-ip\n"), "{log}");
    let answer = tell(connect_from(78, port), HELLO);
    assert!(answer.starts_with("127.0.0.78 "), "{answer}");
    assert!(tell(held, HELLO).starts_with("127.0.0.77 "));
    server.stop();
}

#[test]
fn a_health_check_of_haproxy_is_a_client_whose_address_is_the_proxys() {
    if !has("haproxy", "haproxy") {
        return;
    }
    let mut server = serve(&["--proxy-protocol", "127.0.0.1"], &["true"]);
    let haproxy = haproxy(&server, "127.0.0.1", "check inter 100ms");
    // as many as two servers are checked in some rounds; each has said LOCAL, or UNKNOWN
    server.wait_log(8, "end pid=");
    let port = haproxy.ports[1];
    let log = server.log();
    assert!(!log.contains("refused"), "{log}");
    assert_eq!(heard(connect_from(77, port)), "");
    server.wait_log(2, " peer=127.0.0.77:");
    server.stop();
}

#[test]
fn who_is_not_the_proxy_is_not_believed() {
    let server = serve(&["--proxy-protocol", "127.0.0.2"], &["sh", "-c", "echo $TCPREMOTEIP; cat"]);
    let header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    assert_eq!(tell(connect_from(77, server.port), header), format!("127.0.0.77\n{header}"));
    assert_eq!(tell(connect_from(2, server.port), header), "192.0.2.1\n");
    server.stop();
}

#[test]
fn a_proxy_that_resets_its_header_is_named_in_one_word() {
    let mut server = serve(&["--proxy-protocol", "127.0.0.1"], &["true"]);
    let mut proxy = connect(server.port);
    proxy.write_all(b"PROXY TCP4 ").expect("the server takes it");
    crate::support::reset(proxy);
    let log = server.wait_log(1, "refused peer=127.0.0.1:");
    assert!(log.contains(" why=proxy-econnreset\n"), "{log}");
    server.stop();
}
