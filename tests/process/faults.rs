//! A system call of the server fails, once and three times in a row: the server still gives the next client its whole
//! reply, leaves no zombie, and loses no descriptor.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use crate::fixture::{Kind, REPLY, Server, assert_served, exchange};
use crate::strace::{FORKS, Follow, Strace, can_attach};
use crate::support::{connect, descriptors, read_to_end, wait_until};

both!(
    survives_every_errno_of_accept,
    survives_every_errno_of_fork,
    survives_every_errno_of_read,
    survives_every_errno_of_write,
    survives_every_errno_of_close,
    survives_every_errno_of_wait,
    survives_every_errno_of_poll,
    prints_each_line_once_after_a_failed_write,
);

const TIMES: [usize; 2] = [1, 3];

/// Start a server; gives it with its number of descriptors without a client.
fn start(kind: Kind) -> Option<(Server, usize)> {
    if !can_attach() {
        return None;
    }
    let server = Server::start(kind);
    let before = descriptors(server.pid());
    Some((server, before))
}

fn survives_every_errno_of_accept(kind: Kind) {
    let Some((mut server, before)) = start(kind) else { return };
    let vanished = ["EINTR", "ECONNABORTED", "EPROTO"];
    let exhausted = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EAGAIN", "EPERM"];
    for errno in vanished.iter().chain(&exhausted) {
        for times in TIMES {
            let lines_before = server.running.stderr().lines().count();
            let fault = format!("error={errno}:when=1..{times}");
            let mut strace = Strace::attach(server.pid(), Follow::Children, "accept,accept4", &fault);
            // attaching strace restarts the waiting accept(), which is the first to fail
            wait_until(&format!("accept fails with {errno}"), || strace.injected() == times);
            assert_served(server.port);
            strace.detach();
            server.assert_well(before);
            let expected = if vanished.contains(errno) { 0 } else { times };
            wait_until(&format!("{expected} lines for {errno}"), || {
                server.running.stderr().lines().count() == lines_before + expected
            });
        }
    }
    let (_, stderr) = server.end();
    assert!(stderr.lines().all(|line| line.starts_with("ERROR on accept: ")), "{stderr}");
}

fn survives_every_errno_of_fork(kind: Kind) {
    let Some((server, before)) = start(kind) else { return };
    for errno in ["EAGAIN", "ENOMEM"] {
        for times in TIMES {
            let fault = format!("error={errno}:when=1..{times}");
            let mut strace = Strace::attach(server.pid(), Follow::Parent, FORKS, &fault);
            (0..times).for_each(|_| assert_no_reply(&server));
            assert_served(server.port);
            strace.detach();
            assert_eq!(strace.injected(), times, "{errno}");
            server.assert_well(before);
        }
    }
    let (_, stderr) = server.end();
    assert_eq!(stderr.lines().filter(|line| line.starts_with("ERROR on fork: ")).count(), 8, "{stderr}");
}

fn survives_every_errno_of_read(kind: Kind) {
    let Some((server, before)) = start(kind) else { return };
    retries_after_eintr(&server, before, "read,recvfrom", 1, b"hello\n");
    for errno in ["EIO", "ECONNRESET", "ENOMEM", "EAGAIN"] {
        fails_in_the_child(
            &server,
            before,
            "read,recvfrom",
            &format!("error={errno}:when=1"),
            assert_no_reply,
        );
    }
}

fn survives_every_errno_of_write(kind: Kind) {
    let Some((server, before)) = start(kind) else { return };
    // a child's first write is its log line, the second is the reply
    for errno in ["EIO", "ENOSPC", "EPIPE", "EAGAIN"] {
        let lost_line = format!("error={errno}:when=1");
        let mut strace = Strace::attach(server.pid(), Follow::Children, "write,sendto", &lost_line);
        assert_served(server.port);
        strace.detach();
        assert_eq!(strace.injected(), 2, "one log line of the parent, one of the child: {errno}");
        server.assert_well(before);
        let lost_reply = format!("error={errno}:when=2");
        fails_in_the_child(&server, before, "write,sendto", &lost_reply, assert_no_reply);
    }
    retries_after_eintr(&server, before, "write,sendto", 2, b"hello\n");
}

fn survives_every_errno_of_close(kind: Kind) {
    let Some((server, mut before)) = start(kind) else { return };
    for errno in ["EINTR", "EIO"] {
        for times in TIMES {
            let fault = format!("error={errno}:when=1..{times}");
            let mut strace = Strace::attach(server.pid(), Follow::Children, "close", &fault);
            (0..times).for_each(|_| assert_served(server.port));
            // the client may have its reply before the parent calls close()
            wait_until(&format!("close fails with {errno}"), || strace.injected_in_parent() == times);
            strace.detach();
            // strace does not make the call that it lets fail, so the parent's descriptor stays open
            before += times;
            server.assert_well(before);
        }
    }
}

fn survives_every_errno_of_wait(kind: Kind) {
    let Some((server, before)) = start(kind) else { return };
    for errno in ["EINTR", "ECHILD"] {
        for times in TIMES {
            let fault = format!("error={errno}:when=1..{times}");
            let mut strace = Strace::attach(server.pid(), Follow::Parent, "wait4,waitid", &fault);
            for n in 1..=times {
                assert_served(server.port);
                wait_until(&format!("{errno} is injected"), || strace.injected() == n);
            }
            strace.detach();
            server.assert_well(before);
        }
    }
}

fn survives_every_errno_of_poll(kind: Kind) {
    let Some((server, before)) = start(kind) else { return };
    let one_piece = |server: &Server| assert_served(server.port);
    for errno in ["ENOMEM", "EINVAL", "EFAULT"] {
        fails_in_the_child(&server, before, "?poll,?ppoll", &format!("error={errno}:when=1"), one_piece);
    }
    retries_after_eintr(&server, before, "?poll,?ppoll", 1, b"hel");
}

fn prints_each_line_once_after_a_failed_write(kind: Kind) {
    let Some((server, before)) = start(kind) else { return };
    let mut strace = Strace::attach(server.pid(), Follow::Parent, "write", "error=ENOSPC:when=1");
    assert_served(server.port);
    strace.detach();
    server.assert_well(before);
    assert_served(server.port);
    let (stdout, _) = server.end();
    let mut connections: Vec<&str> =
        stdout.lines().filter(|line| line.starts_with("Connection from")).collect();
    connections.sort();
    connections.dedup();
    let lines = stdout.lines().filter(|line| line.starts_with("Connection from")).count();
    assert_eq!(connections.len(), lines, "{stdout}");
}

/// Inject a fault into each child, for one client and for three. `client` talks to the server and checks what it gets;
/// afterwards the next client gets its whole reply.
#[track_caller]
fn fails_in_the_child(server: &Server, before: usize, calls: &str, fault: &str, client: fn(&Server)) {
    for times in TIMES {
        let mut strace = Strace::attach(server.pid(), Follow::Children, calls, fault);
        (0..times).for_each(|_| client(server));
        wait_until(&format!("{calls} {fault}"), || strace.injected_in_children() == times);
        strace.detach();
        server.assert_well(before);
    }
}

/// Inject EINTR at the child's nth call, once and three times in a row: the child retries the call, and its client gets
/// the whole reply.
#[track_caller]
fn retries_after_eintr(server: &Server, before: usize, calls: &str, nth: usize, piece: &[u8]) {
    for times in TIMES {
        let fault = format!("error=EINTR:when={nth}..{}", nth + times - 1);
        let mut strace = Strace::attach(server.pid(), Follow::Children, calls, &fault);
        let mut client = connect(server.port);
        client.write_all(piece).expect("the server takes the message");
        sleep(PAUSE);
        assert_eq!(exchange(client, b"lo\n"), REPLY);
        wait_until(&format!("{calls} {fault}"), || strace.injected_in_children() == times);
        strace.detach();
        server.assert_well(before);
    }
}

/// The pause between the pieces of a message, so that the child waits for the second piece.
const PAUSE: Duration = Duration::from_millis(50);

/// Assert that one client's connection ends without a reply.
#[track_caller]
fn assert_no_reply(server: &Server) {
    let mut client = connect(server.port);
    client.write_all(b"hello\n").expect("the server's kernel takes the message");
    let (reply, end) = read_to_end(&mut client);
    assert!(reply.is_empty(), "{reply:?}");
    // the end is an end of file or a reset, not a timeout
    if let Err(error) = end {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
}
