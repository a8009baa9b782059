//! Zombies, descriptors, signals, restart.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::fixture::{Kind, REPLY, Server, assert_all_served, assert_served, exchange};
use crate::support::{
    assert_takes_less, children, connect, descriptors, free_port, has, read_to_end, start_piped, wait_until,
    zombies,
};

both!(
    leaves_no_zombie_when_100_clients_end_together,
    leaves_no_zombie_if_sigchld_was_ignored_or_blocked_at_start,
    keeps_its_descriptor_count_over_1000_clients,
    sends_the_end_of_file_right_after_the_reply,
    serves_others_while_a_client_is_silent,
    can_restart_at_once_on_the_same_port,
    sigterm_sigint_and_sighup_kill_it,
    survives_sigpipe_and_sigstop,
);

/// A launcher that ignores SIGCHLD, then execs its arguments.
const IGNORED: [&str; 4] = ["perl", "-e", "$SIG{CHLD} = 'IGNORE'; exec @ARGV", "--"];
/// A launcher that blocks SIGCHLD, then execs its arguments.
const BLOCKED: [&str; 4] =
    ["perl", "-e", "use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGCHLD)); exec @ARGV", "--"];

fn hold(port: u16, clients: usize) -> Vec<TcpStream> {
    (0..clients).map(|_| connect(port)).collect()
}

fn leaves_no_zombie_when_100_clients_end_together(kind: Kind) {
    let server = Server::start_with(kind, &["--backlog", "128"]);
    let clients = hold(server.port, 100);
    server.wait_children(100);
    // while the parent is stopped, the SIGCHLD of its 100 children merge into one pending signal
    server.running.signal(Signal::SIGSTOP);
    drop(clients);
    wait_until("100 zombies", || zombies(server.pid()).len() == 100);
    server.running.signal(Signal::SIGCONT);
    server.wait_children(0);
    assert_served(server.port);
}

fn leaves_no_zombie_if_sigchld_was_ignored_or_blocked_at_start(kind: Kind) {
    if !has("perl", "perl-base") {
        return;
    }
    for launcher in [IGNORED, BLOCKED] {
        let server = Server::run(&mut kind.through(&launcher, &["--port", "0"]));
        assert_all_served(server.port, 20);
        server.wait_children(0);
    }
}

fn keeps_its_descriptor_count_over_1000_clients(kind: Kind) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let server = Server::start_with(kind, &["--backlog", "128"]);
    let before = descriptors(server.pid());
    assert_all_served(server.port, 1000);
    server.assert_well(before);
}

fn sends_the_end_of_file_right_after_the_reply(kind: Kind) {
    let server = Server::start(kind);
    // the child waits 2 seconds for the client to close: the end of file must come before that time is over
    assert_takes_less(Duration::from_millis(1900), || {
        let mut client = connect(server.port);
        // the client does not half-close: only the server can end the connection
        client.write_all(b"hello\n").unwrap();
        let begin = Instant::now();
        let (reply, end) = read_to_end(&mut client);
        assert_eq!(reply, REPLY);
        end.expect("the end of file, not a reset");
        begin.elapsed()
    });
}

fn serves_others_while_a_client_is_silent(kind: Kind) {
    let server = Server::start(kind);
    let silent = connect(server.port);
    server.wait_children(1);
    assert_all_served(server.port, 10);
    assert_eq!(exchange(silent, b"hello at last\n"), REPLY);
    server.wait_children(0);
}

fn can_restart_at_once_on_the_same_port(kind: Kind) {
    let port = free_port();
    let mut servers = Vec::new();
    let mut silent = Vec::new();
    for _ in 0..3 {
        let mut server = start_piped(&mut kind.command(&["--port", &port.to_string()]));
        server.wait_stdout("waiting for incoming connections...\n");
        // the server closes first, so the server's end of this connection stays in TIME_WAIT
        let mut client = connect(port);
        client.write_all(b"hello\n").unwrap();
        assert_eq!(read_to_end(&mut client).0, REPLY);
        drop(client);
        wait_until("no child", || children(server.pid()).is_empty());
        // this one is still open: the kernel limits the number of TIME_WAIT connections, so the first may be gone
        silent.push(connect(port));
        wait_until("a child for the silent client", || children(server.pid()).len() == 1);
        server.signal(Signal::SIGTERM);
        server.wait();
        servers.push(server);
    }
    // the children of the killed servers still serve their clients
    for client in silent {
        assert_eq!(exchange(client, b"hello\n"), REPLY);
    }
}

fn sigterm_sigint_and_sighup_kill_it(kind: Kind) {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut server = Server::start(kind);
        assert_served(server.port);
        server.running.signal(signal);
        assert_eq!(server.running.wait().signal(), Some(signal as i32));
    }
}

fn survives_sigpipe_and_sigstop(kind: Kind) {
    let server = Server::start(kind);
    server.running.signal(Signal::SIGPIPE);
    server.running.signal(Signal::SIGSTOP);
    // the kernel completes the connection; the server accepts it after SIGCONT
    let client = connect(server.port);
    server.running.signal(Signal::SIGCONT);
    assert_eq!(exchange(client, b"hello\n"), REPLY);
    server.wait_children(0);
}
