//! Who starts a server: systemd's socket activation, and a supervisor that wants to be told.

use std::process::Command;

use crate::server::{PRISE, ask, listening};
use crate::support::{free_port, has, start_piped, wait_until};

#[test]
fn systemd_hands_its_socket_over_and_no_client_waits_in_vain() {
    if !has("systemd-socket-activate", "systemd") {
        return;
    }
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &address, PRISE, "serve", "--", "sh", "-c", "env; cat"]);
    let mut running = start_piped(&mut command);
    wait_until("systemd-socket-activate listens", || running.stderr().contains("Listening on "));
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("it has a port");
    // the first client starts the server, and is served by it
    for _ in 0..2 {
        let answer = ask(port, "hello\n");
        assert!(answer.ends_with("hello\n") && answer.contains("TCPREMOTEIP=127.0.0.1\n"), "{answer}");
        assert!(!answer.contains("LISTEN_"), "{answer}");
    }
    let mut server = listening(running);
    assert_eq!(server.port, port);
    let own = format!("listening address={address} pid={} ", server.pid());
    server.wait_log(1, &own);
    server.stop();
}

#[test]
fn a_socket_on_another_port_than_asked_for_is_not_served() {
    if !has("systemd-socket-activate", "systemd") {
        return;
    }
    let (port, other) = (free_port(), free_port());
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &format!("127.0.0.1:{port}"), PRISE, "serve", &other.to_string()]);
    let mut running = start_piped(&mut command);
    wait_until("systemd-socket-activate listens", || running.stderr().contains("Listening on "));
    let _client = crate::support::connect(port);
    assert_eq!(running.wait().code(), Some(100));
    let said = String::from_utf8_lossy(&running.all_stderr()).into_owned();
    assert!(said.contains(&format!("127.0.0.1:{port} was handed over")), "{said}");
}

/// Prints the datagrams that come.
const READER: &str = "import socket, sys
name = sys.argv[1]
reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
reader.bind('\\0' + name[1:] if name.startswith('@') else name)
print('bound', flush=True)
for _ in range(2): print(reader.recv(1000).decode(), flush=True)
";

#[test]
fn a_supervisor_is_told_when_clients_may_come_and_when_no_more() {
    if !has("python3", "python3") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("notify").to_str().expect("a plain name").to_string();
    for name in [path, format!("@prise-{}", std::process::id())] {
        let mut reader = start_piped(Command::new("python3").args(["-c", READER, &name]));
        reader.wait_stdout("bound\n");
        let mut command = Command::new(PRISE);
        command.args(["serve", "127.0.0.1:0", "--", "env"]).env("NOTIFY_SOCKET", &name);
        let running = start_piped(&mut command);
        reader.wait_stdout("READY=1\n");
        let server = listening(running);
        let environment = ask(server.port, "");
        assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
        assert_eq!(reader.stdout(), "bound\nREADY=1\n");
        server.stop();
        assert!(reader.wait().success());
        assert_eq!(reader.all_stdout(), b"bound\nREADY=1\nSTOPPING=1\n");
    }
}
