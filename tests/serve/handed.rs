//! Socket activation (LISTEN_FDS), readiness notification (NOTIFY_SOCKET), and the printed address.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;

use crate::fixture::{Reaper, Server, child_pids, exchange, failed_start, serve, serve_through};
use crate::support::{DEADLINE, has, stat_field, wait_until};

trials!(
    both: it_serves_an_inherited_socket,
        it_ignores_a_socket_for_another_process,
        it_notifies_readiness_and_the_stop,
        it_stops_with_an_error_if_its_listener_is_shut_down;
    once: it_refuses_an_inherited_socket_that_does_not_listen,
        the_ready_message_waits_for_room_in_a_full_socket,
        it_prints_the_bound_address_on_one_line,
        an_address_may_be_a_host_name;
);

/// A launcher: creates a listener as descriptor 3, sets LISTEN_PID and LISTEN_FDS, and execs the rest of its arguments.
/// Arguments: family, type, `listen` or not, what to add to the pid, LISTEN_FDS, `close` to close descriptor 3.
const LISTENER: &str = "import os, socket, sys
s = socket.socket(getattr(socket, sys.argv[1]), getattr(socket, sys.argv[2]))
s.bind(('127.0.0.1', 0) if sys.argv[1] == 'AF_INET' else '')
if sys.argv[3] == 'listen': s.listen()
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ['LISTEN_PID'] = str(os.getpid() + int(sys.argv[4]))
os.environ['LISTEN_FDS'] = sys.argv[5]
if sys.argv[6] == 'close': os.close(3)
os.execvp(sys.argv[7], sys.argv[7:])
";

/// A launcher: hands over a listener that its child shares. The child accepts and closes a client at each SIGUSR2, and
/// shuts the listener down at SIGHUP.
pub const SHARED: &str = "import os, signal, socket, sys
s = socket.create_server(('127.0.0.1', 0))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGHUP})
if os.fork() == 0:
    while True:
        if signal.sigwait({signal.SIGUSR2, signal.SIGHUP}) == signal.SIGHUP:
            s.shutdown(socket.SHUT_RDWR)
            os._exit(0)
        s.accept()[0].close()
signal.pthread_sigmask(signal.SIG_SETMASK, set())
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ['LISTEN_PID'] = str(os.getpid())
os.environ['LISTEN_FDS'] = '1'
os.execvp(sys.argv[1], sys.argv[1:])
";

fn it_stops_with_an_error_if_its_listener_is_shut_down(reaper: Reaper) {
    if !has("python3", "python3") {
        return;
    }
    let mut command = serve_through(&["python3", "-c", SHARED], reaper, &["127.0.0.1:0"], &["cat"]);
    let mut server = Server::run(&mut command);
    let other = child_pids(server.pid())[0];
    let held = server.connect();
    server.wait_children(2);
    kill(Pid::from_raw(other as i32), Signal::SIGHUP).unwrap();
    server.wait_log("prise: failed pid=[0-9]+ step=accept why=Invalid argument\n");
    server.wait_log("prise: stopping why=accept live=1 grace=10\n");
    // it still serves the clients that it has
    assert_eq!(exchange(held, b"hello"), b"hello");
    assert_eq!(server.running.wait().code(), Some(111));
    // without a client, it stops at once
    let mut command =
        serve_through(&["python3", "-c", SHARED], reaper, &["--grace", "600", "127.0.0.1:0"], &["cat"]);
    let mut server = Server::run(&mut command);
    kill(Pid::from_raw(child_pids(server.pid())[0] as i32), Signal::SIGHUP).unwrap();
    assert_eq!(server.running.wait().code(), Some(111));
}

fn the_ready_message_waits_for_room_in_a_full_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).expect("a socket can be bound");
    supervisor.set_read_timeout(Some(DEADLINE)).unwrap();
    let others = UnixDatagram::unbound().unwrap();
    others.set_nonblocking(true).unwrap();
    while others.send_to(b"STATUS=busy", &path).is_ok() {}
    let mut command = serve(Reaper::Hint, &[], &["cat"]);
    let server = Server::run(command.env("NOTIFY_SOCKET", &path));
    wait_until("the server sleeps and does not give up", || stat_field(server.pid(), 3) == "S");
    while next_message(&supervisor) != "READY=1" {}
    assert_eq!(server.ask(b"x"), b"x");
    let log = server.stop();
    assert!(!log.contains("failed"), "{log}");
}

/// The launcher [`LISTENER`] with its arguments.
fn listener_with<'a>(words: &[&'a str; 6]) -> Vec<&'a str> {
    [&["python3", "-c", LISTENER][..], words].concat()
}

fn it_serves_an_inherited_socket(reaper: Reaper) {
    if !has("python3", "python3") {
        return;
    }
    let launcher = listener_with(&["AF_INET", "SOCK_STREAM", "listen", "0", "1", "keep"]);
    let program = ["sh", "-c", "echo ${LISTEN_PID-none} ${LISTEN_FDS-none}; cat"];
    let mut server = Server::run(&mut serve_through(&launcher, reaper, &["127.0.0.1:0"], &program));
    assert_eq!(server.ask(b"hello"), b"none none\nhello");
    server.wait_idle();
    server.stop();
    // the address argument is optional
    let mut command = Command::new(launcher[0]);
    command.args(&launcher[1..]).args([env!("CARGO_BIN_EXE_prise"), "serve", "--", "cat"]);
    let mut server = Server::run(&mut command);
    assert_eq!(server.ask(b"hello"), b"hello");
    server.wait_idle();
    server.stop();
}

fn it_ignores_a_socket_for_another_process(reaper: Reaper) {
    if !has("python3", "python3") {
        return;
    }
    for launcher in [
        listener_with(&["AF_INET", "SOCK_STREAM", "listen", "1", "1", "keep"]),
        listener_with(&["AF_INET", "SOCK_STREAM", "listen", "0", "0", "keep"]),
    ] {
        let mut server = Server::run(&mut serve_through(&launcher, reaper, &["127.0.0.9:0"], &["cat"]));
        assert!(server.running.stdout().starts_with("127.0.0.9:"));
        let client = std::net::TcpStream::connect(("127.0.0.9", server.port)).expect("it listens there");
        assert_eq!(exchange(client, b"hello"), b"hello");
        server.wait_idle();
        server.stop();
    }
}

fn it_refuses_an_inherited_socket_that_does_not_listen() {
    if !has("python3", "python3") {
        return;
    }
    for (words, message) in [
        (["AF_INET", "SOCK_STREAM", "no", "0", "1", "keep"], "descriptor 3 is not a listening socket"),
        (["AF_INET", "SOCK_DGRAM", "no", "0", "1", "keep"], "descriptor 3 is not a listening socket"),
        (["AF_INET", "SOCK_STREAM", "listen", "0", "1", "close"], "descriptor 3 is not open"),
        (["AF_INET", "SOCK_STREAM", "listen", "0", "2", "keep"], "LISTEN_FDS=2"),
        (["AF_UNIX", "SOCK_STREAM", "listen", "0", "1", "keep"], "the socket is not a TCP socket"),
    ] {
        let launcher = listener_with(&words);
        let (code, stderr) = failed_start(&mut serve_through(&launcher, Reaper::Hint, &[], &["cat"]));
        assert_eq!(code, Some(100), "{words:?}: {stderr}");
        assert!(stderr.starts_with("prise serve: ") && stderr.contains(message), "{words:?}: {stderr}");
    }
    // neither an address nor a socket
    let mut command = Command::new(env!("CARGO_BIN_EXE_prise"));
    let (code, stderr) = failed_start(command.args(["serve", "--", "cat"]));
    assert_eq!(code, Some(100), "{stderr}");
    // a socket on another port or address than the one asked for
    let launcher = listener_with(&["AF_INET", "SOCK_STREAM", "listen", "0", "1", "keep"]);
    for (asked, address) in [("1", "0.0.0.0:1"), ("127.0.0.2:0", "127.0.0.2:0"), ("[::1]:0", "[::1]:0")] {
        let mut command = Command::new(launcher[0]);
        command.args(&launcher[1..]).args([env!("CARGO_BIN_EXE_prise"), "serve", asked, "--", "cat"]);
        let (code, stderr) = failed_start(&mut command);
        assert_eq!(code, Some(100), "{stderr}");
        assert!(stderr.contains(&format!("was handed over, but {address} was asked for")), "{stderr}");
    }
}

/// The supervisor's next message from the server.
#[track_caller]
fn next_message(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 100];
    let n = socket.recv(&mut buffer).expect("a message arrives");
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

fn it_notifies_readiness_and_the_stop(reaper: Reaper) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let abstract_name = format!("prise test {} {}", std::process::id(), reaper.name());
    let by_path = UnixDatagram::bind(&path).expect("a socket can be bound");
    let address = SocketAddr::from_abstract_name(&abstract_name).expect("a short name");
    let by_name = UnixDatagram::bind_addr(&address).expect("a socket can be bound");
    let names = [path.display().to_string(), format!("@{abstract_name}")];
    for (socket, name) in [by_path, by_name].into_iter().zip(names) {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut command = serve(reaper, &[], &["sh", "-c", "echo ${NOTIFY_SOCKET-none}; cat"]);
        let mut server = Server::run(command.env("NOTIFY_SOCKET", &name));
        assert_eq!(next_message(&socket), "READY=1");
        // after READY=1, the server answers
        assert_eq!(server.ask(b"x"), b"none\nx");
        server.wait_children(0);
        let held = server.connect();
        server.wait_children(1);
        server.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(next_message(&socket), "STOPPING=1");
        drop(held);
        let log = server.wait_stopped();
        assert!(!log.contains("failed"), "{log}");
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        socket.recv(&mut [0; 100]).expect_err("there is no other message");
    }
    // if the notification fails, it serves nevertheless
    let mut server = Server::run(serve(reaper, &[], &["cat"]).env("NOTIFY_SOCKET", "/nowhere/at/all"));
    server.wait_log("prise: failed pid=[0-9]+ step=notify why=No such file or directory\n");
    assert_eq!(server.ask(b"x"), b"x");
    server.stop();
}

fn it_prints_the_bound_address_on_one_line() {
    for (asked, printed) in [
        ("127.0.0.1:0", r"^127\.0\.0\.1:[1-9][0-9]*\n$"),
        ("[::1]:0", r"^\[::1\]:[1-9][0-9]*\n$"),
        ("[::]:0", r"^\[::\]:[1-9][0-9]*\n$"),
        ("0.0.0.0:0", r"^0\.0\.0\.0:[1-9][0-9]*\n$"),
    ] {
        let mut server = Server::run(&mut serve(Reaper::Hint, &[asked], &["cat"]));
        let line = server.running.stdout();
        assert!(Regex::new(printed).unwrap().is_match(&line), "{asked}: {line:?}");
        server.wait_log(&format!(
            "prise: listening address={} pid={} max-children=256\n",
            regex::escape(line.trim_end()),
            server.pid()
        ));
        server.signal(nix::sys::signal::Signal::SIGTERM);
        server.wait_stopped();
        assert_eq!(String::from_utf8(server.running.all_stdout()).unwrap(), line);
    }
}

fn an_address_may_be_a_host_name() {
    let mut server = Server::run(&mut serve(Reaper::Hint, &["localhost:0"], &["cat"]));
    assert!(server.running.stdout().starts_with("127.0.0.1:"));
    assert_eq!(server.ask(b"hello"), b"hello");
    server.stop();
    let (code, stderr) = failed_start(&mut serve(Reaper::Hint, &["no-such-host.invalid:0"], &["cat"]));
    assert_eq!(code, Some(100), "{stderr}");
    assert!(stderr.starts_with("prise serve: no-such-host.invalid: "), "{stderr}");
}
