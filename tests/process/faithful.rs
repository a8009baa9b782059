//! `server fork` and `server loop`, which keep the tutorial's mistakes: what they do where `server robust` does better.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use pretty_assertions::assert_eq;

use crate::fixture::{Kind, REPLY, accepted, assert_served, exchange};
use crate::strace::{FORKS, Follow, Strace, can_attach};
use crate::support::{
    Running, children, connect, descriptors, free_port, listens, read_to_end, start_piped, twin, wait_until,
    zombies,
};

both!(
    fork_leaves_no_zombie_when_100_clients_end_together,
    fork_with_no_reap_leaves_exactly_one_zombie_per_client,
    fork_survives_sigchld_during_accept,
    fork_ends_with_1_when_accept_fails,
    fork_ends_with_1_when_fork_fails,
    fork_cannot_restart_while_an_old_connection_exists,
    fork_takes_the_first_piece_for_the_whole_message,
    fork_prints_a_message_byte_for_byte_up_to_a_nul,
    fork_and_loop_leave_sigpipe_and_sigxfsz_at_their_default,
    sigpipe_kills_fork_and_loop,
    loop_never_closes_a_client_socket,
    loop_goes_on_when_accept_fails,
);

/// The text that `server loop` sends to each client.
const GREETING: &[u8; 54] = b"Salut client, je te sens bien en moi mais k thx bye!\n.";

/// One of the tutorial's servers, running.
struct Faithful {
    running: Running,
    port: u16,
}

/// The command that starts one. It sets a backlog of 128: with the listing's 3, many clients at once would have to
/// wait.
fn command(kind: Kind, server: &str, port: u16, more: &[&str]) -> Command {
    let port = port.to_string();
    let mut command = match kind {
        Kind::Rust => {
            let mut prise = Command::new(env!("CARGO_BIN_EXE_prise"));
            prise.args(["server", server, "--port", &port, "--backlog", "128"]);
            prise
        }
        Kind::C => {
            let mut twin = Command::new(twin(&format!("server/{server}")));
            twin.args([&port, "128"]);
            twin
        }
    };
    command.args(more);
    command
}

impl Faithful {
    /// Start one, and wait until it listens. (C's stdout is fully buffered on a pipe: it prints nothing until it ends.)
    #[track_caller]
    fn start(kind: Kind, server: &str, more: &[&str]) -> Faithful {
        let port = free_port();
        let mut running = start_piped(&mut command(kind, server, port, more));
        wait_until("the server listens", || {
            assert!(running.try_wait().is_none(), "it has ended: {}", running.stderr());
            listens(port)
        });
        Faithful { running, port }
    }

    fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Wait until it has this many children, including zombies.
    #[track_caller]
    fn wait_children(&self, expected: usize) {
        wait_until(&format!("{expected} children"), || children(self.pid()).len() == expected);
    }

    /// Wait until it has this many zombies, then assert that it has no other child.
    #[track_caller]
    fn wait_zombies(&self, expected: usize) {
        wait_until(&format!("{expected} zombies"), || zombies(self.pid()).len() == expected);
        assert_eq!(children(self.pid()).len(), expected);
    }

    /// Wait until it ends by itself, and assert its exit status and its stderr.
    #[track_caller]
    fn assert_ends(mut self, code: i32, stderr: &str) {
        assert_eq!(self.running.wait().code(), Some(code));
        assert_eq!(String::from_utf8_lossy(&self.running.all_stderr()), stderr);
    }
}

fn fork_leaves_no_zombie_when_100_clients_end_together(kind: Kind) {
    let server = Faithful::start(kind, "fork", &[]);
    let clients: Vec<TcpStream> = (0..100).map(|_| connect(server.port)).collect();
    server.wait_children(100);
    // while the parent is stopped, the SIGCHLD of its 100 children merge into one pending signal
    server.running.signal(Signal::SIGSTOP);
    drop(clients);
    server.wait_zombies(100);
    server.running.signal(Signal::SIGCONT);
    server.wait_children(0);
    assert_served(server.port);
    server.wait_children(0);
}

fn fork_with_no_reap_leaves_exactly_one_zombie_per_client(kind: Kind) {
    let server = Faithful::start(kind, "fork", &["--no-reap"]);
    for served in 1..=8 {
        assert_served(server.port);
        // serving one more client reaps no earlier zombie
        server.wait_zombies(served);
    }
}

fn fork_survives_sigchld_during_accept(kind: Kind) {
    let mut server = Faithful::start(kind, "fork", &[]);
    for _ in 0..50 {
        assert_served(server.port);
        server.wait_children(0);
    }
    assert_eq!(server.running.try_wait(), None, "{}", server.running.stderr());
}

fn fork_ends_with_1_when_accept_fails(kind: Kind) {
    if !can_attach() {
        return;
    }
    let server = Faithful::start(kind, "fork", &[]);
    // attaching strace restarts the waiting accept(), which then fails
    let _strace = Strace::attach(server.pid(), Follow::Parent, "accept,accept4", "error=EMFILE");
    server.assert_ends(1, "ERROR on accept: Too many open files\n");
}

fn fork_ends_with_1_when_fork_fails(kind: Kind) {
    if !can_attach() {
        return;
    }
    let server = Faithful::start(kind, "fork", &[]);
    let _strace = Strace::attach(server.pid(), Follow::Parent, FORKS, "error=EAGAIN");
    let (reply, _) = read_to_end(&mut connect(server.port));
    assert_eq!(reply, b"");
    server.assert_ends(1, "ERROR on fork: Resource temporarily unavailable\n");
}

fn fork_cannot_restart_while_an_old_connection_exists(kind: Kind) {
    let mut first = Faithful::start(kind, "fork", &[]);
    // the server closes first, so the server's end of this connection stays in TIME_WAIT
    let mut served = connect(first.port);
    served.write_all(b"hello\n").unwrap();
    assert_eq!(read_to_end(&mut served).0, REPLY);
    first.wait_children(0);
    // this one is still open: the kernel limits the number of TIME_WAIT connections, so the first may be gone
    let silent = connect(first.port);
    first.wait_children(1);
    first.running.signal(Signal::SIGTERM);
    first.running.wait();
    let second =
        Faithful { running: start_piped(&mut command(kind, "fork", first.port, &[])), port: first.port };
    second.assert_ends(1, "ERROR on binding: Address already in use\n");
    assert_eq!(exchange(silent, b"hello\n"), REPLY);
}

/// Start a server, send one client's message, wait for the reply, and send the rest. Gives the client and the server's
/// whole stdout.
#[track_caller]
fn printed(kind: Kind, message: &[u8], rest: &[u8]) -> (TcpStream, Vec<u8>) {
    let mut server = Faithful::start(kind, "fork", &[]);
    let mut client = connect(server.port);
    client.write_all(message).unwrap();
    let (reply, end) = read_to_end(&mut client);
    end.expect("the end of file");
    assert_eq!(reply, REPLY);
    // the child may have ended already
    let _ = client.write_all(rest);
    server.wait_children(0);
    server.running.kill_group();
    (client, server.running.all_stdout())
}

/// The log of a server with one client, whose message the log shows as `message`.
fn log(client: &TcpStream, message: &[u8]) -> Vec<u8> {
    let before = "\nbind done\n\nwaiting for incoming connections...\n";
    [before.as_bytes(), accepted(client).as_bytes(), b"Message from client: ", message, b"\n"].concat()
}

fn fork_takes_the_first_piece_for_the_whole_message(kind: Kind) {
    let (client, printed) = printed(kind, b"hel", b"lo\n");
    assert_eq!(String::from_utf8(printed), String::from_utf8(log(&client, b"hel")));
}

fn fork_prints_a_message_byte_for_byte_up_to_a_nul(kind: Kind) {
    let all: Vec<u8> = (1..=255).collect();
    for (message, up_to) in [(all.as_slice(), all.as_slice()), (b"seen\0unseen", b"seen")] {
        let (client, printed) = printed(kind, message, b"");
        assert_eq!(printed, log(&client, up_to));
    }
}

fn fork_and_loop_leave_sigpipe_and_sigxfsz_at_their_default(kind: Kind) {
    for name in ["fork", "loop"] {
        let server = Faithful::start(kind, name, &[]);
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let mask = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect(key);
            u64::from_str_radix(line.trim(), 16).expect("a mask of signals")
        };
        let changed = mask("SigIgn:") | mask("SigCgt:");
        for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
            assert_eq!(changed >> (signal as i32 - 1) & 1, 0, "{name}: {signal} in\n{status}");
        }
    }
}

fn sigpipe_kills_fork_and_loop(kind: Kind) {
    for name in ["fork", "loop"] {
        let mut server = Faithful::start(kind, name, &[]);
        server.running.signal(Signal::SIGPIPE);
        assert_eq!(server.running.wait().signal(), Some(Signal::SIGPIPE as i32), "{name}");
    }
}

/// Connect to `server loop`, and read its greeting.
#[track_caller]
fn greeted(port: u16) -> TcpStream {
    let mut client = connect(port);
    let mut greeting = [0; GREETING.len()];
    client.read_exact(&mut greeting).expect("the greeting");
    assert_eq!(&greeting, GREETING);
    client
}

fn loop_never_closes_a_client_socket(kind: Kind) {
    let mut server = Faithful::start(kind, "loop", &[]);
    let before = descriptors(server.pid());
    let mut clients: Vec<TcpStream> = (0..3).map(|_| greeted(server.port)).collect();
    assert_eq!(descriptors(server.pid()), before + 3);
    let mut last = clients.pop().expect("there are three");
    // the server keeps its descriptor even after the client has closed
    drop(clients);
    drop(greeted(server.port));
    assert_eq!(descriptors(server.pid()), before + 4);
    last.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!(last.read(&mut [0]).expect_err("no end of file").kind(), ErrorKind::WouldBlock);
    last.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
    server.running.kill_group();
    assert_eq!(last.read(&mut [0]).expect("the end of file"), 0);
}

fn loop_goes_on_when_accept_fails(kind: Kind) {
    if !can_attach() {
        return;
    }
    let mut server = Faithful::start(kind, "loop", &[]);
    let fault = "error=EMFILE:when=1..3";
    let mut strace = Strace::attach(server.pid(), Follow::Parent, "accept,accept4", fault);
    wait_until("accept fails three times", || strace.injected() == 3);
    greeted(server.port);
    strace.detach();
    greeted(server.port);
    assert_eq!(server.running.try_wait(), None);
    assert_eq!(server.running.stderr(), "");
}
