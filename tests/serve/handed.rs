//! A socket that is handed over (LISTEN_FDS), readiness (NOTIFY_SOCKET), and the address that is printed.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;

use crate::fixture::{Reaper, Server, finish, offspring, serve, serve_under, stat_field};
use crate::support::{DEADLINE, Running, has, start_piped, wait_until};

trials!(
    both: a_socket_that_is_handed_over_is_served,
        a_socket_for_another_process_is_ignored,
        readiness_and_the_end_are_told,
        a_socket_that_another_shuts_down_ends_the_service;
    once: what_is_handed_over_and_does_not_listen_is_denied,
        readiness_waits_for_room,
        the_bound_address_is_printed_in_one_line,
        a_name_that_resolves_is_an_address;
);

/// Listens, and hands the socket over as descriptor 3, and as many environment variables as are named.
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

/// Hands over a socket that its child keeps: at SIGUSR2 that accepts a client and closes it, at SIGHUP it has the
/// socket listen no more.
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

fn a_socket_that_another_shuts_down_ends_the_service(reaper: Reaper) {
    if !has("python3", "python3") {
        return;
    }
    let mut command = serve_under(&["python3", "-c", SHARED], reaper, &["127.0.0.1:0"], &["cat"]);
    let mut server = Server::run(&mut command);
    let other = offspring(server.pid())[0];
    let held = server.connect();
    server.wait_children(2);
    kill(Pid::from_raw(other as i32), Signal::SIGHUP).unwrap();
    server.wait_log("prise: failed pid=[0-9]+ step=accept why=Invalid argument\n");
    server.wait_log("prise: stopping why=accept live=1 grace=10\n");
    // who is served is served to the end
    assert_eq!(finish(held, b"hello"), b"hello");
    assert_eq!(server.running.wait().code(), Some(111));
    // and nobody is waited for where there is nobody
    let mut command =
        serve_under(&["python3", "-c", SHARED], reaper, &["--grace", "600", "127.0.0.1:0"], &["cat"]);
    let mut server = Server::run(&mut command);
    kill(Pid::from_raw(offspring(server.pid())[0] as i32), Signal::SIGHUP).unwrap();
    assert_eq!(server.running.wait().code(), Some(111));
}

fn readiness_waits_for_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).expect("a socket can be bound");
    supervisor.set_read_timeout(Some(DEADLINE)).unwrap();
    let others = UnixDatagram::unbound().unwrap();
    others.set_nonblocking(true).unwrap();
    while others.send_to(b"STATUS=busy", &path).is_ok() {}
    let mut command = serve(Reaper::Hint, &[], &["cat"]);
    let server = Server::run(command.env("NOTIFY_SOCKET", &path));
    wait_until("it sleeps, and does not give up", || stat_field(server.pid(), 3) == "S");
    while told(&supervisor) != "READY=1" {}
    assert_eq!(server.ask(b"x"), b"x");
    let log = server.stop();
    assert!(!log.contains("failed"), "{log}");
}

fn handing<'a>(words: &[&'a str; 6]) -> Vec<&'a str> {
    [&["python3", "-c", LISTENER][..], words].concat()
}

fn a_socket_that_is_handed_over_is_served(reaper: Reaper) {
    if !has("python3", "python3") {
        return;
    }
    let launcher = handing(&["AF_INET", "SOCK_STREAM", "listen", "0", "1", "keep"]);
    let program = ["sh", "-c", "echo ${LISTEN_PID-none} ${LISTEN_FDS-none}; cat"];
    let mut server = Server::run(&mut serve_under(&launcher, reaper, &["127.0.0.1:0"], &program));
    assert_eq!(server.ask(b"hello"), b"none none\nhello");
    server.at_rest();
    server.stop();
    // the address may be left out
    let mut command = Command::new(launcher[0]);
    command.args(&launcher[1..]).args([env!("CARGO_BIN_EXE_prise"), "serve", "--", "cat"]);
    let mut server = Server::run(&mut command);
    assert_eq!(server.ask(b"hello"), b"hello");
    server.at_rest();
    server.stop();
}

fn a_socket_for_another_process_is_ignored(reaper: Reaper) {
    if !has("python3", "python3") {
        return;
    }
    for launcher in [
        handing(&["AF_INET", "SOCK_STREAM", "listen", "1", "1", "keep"]),
        handing(&["AF_INET", "SOCK_STREAM", "listen", "0", "0", "keep"]),
    ] {
        let mut server = Server::run(&mut serve_under(&launcher, reaper, &["127.0.0.9:0"], &["cat"]));
        assert!(server.running.stdout().starts_with("127.0.0.9:"));
        let client = std::net::TcpStream::connect(("127.0.0.9", server.port)).expect("it listens there");
        assert_eq!(crate::fixture::finish(client, b"hello"), b"hello");
        server.at_rest();
        server.stop();
    }
}

/// A server that does not begin: its exit code, and what it said.
#[track_caller]
fn denied(command: &mut Command) -> (Option<i32>, String) {
    let mut running: Running = start_piped(command);
    let status = running.wait();
    assert_eq!(running.all_stdout(), b"");
    (status.code(), String::from_utf8_lossy(&running.all_stderr()).into_owned())
}

fn what_is_handed_over_and_does_not_listen_is_denied() {
    if !has("python3", "python3") {
        return;
    }
    for (words, said) in [
        (["AF_INET", "SOCK_STREAM", "no", "0", "1", "keep"], "descriptor 3 is not a listening socket"),
        (["AF_INET", "SOCK_DGRAM", "no", "0", "1", "keep"], "descriptor 3 is not a listening socket"),
        (["AF_INET", "SOCK_STREAM", "listen", "0", "1", "close"], "descriptor 3 is not open"),
        (["AF_INET", "SOCK_STREAM", "listen", "0", "2", "keep"], "LISTEN_FDS=2"),
        (["AF_UNIX", "SOCK_STREAM", "listen", "0", "1", "keep"], "the socket is not one of TCP"),
    ] {
        let launcher = handing(&words);
        let (code, stderr) = denied(&mut serve_under(&launcher, Reaper::Hint, &[], &["cat"]));
        assert_eq!(code, Some(100), "{words:?}: {stderr}");
        assert!(stderr.starts_with("prise serve: ") && stderr.contains(said), "{words:?}: {stderr}");
    }
    // neither an address nor a socket; and a socket that is on another port than the one asked for
    let mut command = Command::new(env!("CARGO_BIN_EXE_prise"));
    let (code, stderr) = denied(command.args(["serve", "--", "cat"]));
    assert_eq!(code, Some(100), "{stderr}");
    let launcher = handing(&["AF_INET", "SOCK_STREAM", "listen", "0", "1", "keep"]);
    for (asked, said) in [("1", "0.0.0.0:1"), ("127.0.0.2:0", "127.0.0.2:0"), ("[::1]:0", "[::1]:0")] {
        let mut command = Command::new(launcher[0]);
        command.args(&launcher[1..]).args([env!("CARGO_BIN_EXE_prise"), "serve", asked, "--", "cat"]);
        let (code, stderr) = denied(&mut command);
        assert_eq!(code, Some(100), "{stderr}");
        assert!(stderr.contains(&format!("was handed over, and {said} asked for")), "{stderr}");
    }
}

#[track_caller]
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 100];
    let n = socket.recv(&mut buffer).expect("something is told");
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

fn readiness_and_the_end_are_told(reaper: Reaper) {
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
        assert_eq!(told(&socket), "READY=1");
        // what is ready answers
        assert_eq!(server.ask(b"x"), b"none\nx");
        server.wait_children(0);
        let held = server.connect();
        server.wait_children(1);
        server.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(told(&socket), "STOPPING=1");
        drop(held);
        let log = server.ended();
        assert!(!log.contains("failed"), "{log}");
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        socket.recv(&mut [0; 100]).expect_err("nothing more is told");
    }
    // who does not listen is no reason not to serve
    let mut server = Server::run(serve(reaper, &[], &["cat"]).env("NOTIFY_SOCKET", "/nowhere/at/all"));
    server.wait_log("prise: failed pid=[0-9]+ step=notify why=No such file or directory\n");
    assert_eq!(server.ask(b"x"), b"x");
    server.stop();
}

fn the_bound_address_is_printed_in_one_line() {
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
        server.ended();
        assert_eq!(String::from_utf8(server.running.all_stdout()).unwrap(), line);
    }
}

fn a_name_that_resolves_is_an_address() {
    let mut server = Server::run(&mut serve(Reaper::Hint, &["localhost:0"], &["cat"]));
    assert!(server.running.stdout().starts_with("127.0.0.1:"));
    assert_eq!(server.ask(b"hello"), b"hello");
    server.stop();
    let (code, stderr) = denied(&mut serve(Reaper::Hint, &["no-such-host.invalid:0"], &["cat"]));
    assert_eq!(code, Some(100), "{stderr}");
    assert!(stderr.starts_with("prise serve: no-such-host.invalid: "), "{stderr}");
}
