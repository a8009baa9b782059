//! Servers with one mistake each: the check for this mistake fails, with the right explanation.

use crate::python::{ANSWER, IGNORE_SIGCHLD, forking_server, forking_server_then, report_on};
use crate::support::examiner::{Findings, check};
use crate::support::has;

#[test]
fn a_threaded_server_killed_by_sigpipe_fails_reset_client() {
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
    let Some(report) = report_on("reset-client", threads) else { return };
    assert!(report.contains("(SIGPIPE)") && report.contains("1 fail,"), "{report}");
}

#[test]
fn a_child_that_returns_to_accept_after_a_reset_fails_reset_client() {
    let child = "try:
                while c.recv(1000): c.sendall(b'ok')
            except OSError: continue";
    let Some(report) = report_on("reset-client", &forking_server(IGNORE_SIGCHLD, "pass", child)) else {
        return;
    };
    assert!(report.contains("5 more processes") && report.contains("_exit() on every path"), "{report}");
}

#[test]
fn checks_on_a_server_that_has_ended_report_only_that() {
    let ends = forking_server("signal.signal(signal.SIGCHLD, lambda *_: os._exit(7))", "pass", ANSWER);
    let Some(report) = report_on("descriptors,keeps-serving,fork-fails", &ends) else { return };
    let seen = report.matches("the server has ended: exit status: 7").count();
    assert_eq!((seen, report.matches("FAILS").count()), (3, 3), "{report}");
}

#[test]
fn a_child_that_returns_to_accept_after_an_empty_message_fails_reset_client() {
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
    let Some(report) = report_on("reset-client", falls_through) else { return };
    assert!(report.contains("5 more processes") && report.contains("nothing is read"), "{report}");
}

#[test]
fn a_spinning_thread_is_found_although_the_main_thread_sleeps() {
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
    let Some(report) = report_on("out-of-descriptors", threads) else { return };
    assert!(report.contains("ms of CPU in"), "{report}");
}

#[test]
fn a_client_socket_that_the_next_child_inherits_fails_end_of_file() {
    let first = "kept = {}
def reap(*_):
    try:
        while pid := os.waitpid(-1, os.WNOHANG)[0]: kept.pop(pid).close()
    except ChildProcessError: pass
signal.signal(signal.SIGCHLD, reap)";
    // reap no child before its pid is in `kept`
    let parent = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})";
    let then = "kept[pid] = c
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})";
    let Some(report) = report_on("end-of-file", &forking_server_then(first, parent, ANSWER, then)) else {
        return;
    };
    assert!(
        report.contains("without the other client, end of file comes") && report.contains("inherits it"),
        "{report}"
    );
}

#[test]
fn a_client_socket_that_the_parent_closes_at_the_next_accept_fails_end_of_file() {
    // Python closes a socket when its variable gets the next one
    let forgets = forking_server_then(IGNORE_SIGCHLD, "pass", ANSWER, "pass");
    let Some(report) = report_on("end-of-file", &forgets) else { return };
    assert!(report.contains("though the client had half-closed\n"), "{report}");
    assert!(report.contains("close(new_socket) in the parent"), "{report}");
}

#[test]
fn a_client_socket_that_only_the_parent_keeps_open_fails_end_of_file() {
    let child = format!("{ANSWER}; c.close(); signal.pause()");
    let Some(report) = report_on("end-of-file", &forking_server_then(IGNORE_SIGCHLD, "pass", &child, "pass"))
    else {
        return;
    };
    assert!(report.contains("close(new_socket) in the parent"), "{report}");
}

#[test]
fn a_child_that_never_ends_its_connection_fails_end_of_file() {
    let child = format!("{ANSWER}; signal.pause()");
    let Some(report) = report_on("end-of-file", &forking_server(IGNORE_SIGCHLD, "pass", &child)) else {
        return;
    };
    let mend = "shutdown(sock, SHUT_WR) or close(sock) once the answer is written";
    assert!(
        report.contains("half-closed: a child has the client's socket open") && report.contains(mend),
        "{report}"
    );
    assert!(!report.contains("parent"), "{report}");
}

#[test]
fn an_answer_after_a_partial_write_fails_delivers() {
    // ordinary messages have 255 bytes; for a longer one, the server's send() times out early
    let child = "if len(c.recv(1000)) > 255:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack('ll', 0, 100_000))
            c.send(b'ok' * 3_000_000)
            c.shutdown(socket.SHUT_WR)
            while c.recv(65536): pass";
    let first = format!("import struct\n{IGNORE_SIGCHLD}");
    let Some(report) = report_on("delivers", &forking_server(&first, "pass", child)) else { return };
    assert!(report.contains("6000000 bytes, as before") && report.contains("write() again"), "{report}");
}

#[test]
fn the_zombie_of_the_client_after_a_burst_is_counted_separately() {
    let Some(report) = report_on("no-zombies", &forking_server("", "pass", ANSWER)) else { return };
    assert!(report.contains("after 40 children ended together\n"), "{report}");
    assert!(report.contains("40 zombies, and 41 after the next client: none was waited for"), "{report}");
}

#[test]
fn a_server_that_frees_one_slot_per_sigchld_fails_no_zombies() {
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
    let Some(report) = report_on("no-zombies", &forking_server(first, parent, ANSWER)) else { return };
    assert!(
        report.contains("20 children as before, when") && report.contains("not for each SIGCHLD"),
        "{report}"
    );
}

#[test]
fn a_child_that_reads_once_fails_pieces_even_if_it_reads_late() {
    let late = forking_server(IGNORE_SIGCHLD, "pass", "time.sleep(0.3); c.sendall(b'ok' + c.recv(255))");
    let Some(report) = report_on("pieces", &late) else { return };
    assert!(report.contains("after 2 of 255 bytes") && report.contains("1 fail,"), "{report}");
}

#[test]
fn a_child_that_keeps_the_listener_fails_stops_even_if_the_parent_ends_late() {
    let first = format!(
        "def end(*_):
    time.sleep(0.4)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
{IGNORE_SIGCHLD}"
    );
    let Some(report) = report_on("stops", &forking_server(&first, "pass", ANSWER)) else { return };
    assert!(report.contains("the child has the listening socket open"), "{report}");
}

#[test]
fn a_server_that_keeps_the_client_open_when_fork_fails_leaks_descriptors() {
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
    // with a fixed port, each examined server must end before the next one starts
    let port = crate::support::free_port().to_string();
    let options = ["--timeout", "10", "--only", "fork-fails", "--port", &port];
    let Findings { stdout, stderr, .. } = check(&options, &["python3", "-c", leaks, &port]);
    assert!(stdout.contains("more descriptors are open than before"), "{stdout}{stderr}");
}
