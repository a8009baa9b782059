//! Small servers in Python, and their examination.

use crate::support::examiner::{Findings, check};
use crate::support::has;

/// The kernel reaps the children.
pub const IGNORE_SIGCHLD: &str = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)";
/// Read once, and answer: what most of these servers do.
pub const ANSWER: &str = "c.recv(255); c.sendall(b'ok')";

/// A server that forks a child for each client `c`. `first` runs at the start, `parent` before each fork, `child` in
/// each child.
pub fn forking_server(first: &str, parent: &str, child: &str) -> String {
    forking_server_then(first, parent, child, "c.close()")
}

/// The same; `then` runs in the parent after each fork, with `c` and the child's `pid`, in place of `c.close()`.
pub fn forking_server_then(first: &str, parent: &str, child: &str, then: &str) -> String {
    format!(
        "import os, signal, socket, sys, time
{first}
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
while True:
    c, _ = s.accept()
    {parent}
    pid = os.fork()
    if pid == 0:
        try:
            {child}
        except OSError: pass
        os._exit(0)
    {then}
"
    )
}

/// The findings of some checks on a server; `None` if Python is not installed.
pub fn findings_on(only: &str, more: &[&str], server: &[&str]) -> Option<Findings> {
    let options = ["--format", "tap", "--timeout", "10", "--only", only];
    let found = || check(&[&options, more].concat(), server);
    has("python3", "python3").then(found)
}

/// The report of some checks on a server in Python, in the format for people; `None` if Python is not installed.
pub fn report_on(only: &str, source: &str) -> Option<String> {
    let found = || check(&["--timeout", "10", "--only", only], &["python3", "-c", source, "{port}"]);
    has("python3", "python3").then(|| found().stdout)
}

/// Assert that all checks hold; none may be skipped.
#[track_caller]
pub fn assert_holds(findings: Option<Findings>) {
    assert_findings(findings, 0, &[]);
}

/// Assert the exit status, and the names of the skipped checks.
#[track_caller]
pub fn assert_findings(findings: Option<Findings>, code: i32, unseen: &[&str]) {
    let Some(findings) = findings else { return };
    let found = (findings.code, findings.unseen());
    assert_eq!(found, (Some(code), unseen.to_vec()), "{}{}", findings.stdout, findings.stderr);
}
