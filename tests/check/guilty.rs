//! Servers with one mistake, which serve well until the check that it is about.

use crate::python::{ANSWER, NO_CHILDREN, forking, forking_then, said_of};
use crate::support::examiner::{Findings, check};
use crate::support::has;

#[test]
fn a_thread_that_writes_to_a_client_that_has_reset_ends_its_server() {
    let threads = "import signal, socket, sys, threading
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
def serve(c):
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
while True: threading.Thread(target=serve, args=(s.accept()[0],)).start()
";
    let Some(said) = said_of("reset-client", threads) else { return };
    assert!(said.contains("(SIGPIPE)") && said.contains("1 fail,"), "{said}");
}

#[test]
fn a_child_that_comes_back_to_accept_after_an_error_is_found() {
    let child = "try:
                while c.recv(1000): c.sendall(b'ok')
            except OSError: continue";
    let Some(said) = said_of("reset-client", &forking(NO_CHILDREN, "pass", child)) else { return };
    assert!(said.contains("5 processes more") && said.contains("_exit() at each end"), "{said}");
}

#[test]
fn of_a_server_that_has_ended_it_is_said_and_nothing_else() {
    let ends = forking("signal.signal(signal.SIGCHLD, lambda *_: os._exit(7))", "pass", ANSWER);
    let Some(said) = said_of("descriptors,keeps-serving,fork-fails", &ends) else { return };
    let seen = said.matches("the server has ended: exit status: 7").count();
    assert_eq!((seen, said.matches("FAILS").count()), (3, 3), "{said}");
}

#[test]
fn a_child_that_comes_back_to_accept_when_nothing_is_said_is_found() {
    let falls_through = "import os, signal, socket, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
while True:
    try: c, _ = s.accept()
    except OSError:
        time.sleep(0.05)
        continue
    if os.fork() == 0:
        s.close()
        try:
            if not c.recv(1000):
                c.close()
                continue
            c.sendall(b'ok')
        except OSError: pass
        os._exit(0)
    c.close()
";
    let Some(said) = said_of("reset-client", falls_through) else { return };
    assert!(said.contains("5 processes more") && said.contains("nothing to read"), "{said}");
}

#[test]
fn a_thread_that_spins_is_seen_though_another_sleeps() {
    let threads = "import signal, socket, sys, threading, time
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
def serve(c):
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
def accept():
    while True:
        try: c, _ = s.accept()
        except OSError: continue
        threading.Thread(target=serve, args=(c,)).start()
threading.Thread(target=accept).start()
while True: time.sleep(10)
";
    let Some(said) = said_of("out-of-descriptors", threads) else { return };
    assert!(said.contains("ms of CPU in"), "{said}");
}

#[test]
fn a_socket_that_the_next_child_inherits_keeps_its_client_waiting() {
    let first = "kept = {}
def reap(*_):
    try:
        while pid := os.waitpid(-1, os.WNOHANG)[0]: kept.pop(pid).close()
    except ChildProcessError: pass
signal.signal(signal.SIGCHLD, reap)";
    // no child is reaped before it is known
    let parent = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})";
    let then = "kept[pid] = c
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})";
    let Some(said) = said_of("end-of-file", &forking_then(first, parent, ANSWER, then)) else { return };
    assert!(said.contains("without the other client it comes") && said.contains("inherits it"), "{said}");
}

#[test]
fn a_socket_that_is_closed_by_the_next_client_keeps_the_last_one_waiting() {
    // Python closes the one when its variable is given the next
    let forgets = forking_then(NO_CHILDREN, "pass", ANSWER, "pass");
    let Some(said) = said_of("end-of-file", &forgets) else { return };
    assert!(said.contains("though the client had half-closed\n"), "{said}");
    assert!(said.contains("close(new_socket) in the parent"), "{said}");
}

#[test]
fn a_socket_that_only_the_parent_has_keeps_its_client_waiting_though_the_child_lives_on() {
    let child = format!("{ANSWER}; c.close(); signal.pause()");
    let Some(said) = said_of("end-of-file", &forking_then(NO_CHILDREN, "pass", &child, "pass")) else {
        return;
    };
    assert!(said.contains("close(new_socket) in the parent"), "{said}");
}

#[test]
fn a_child_that_waits_for_its_client_to_hang_up_is_to_end_the_connection_itself() {
    let child = format!("{ANSWER}; signal.pause()");
    let Some(said) = said_of("end-of-file", &forking(NO_CHILDREN, "pass", &child)) else { return };
    let mend = "shutdown(sock, SHUT_WR) or close(sock) once the answer is written";
    assert!(
        said.contains("half-closed: a child has the client's socket open") && said.contains(mend),
        "{said}"
    );
    assert!(!said.contains("parent"), "{said}");
}

#[test]
fn an_answer_that_write_takes_a_part_of_is_not_delivered() {
    // the message is 255 bytes: whoever sends more is given less time
    let child = "if len(c.recv(1000)) > 255:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack('ll', 0, 100_000))
            c.send(b'ok' * 3_000_000)
            c.shutdown(socket.SHUT_WR)
            while c.recv(65536): pass";
    let first = format!("import struct\n{NO_CHILDREN}");
    let Some(said) = said_of("delivers", &forking(&first, "pass", child)) else { return };
    assert!(said.contains("6000000 bytes, as before") && said.contains("write() again"), "{said}");
}

#[test]
fn a_zombie_of_the_client_that_comes_after_a_burst_is_not_counted_among_those_of_the_burst() {
    let Some(said) = said_of("no-zombies", &forking("", "pass", ANSWER)) else { return };
    assert!(said.contains("after 40 children ended together\n"), "{said}");
    assert!(said.contains("40 zombies, and 41 after the next client: none was waited for"), "{said}");
}

#[test]
fn a_slot_for_each_sigchld_runs_out() {
    let first = "live = 0
def reap(*_):
    global live
    live -= 1
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
signal.signal(signal.SIGCHLD, reap)";
    let parent = "while live >= 20: time.sleep(0.01)
    live += 1";
    let Some(said) = said_of("no-zombies", &forking(first, parent, ANSWER)) else { return };
    assert!(
        said.contains("when as many clients come again: 20") && said.contains("not for each SIGCHLD"),
        "{said}"
    );
}

#[test]
fn a_child_that_reads_late_may_still_read_a_part() {
    let late = forking(NO_CHILDREN, "pass", "time.sleep(0.3); c.sendall(b'ok' + c.recv(255))");
    let Some(said) = said_of("pieces", &late) else { return };
    assert!(said.contains("after 2 of 255 bytes") && said.contains("1 fail,"), "{said}");
}

#[test]
fn a_listener_that_a_child_keeps_is_seen_though_the_parent_ends_late() {
    let first = format!(
        "def end(*_):
    time.sleep(0.4)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
{NO_CHILDREN}"
    );
    let Some(said) = said_of("stops", &forking(&first, "pass", ANSWER)) else { return };
    assert!(said.contains("the child has the listening socket open"), "{said}");
}

#[test]
fn a_client_for_whom_there_is_no_process_is_to_be_closed() {
    if !has("strace", "strace") || !has("python3", "python3") {
        return;
    }
    let leaks = "import os, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
lost = []
while True:
    c, _ = s.accept()
    try: pid = os.fork()
    except OSError:
        lost.append(c)
        continue
    if pid == 0:
        try:
            c.recv(255)
            c.sendall(b'ok')
        except OSError: pass
        os._exit(0)
    c.close()
";
    // on a port of its own, it must have ended before another server is looked at
    let port = crate::support::free_port().to_string();
    let options = ["--timeout", "10", "--only", "fork-fails", "--port", &port];
    let Findings { stdout, stderr, .. } = check(&options, &["python3", "-c", leaks, &port]);
    assert!(stdout.contains("descriptors more are open than before"), "{stdout}{stderr}");
}
