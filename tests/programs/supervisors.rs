//! Supervisors: systemd's socket activation, and notifications to NOTIFY_SOCKET.

use std::process::Command;

use crate::server::{PRISE, ask, listening, path_in};
use crate::support::{free_port, has, start_piped, wait_until};

#[test]
fn systemd_can_pass_its_socket_and_every_client_is_served() {
    if !has("systemd-socket-activate", "systemd") {
        return;
    }
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &address, PRISE, "serve", "--", "sh", "-c", "env; cat"]);
    let mut running = start_piped(&mut command);
    wait_until("systemd-socket-activate listens", || running.stderr().contains("Listening on "));
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("it has a port");
    // the first client makes systemd start the server, which then serves it
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
fn a_passed_socket_with_the_wrong_port_is_refused() {
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
    let stderr = String::from_utf8_lossy(&running.all_stderr()).into_owned();
    assert!(stderr.contains(&format!("127.0.0.1:{port} was handed over")), "{stderr}");
}

/// Prints two datagrams, as a supervisor receives them.
const READER: &str = "import socket, sys
name = sys.argv[1]
reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
reader.bind('\\0' + name[1:] if name.startswith('@') else name)
print('bound', flush=True)
for _ in range(2): print(reader.recv(1000).decode(), flush=True)
";

#[test]
fn a_supervisor_is_notified_of_readiness_and_of_the_stop() {
    if !has("python3", "python3") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    for name in [path_in(&folder, "notify"), format!("@prise-{}", std::process::id())] {
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
