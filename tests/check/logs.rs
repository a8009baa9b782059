//! Logs that are right, and look as if they were repeated.

use crate::python::{ANSWER, NO_CHILDREN, assert_holds, forking, found_of, said_of};

#[test]
fn a_server_may_log_how_many_clients_it_has() {
    // children that take longer to end on a terminal than on a pipe
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
    assert_holds(found_of("log-once", &[], &["python3", "-c", counting, "{port}"]));
}

#[test]
fn a_log_with_the_time_in_each_line_is_not_blamed_for_it() {
    // nobody waits for its children, nor need anybody
    let stamped = forking(NO_CHILDREN, "print(time.time_ns(), 'a client has come', flush=True)", ANSWER);
    assert_holds(found_of("log-once,no-zombies", &[], &["python3", "-c", &stamped, "{port}"]));
}

#[test]
fn a_log_that_a_clock_fills_is_not_blamed_for_it() {
    // three times as slow on a pipe, so that there the clock says more
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
    assert_holds(found_of("log-once", &[], &["python3", "-c", beats, "{port}"]));
}

#[test]
fn nothing_is_said_of_an_answer_or_a_log_that_there_is_not() {
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
    let Some(findings) = found_of(only, &[], &["python3", "-c", silent, "{port}"]) else { return };
    assert_eq!(findings.unseen().len(), 2, "{}", findings.stdout);
}

#[test]
fn a_log_that_reads_otherwise_on_a_terminal_is_not_blamed_for_it() {
    let first = format!("say = '\\x1b[32m%s\\x1b[0m' if sys.stdout.isatty() else 'info: %s'\n{NO_CHILDREN}");
    let dressed = forking(&first, "print(say % 'a client has come', flush=True)", ANSWER);
    assert_holds(found_of("log-once", &[], &["python3", "-c", &dressed, "{port}"]));
}

#[test]
fn colours_hide_no_line_that_is_repeated() {
    // each child has what its parent has not yet written, and writes it as it ends
    let first = format!(
        "say = '\\x1b[1;32m%s\\x1b[0m' if sys.stdout.isatty() else '%s'\nout = open(1, 'w')\n{NO_CHILDREN}"
    );
    let child = format!("{ANSWER}; out.flush()");
    let coloured = forking(&first, "print(say % 'a client has come', file=out)", &child);
    let Some(said) = said_of("log-once", &coloured) else { return };
    assert!(said.contains("\"a client has come\" 6 times for 3 clients, 3 on a terminal"), "{said}");
}
