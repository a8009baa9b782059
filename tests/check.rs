//! The examiner: what it says of servers that are right, of servers that are wrong in one way, and of
//! subjects that are no servers at all.

mod support;

use std::process::Command;

use nix::sys::signal::Signal;
use support::{start_piped, twin};

const PRISE: &str = env!("CARGO_BIN_EXE_prise");

/// An examination that has ended.
struct Findings {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Findings {
    /// The names of the checks that fail.
    fn failed(&self) -> Vec<&str> {
        let lines = self.stdout.lines().filter_map(|line| line.strip_prefix("not ok "));
        lines.filter_map(|line| line.split(" - ").nth(1)).collect()
    }

    /// The names of the checks that could not be made.
    fn unseen(&self) -> Vec<&str> {
        self.stdout.lines().filter(|line| line.contains("# SKIP")).collect()
    }
}

fn check(options: &[&str], server: &[&str]) -> Findings {
    let output =
        Command::new(PRISE).arg("check").args(options).arg("--").args(server).output().expect("prise runs");
    Findings {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn tap(server: &[&str]) -> Findings {
    check(&["--format", "tap"], server)
}

/// No process of a test's own is left: each has a word of its own in its arguments.
#[track_caller]
fn assert_nothing_left(word: &str) {
    let left: Vec<_> =
        support::processes().into_iter().filter(|process| process.command.contains(word)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn server_fork_and_its_twin_hold_every_check() {
    let twin = twin("server/fork").display().to_string();
    let strace = support::has("strace", "strace");
    for server in [&[PRISE, "server", "fork", "--port", "{port}"][..], &[&twin, "--port", "{port}"]] {
        let findings = tap(server);
        assert_eq!(findings.failed(), [""; 0], "{}", findings.stdout);
        assert_eq!(findings.code, Some(0));
        assert!(!strace || findings.unseen().is_empty(), "{}", findings.stdout);
    }
}

#[test]
fn a_server_that_does_not_reap_fails_that_check_alone() {
    let findings = tap(&[PRISE, "server", "fork", "--no-reap", "--port", "{port}"]);
    assert_eq!(findings.failed(), ["no-zombies"], "{}", findings.stdout);
    assert_eq!(findings.code, Some(1));
}

#[test]
fn an_iterative_server_that_waits_for_its_client_fails_what_it_must() {
    if !support::has("python3", "python3") {
        return;
    }
    let iterative = "import socket, sys
s = socket.create_server(('', int(sys.argv[1])), backlog=2000)
while True:
    c, _ = s.accept()
    try:
        if c.recv(1000):
            c.sendall(b'ok')
        c.shutdown(socket.SHUT_WR)
        while c.recv(1000): pass
    except OSError: pass
    c.close()
";
    let findings = check(
        &[
            "--format",
            "tap",
            "--timeout",
            "2",
            "--only",
            "answers,concurrent,end-of-file,half-close,idle-clients",
        ],
        &["python3", "-c", iterative, "{port}"],
    );
    assert_eq!(findings.failed(), ["concurrent", "idle-clients"], "{}", findings.stdout);
}

#[test]
fn a_threaded_server_is_examined_alike() {
    if !support::has("python3", "python3") {
        return;
    }
    let threaded = "import socket, socketserver, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        got = b''
        while len(got) < 255:
            piece = self.request.recv(255 - len(got))
            if not piece: break
            got += piece
        self.request.sendall(b'ok' + bytes(16))
        self.request.shutdown(socket.SHUT_WR)
        while self.request.recv(1000): pass
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1000
    def handle_error(self, *_): pass
Server(('', int(sys.argv[1])), Handler).serve_forever()
";
    let findings = tap(&["python3", "-c", threaded, "{port}"]);
    // socketserver does spin: it goes back to accept() at once, whatever that says
    assert_eq!(findings.failed(), ["out-of-descriptors"], "{}", findings.stdout);
}

#[test]
fn a_subject_that_is_no_server_is_told_apart() {
    for (server, says) in [
        (&["./no-such-server"][..], "./no-such-server: No such file or directory"),
        (&["sh", "-c", "echo cannot bind >&2; exit 7"], "exit status: 7); it says: cannot bind"),
        (&["sh", "-c", "exec sleep 61.25"], "it did not listen on port"),
        (&["sh", "-c", "trap '' TERM; yes floods61"], "it says: floods61\\nfloods61"),
        (&["sh", "-c", "setsid sleep 61.75 & exit 0"], "it ended before it listened"),
    ] {
        let findings = check(&["--timeout", "1"], server);
        assert_eq!(findings.code, Some(3), "{}{}", findings.stdout, findings.stderr);
        assert!(findings.stderr.starts_with("the server could not be started: "), "{}", findings.stderr);
        assert!(findings.stderr.contains(says), "{says:?} is not in {:?}", findings.stderr);
    }
    assert_nothing_left("61.25");
    assert_nothing_left("61.75");
    assert_nothing_left("floods61");
}

#[test]
fn ctrl_c_leaves_no_process_behind() {
    let mut command = Command::new(PRISE);
    command.args(["check", "--only", "idle-clients,stops,concurrent", "--timeout", "60", "--verbose", "--"]);
    // it answers nobody, so that the examination waits
    let mut running = start_piped(command.args(["sh", "-c", "exec nc -l -k -p {port} #62"]).args(["held62"]));
    if !support::has("nc", "netcat-openbsd") {
        return;
    }
    running.wait_stdout("start the server");
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait().code(), Some(130), "{}", running.stderr());
    assert_nothing_left("held62");
}

#[test]
fn the_findings_are_json() {
    if !support::has("python3", "python3") {
        return;
    }
    let findings = check(
        &["--format", "json", "--only", "answers,no-zombies"],
        &[PRISE, "server", "fork", "--no-reap", "--port", "{port}"],
    );
    let query = "import json, sys
found = json.loads(sys.argv[1])
print(found['holds'], found['fails'], [(one['name'], one['verdict']) for one in found['checks']])";
    let output =
        Command::new("python3").args(["-c", query, &findings.stdout]).output().expect("python3 runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1 1 [('answers', 'holds'), ('no-zombies', 'fails')]\n",
        "{}",
        findings.stdout
    );
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for options in [
        &["--only", "nosuch"][..],
        &["--send", ""],
        &["--send", "\\q"],
        &["--timeout", "0"],
        &["--format", "xml"],
    ] {
        let findings = check(options, &["true"]);
        assert_eq!(findings.code, Some(2), "{options:?}: {}", findings.stderr);
        assert_eq!(findings.stdout, "");
    }
    let nothing = Command::new(PRISE).arg("check").output().expect("prise runs");
    assert_eq!(nothing.status.code(), Some(2));
    let list = Command::new(PRISE).args(["check", "--list"]).output().expect("prise runs");
    assert_eq!(list.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&list.stdout).lines().count(), 18);
}
