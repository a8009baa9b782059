//! Servers whose log is right, although the examiner could take its lines for repeated ones.

use crate::python::{ANSWER, IGNORE_SIGCHLD, assert_holds, findings_on, forking_server, report_on};

#[test]
fn a_server_may_log_how_many_clients_it_has() {
    // its children take longer to end when stdout is a terminal, so that the counts differ there
    let counting = "import os, signal, socket, sys, time
children = 0
def reap(*_):
    global children
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: children -= 1
    except ChildProcessError: pass
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
signal.signal(signal.SIGCHLD, reap)
while True:
    c, _ = s.accept()
    children += 1
    print('clients:', children, flush=True)
    if os.fork() == 0:
        try:
            c.recv(255)
            c.sendall(b'ok')
        except OSError: pass
        if sys.stdout.isatty(): time.sleep(0.2)
        os._exit(0)
    c.close()
";
    assert_holds(findings_on("log-once", &[], &["python3", "-c", counting, "{port}"]));
}

#[test]
fn a_log_with_a_timestamp_in_each_line_holds_log_once() {
    // SIGCHLD is ignored: the kernel reaps its children
    let stamped =
        forking_server(IGNORE_SIGCHLD, "print(time.time_ns(), 'a client has come', flush=True)", ANSWER);
    assert_holds(findings_on("log-once,no-zombies", &[], &["python3", "-c", &stamped, "{port}"]));
}

#[test]
fn a_log_with_periodic_lines_holds_log_once() {
    // the server is slower on a pipe, so that it prints more periodic lines there than on a terminal
    let beats = "import select, socket, sys, time
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
slow = 0 if sys.stdout.isatty() else 0.3
while True:
    print('alive', flush=True)
    if not select.select([s], [], [], 0.05)[0]: continue
    c, _ = s.accept()
    for _ in range(6):
        time.sleep(slow / 6)
        print('alive', flush=True)
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    assert_holds(findings_on("log-once", &[], &["python3", "-c", beats, "{port}"]));
}

#[test]
fn a_server_without_answer_and_log_makes_two_checks_unobservable() {
    let silent = "import socket, sys
s = socket.create_server(('', int(sys.argv[1])))
while True:
    c, _ = s.accept()
    try:
        while c.recv(255): pass
    except OSError: pass
    c.close()
";
    let only = "own-memory,log-once";
    let Some(findings) = findings_on(only, &[], &["python3", "-c", silent, "{port}"]) else { return };
    assert_eq!(findings.unseen().len(), 2, "{}", findings.stdout);
}

#[test]
fn a_log_that_differs_on_a_terminal_holds_log_once() {
    let first =
        format!("say = '\\x1b[32m%s\\x1b[0m' if sys.stdout.isatty() else 'info: %s'\n{IGNORE_SIGCHLD}");
    let terminal_dependent = forking_server(&first, "print(say % 'a client has come', flush=True)", ANSWER);
    assert_holds(findings_on("log-once", &[], &["python3", "-c", &terminal_dependent, "{port}"]));
}

#[test]
fn colours_do_not_hide_repeated_lines() {
    // each child inherits its parent's unwritten buffer, and writes it when it ends
    let first = format!(
        "say = '\\x1b[1;32m%s\\x1b[0m' if sys.stdout.isatty() else '%s'\nout = open(1, 'w')\n{IGNORE_SIGCHLD}"
    );
    let child = format!("{ANSWER}; out.flush()");
    let coloured = forking_server(&first, "print(say % 'a client has come', file=out)", &child);
    let Some(report) = report_on("log-once", &coloured) else { return };
    assert!(report.contains("\"a client has come\" 6 times for 3 clients, 3 on a terminal"), "{report}");
}
