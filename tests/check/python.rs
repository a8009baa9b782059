//! Servers in Python, and what is found of them.

use crate::support::examiner::{Findings, check};
use crate::support::has;

/// Nobody need wait for children.
pub const NO_CHILDREN: &str = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)";
/// What most servers say.
pub const ANSWER: &str = "c.recv(255); c.sendall(b'ok')";

/// A server with a process for each client `c`: what it does first, in the parent for each client, and in the child.
pub fn forking(first: &str, parent: &str, child: &str) -> String {
    forking_then(first, parent, child, "c.close()")
}

/// The same, and what the parent does with `c` when its child, `pid`, has begun.
pub fn forking_then(first: &str, parent: &str, child: &str, then: &str) -> String {
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

/// What some checks find of a server in Python; none where there is no Python.
pub fn found_of(only: &str, more: &[&str], server: &[&str]) -> Option<Findings> {
    let options = ["--format", "tap", "--timeout", "10", "--only", only];
    let found = || check(&[&options, more].concat(), server);
    has("python3", "python3").then(found)
}

/// What they say, for people.
pub fn said_of(only: &str, source: &str) -> Option<String> {
    let found = || check(&["--timeout", "10", "--only", only], &["python3", "-c", source, "{port}"]);
    has("python3", "python3").then(|| found().stdout)
}

/// They hold, and none of them was not to be seen.
#[track_caller]
pub fn assert_holds(findings: Option<Findings>) {
    assert_found(findings, 0, &[]);
}

/// This is the exit status, and these were not to be seen.
#[track_caller]
pub fn assert_found(findings: Option<Findings>, code: i32, unseen: &[&str]) {
    let Some(findings) = findings else { return };
    let found = (findings.code, findings.unseen());
    assert_eq!(found, (Some(code), unseen.to_vec()), "{}{}", findings.stdout, findings.stderr);
}
