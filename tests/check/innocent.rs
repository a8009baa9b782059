//! Servers that are right although they look wrong at first: the examiner must not blame them.

use std::process::Command;

use crate::python::{ANSWER, IGNORE_SIGCHLD, assert_findings, assert_holds, findings_on, forking_server};
use crate::support::examiner::check;
use crate::{PRISE, assert_nothing_left};

#[test]
fn orphans_left_by_children_are_no_zombies_of_the_server() {
    // each child starts a grandchild, which ends together with the child
    let relay = "import os, signal, socket, sys
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
signal.signal(signal.SIGCHLD, reap)
while True:
    c, _ = s.accept()
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        orphaned, alive = os.pipe()
        if os.fork() == 0:
            os.close(alive)
            c.close()
            os.read(orphaned, 1)
            os._exit(0)
        try:
            c.recv(255)
            c.sendall(b'ok')
            while c.recv(255): pass
        except OSError: pass
        os._exit(0)
    c.close()
";
    assert_holds(findings_on("no-zombies", &[], &["python3", "-c", relay, "{port}"]));
}

#[test]
fn a_server_may_close_its_listener_for_a_moment_when_descriptors_run_out() {
    let careful = "import select, socket, sys, time
def listening(): return socket.create_server(('', int(sys.argv[1])), backlog=100)
s = listening()
while True:
    try:
        select.select([s], [], [])
        c, _ = s.accept()
    except OSError:
        s.close()
        time.sleep(float(sys.argv[2]))
        s = listening()
        continue
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    let found = |away| findings_on("out-of-descriptors", &[], &["python3", "-c", careful, "{port}", away]);
    assert_holds(found("1.5"));
    // but not for longer than --timeout
    assert_findings(found("30"), 1, &[]);
}

#[test]
fn a_descriptor_limit_that_breaks_poll_makes_the_check_unobservable() {
    let bare = "import os, select, socket, sys, time
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
rest, wake = os.pipe()
for fd in range(3): os.close(fd)
waits = select.poll()
waits.register(s)
waits.register(rest)
while True:
    waits.poll()
    try: c, _ = s.accept()
    except OSError:
        time.sleep(0.1)
        continue
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    let only = "out-of-descriptors";
    assert_findings(findings_on(only, &[], &["python3", "-c", bare, "{port}"]), 0, &[only]);
}

#[test]
fn a_server_that_a_script_restarts_is_stopped_with_that_script() {
    let again = format!(
        "trap 'kill $!; exit' TERM; while :; do '{PRISE}' server robust --port $0 --backlog 67 & wait $!; done"
    );
    let findings = check(&["--format", "tap", "--only", "stops"], &["sh", "-c", &again, "{port}"]);
    assert_eq!(findings.code, Some(0), "{}{}", findings.stdout, findings.stderr);
    assert_nothing_left("--backlog 67");
}

#[test]
fn a_server_may_also_use_the_udp_port() {
    let both = "import os, socket, sys
port = int(sys.argv[1])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(('', port))
s = socket.create_server(('', port), backlog=100)
while True:
    c, _ = s.accept()
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    assert_holds(findings_on("answers", &[], &["python3", "-c", both, "{port}"]));
}

#[test]
fn a_wrong_expectation_fails_only_the_check_answers() {
    let findings = check(
        &["--format", "tap", "--expect", "nope", "--only", "answers,concurrent,idle-clients,port-taken"],
        &[PRISE, "server", "robust", "--port", "{port}"],
    );
    assert_eq!(findings.failed(), ["answers"], "{}", findings.stdout);
    assert_eq!(findings.unseen(), ["concurrent", "idle-clients"], "{}", findings.stdout);
    assert!(findings.stdout.contains("an answer beginning \\\"nope\\\" (--expect)"), "{}", findings.stdout);
    // the same if `answers` is not among the checks
    let findings = check(
        &["--format", "tap", "--expect", "nope", "--only", "concurrent"],
        &[PRISE, "server", "robust", "--port", "{port}"],
    );
    assert_eq!(findings.unseen(), ["concurrent"], "{}", findings.stdout);
}

#[test]
fn an_inherited_ignored_sigchld_changes_no_verdict() {
    if !crate::support::has("perl", "perl-base") {
        return;
    }
    let mut command = Command::new("perl");
    command.args(["-e", "$SIG{CHLD} = 'IGNORE'; exec @ARGV or die", PRISE, "check", "--format", "tap"]);
    command.args(["--only", "no-zombies,stops", "--", "sh", "-c", "exec \"$0\" \"$@\""]);
    command.args([PRISE, "server", "fork", "--no-reap", "--port", "{port}"]);
    let output = command.output().expect("perl runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(found.contains("not ok 1 - no-zombies") && found.contains("\nok 2 - stops"), "{found}");
}

#[test]
fn workers_that_share_the_port_are_stopped_with_their_master() {
    // each worker has its own listener (SO_REUSEPORT), the master has none
    let workers = "import os, signal, socket, sys
def work():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    s = socket.create_server(('', int(sys.argv[1])), backlog=100, reuse_port=True)
    while True:
        c, _ = s.accept()
        try:
            c.recv(255)
            c.sendall(b'ok')
        except OSError: pass
        c.close()
children = []
def stop(*_):
    for child in children: os.kill(child, signal.SIGTERM)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
for _ in range(3):
    child = os.fork()
    if child == 0: work()
    children.append(child)
while True: signal.pause()
";
    assert_holds(findings_on("stops", &[], &["python3", "-c", workers, "{port}"]));
    // the same, started by a script
    let script = "python3 -c \"$0\" \"$@\" & trap 'kill $!; wait $!' TERM; wait $!";
    assert_holds(findings_on("stops", &[], &["sh", "-c", script, workers, "{port}"]));
}

#[test]
fn a_server_that_always_spins_is_not_blamed_for_spinning_without_descriptors() {
    let busy = "import socket, sys, time
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
s.setblocking(False)
while True:
    try: c, _ = s.accept()
    except OSError: continue
    try:
        c.setblocking(True)
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    let only = "out-of-descriptors";
    assert_findings(findings_on(only, &[], &["python3", "-c", busy, "{port}"]), 0, &[only]);
}

#[test]
fn a_server_that_keeps_a_spare_descriptor_does_not_spin() {
    if !crate::support::has("strace", "strace") {
        return;
    }
    let reserve = "import errno, os, select, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
s.setblocking(False)
spare = os.open('/dev/null', os.O_RDONLY)
while True:
    select.select([s], [], [])
    try: c, _ = s.accept()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            # accept the client with the spare descriptor, and close it
            os.close(spare)
            try: s.accept()[0].close()
            except OSError: pass
            spare = os.open('/dev/null', os.O_RDONLY)
        continue
    if os.fork() == 0:
        try:
            c.setblocking(True)
            c.recv(255)
            c.sendall(b'ok')
        except OSError: pass
        os._exit(0)
    c.close()
";
    let only = "out-of-descriptors,parent:accept=EMFILE,parent:accept=ENFILE";
    let unseen = ["parent:accept=EMFILE", "parent:accept=ENFILE"];
    assert_findings(findings_on(only, &[], &["python3", "-c", reserve, "{port}"]), 0, &unseen);
}

#[test]
fn an_echo_in_pieces_counts_as_one_answer() {
    let uppercase_echo =
        forking_server(IGNORE_SIGCHLD, "pass", "while piece := c.recv(1000): c.sendall(piece.upper())");
    let text = ["--send", "hello\\n", "--expect", "HEL"];
    assert_holds(findings_on("answers,pieces", &text, &["python3", "-c", &uppercase_echo, "{port}"]));
}

#[test]
fn an_answer_to_each_piece_fails_pieces() {
    let each = forking_server(IGNORE_SIGCHLD, "pass", "while c.recv(1000): c.sendall(b'ok')");
    let Some(findings) = findings_on("answers,pieces", &[], &["python3", "-c", &each, "{port}"]) else {
        return;
    };
    assert_eq!(findings.failed(), ["pieces"], "{}{}", findings.stdout, findings.stderr);
}

#[test]
fn a_shell_with_job_control_does_not_notice_a_stopped_server() {
    let script = "set -m; \"$0\" server robust --port \"$1\" & fg >/dev/null";
    let only = "interrupted-calls,half-close,vanished-client,no-zombies";
    let findings = check(&["--format", "tap", "--only", only], &["bash", "-c", script, PRISE, "{port}"]);
    assert_holds(Some(findings));
}

#[test]
fn a_server_on_another_address_counts_as_not_listening() {
    let elsewhere = "import socket, sys
s = socket.create_server(('127.0.0.2', int(sys.argv[1])))
while True: s.accept()
";
    if !crate::support::has("python3", "python3") {
        return;
    }
    let findings = check(&["--only", "answers", "--timeout", "1"], &["python3", "-c", elsewhere, "{port}"]);
    assert_eq!(findings.code, Some(3), "{}{}", findings.stdout, findings.stderr);
    assert!(findings.stderr.contains(" of 127.0.0.1 or ::1 "), "{}", findings.stderr);
}

#[test]
fn stops_is_not_observable_if_the_listening_process_cannot_be_found() {
    if !crate::support::am_root() {
        return crate::support::skipped("only root can run the examiner as another user");
    }
    // PR_SET_DUMPABLE, 0: the process belongs to the user, its /proc/PID/fd to root
    let not_dumpable = "import ctypes, signal, socket, sys
ctypes.CDLL(None).prctl(4, 0)
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
while True:
    c, _ = s.accept()
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    if !crate::support::has("python3", "python3") || !crate::support::has("setpriv", "util-linux") {
        return;
    }
    let as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let script = "python3 -c \"$0\" \"$@\"; exit $?";
    let output = Command::new("setpriv")
        .args(as_nobody)
        .args([
            PRISE,
            "check",
            "--format",
            "tap",
            "--only",
            "stops",
            "--",
            "sh",
            "-c",
            script,
            not_dumpable,
            "{port}",
        ])
        .current_dir("/")
        .output()
        .expect("setpriv runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains(" # SKIP "), "{stdout}");
}

#[test]
fn a_descriptor_pool_that_stops_growing_is_no_leak() {
    let grows = "if len(pool) < 40: pool.append(os.open('/dev/null', os.O_RDONLY))";
    let pool = forking_server(&format!("{IGNORE_SIGCHLD}; pool = []"), grows, ANSWER);
    assert_holds(findings_on("descriptors", &[], &["python3", "-c", &pool, "{port}"]));
}

#[test]
fn a_process_name_may_be_invalid_utf_8() {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let folder = folder.path().to_str().expect("a temporary folder has a plain name");
    let script =
        "ln -sf \"$0\" \"$2\"/$'\\xe9t\\xe9' && exec \"$2\"/$'\\xe9t\\xe9' server robust --port \"$1\"";
    let findings = check(
        &["--format", "tap", "--only", "no-zombies,descriptors,stops"],
        &["bash", "-c", script, PRISE, "{port}", folder],
    );
    assert_holds(Some(findings));
}

#[test]
fn descriptors_closed_by_a_timer_are_no_leak() {
    if !crate::support::has("strace", "strace") {
        return;
    }
    // one descriptor per child, closed within a second of the child's end
    let sweeping = "import os, select, signal, socket, sys
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
kept = {}
while True:
    ready = select.select([s], [], [], 1)[0]
    if not ready:
        try:
            while pid := os.waitpid(-1, os.WNOHANG)[0]: os.close(kept.pop(pid))
        except ChildProcessError: pass
        continue
    try: c, _ = s.accept()
    except OSError: continue
    alive = os.open('/dev/null', os.O_RDONLY)
    pid = os.fork()
    if pid == 0:
        try:
            c.recv(255)
            c.sendall(b'ok')
        except OSError: pass
        os._exit(0)
    kept[pid] = alive
    c.close()
";
    assert_holds(findings_on("parent:accept=EPERM", &[], &["python3", "-c", sweeping, "{port}"]));
}

#[test]
fn an_idle_preforked_child_is_not_taken_for_the_serving_child() {
    if !crate::support::has("strace", "strace") {
        return;
    }
    let reserve = "import os, socket, sys
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
free, used = os.pipe()
def begin():
    if os.fork() == 0:
        c, _ = s.accept()
        os.write(used, b'x')
        try:
            c.recv(255)
            c.sendall(b'ok')
        except OSError: pass
        os._exit(0)
for _ in range(3): begin()
while True:
    os.read(free, 1)
    begin()
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
";
    assert_holds(findings_on("child:read=EINTR", &[], &["python3", "-c", reserve, "{port}"]));
}

#[test]
fn a_check_with_too_many_slow_clients_ends_as_unobservable() {
    let slow = forking_server(IGNORE_SIGCHLD, "time.sleep(0.25)", ANSWER);
    let begin = std::time::Instant::now();
    let only = "keeps-serving";
    assert_findings(findings_on(only, &[], &["python3", "-c", &slow, "{port}"]), 0, &[only]);
    // --timeout is ten seconds; a check as a whole may take twelve times that
    assert!(begin.elapsed() < std::time::Duration::from_secs(100), "{:?}", begin.elapsed());
}

#[test]
fn a_shorter_answer_is_no_partial_write() {
    // it greets each client, and answers only messages of up to 255 bytes
    let curt = "c.sendall(b'ready\\n')
            if len(c.recv(1000)) <= 255: c.sendall(b'ok')
            c.shutdown(socket.SHUT_WR)
            while c.recv(65536): pass";
    let source = forking_server(IGNORE_SIGCHLD, "pass", curt);
    let found = findings_on("delivers", &["--expect", "ready"], &["python3", "-c", &source, "{port}"]);
    assert_holds(found);
}

#[test]
fn a_slow_child_is_not_taken_for_one_that_returned_to_accept() {
    let late = forking_server(IGNORE_SIGCHLD, "pass", "time.sleep(2.5); c.recv(255); c.sendall(b'ok')");
    assert_holds(findings_on("reset-client", &[], &["python3", "-c", &late, "{port}"]));
}

#[test]
fn a_server_for_one_client_only_can_hold_end_of_file() {
    let one = "import socket, sys
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
c, _ = s.accept()
s.close()
c.recv(255)
c.sendall(b'ok')
";
    let Some(findings) = findings_on("end-of-file", &[], &["python3", "-c", one, "{port}"]) else { return };
    // the report may say that the server has ended, which is another mistake
    assert!(!findings.stdout.contains("connect() failed"), "{}", findings.stdout);
}

#[test]
fn many_threads_that_each_wait_after_an_error_do_not_count_as_spinning() {
    if !crate::support::has("strace", "strace") {
        return;
    }
    let threads = "import socket, sys, threading, time
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
def serve():
    while True:
        try: c, _ = s.accept()
        except OSError:
            time.sleep(0.01)
            continue
        try:
            c.recv(255)
            c.sendall(b'ok')
        except OSError: pass
        c.close()
for _ in range(24): threading.Thread(target=serve).start()
while True: time.sleep(10)
";
    assert_holds(findings_on("parent:accept=ENOBUFS", &[], &["python3", "-c", threads, "{port}"]));
}

#[test]
fn waiting_clients_stay_connected_until_slow_children_answer_them() {
    // this server ends if SIGPIPE ends a child; all children but the first and the last are slow, and write early if
    // their client disconnects
    let slow = "import os, select, signal, socket, sys, time
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
def reap(*_):
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if os.WIFSIGNALED(ended[1]): os._exit(1)
    except ChildProcessError: pass
signal.signal(signal.SIGCHLD, reap)
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
n = 0
while True:
    try: c, _ = s.accept()
    except OSError:
        time.sleep(0.05)
        continue
    n += 1
    if os.fork() == 0:
        c.recv(255)
        if 1 < n < 5:
            reset = select.poll()
            reset.register(c, 0)
            end = time.monotonic() + 0.7
            while time.monotonic() < end and not reset.poll(0): pass
        try: c.sendall(b'ok')
        except OSError: pass
        os._exit(0)
    c.close()
";
    assert_holds(findings_on("out-of-descriptors", &[], &["python3", "-c", slow, "{port}"]));
}

#[test]
fn a_machine_that_pauses_the_examiner_between_two_pieces_is_no_fault_of_the_server() {
    // this server takes a pause of 1.5 s for the end of the message. It stops the examiner for longer, once
    let patient = "import os, select, signal, socket, sys, time
paused = False
def answer(c):
    global paused
    message = c.recv(255)
    while 0 < len(message) < 255:
        if not paused:
            paused = True
            os.kill(os.getppid(), signal.SIGSTOP)
            time.sleep(1.7)
            c.sendall(b'ok')
            os.kill(os.getppid(), signal.SIGCONT)
            return
        if not select.select([c], [], [], 1.5)[0]: break
        message += c.recv(255)
    c.sendall(b'ok')
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
while True:
    c, _ = s.accept()
    try: answer(c)
    except OSError: pass
    c.close()
";
    assert_holds(findings_on("pieces", &[], &["python3", "-c", patient, "{port}"]));
}
