//! The examiner leaves no process behind, and does not touch children that are not its own.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::start_piped;
use crate::{PRISE, assert_nothing_left};

#[test]
fn a_child_inherited_from_the_shell_is_left_alone() {
    // the shell starts it, then becomes the examiner by exec
    let nap = format!("sleep 95.{:06}", std::process::id());
    let examine = format!("{nap} & exec '{PRISE}' check --only answers,stops --format tap -- \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &examine, "sh", PRISE, "server", "robust", "--port", "{port}"]);
    let mut running = start_piped(&mut command);
    let status = running.wait();
    assert_eq!(status.code(), Some(0), "{}{}", running.stdout(), running.stderr());
    assert!(crate::support::processes().iter().any(|process| process.command == nap), "{nap} has ended");
}

#[test]
fn ctrl_c_leaves_no_process_behind_at_any_step() {
    let mut steps = vec![
        ("answers", "start the server"),
        ("no-zombies", "clients connect"),
        ("interrupted-calls", "kill(SIGSTOP)"),
        ("out-of-descriptors", "prlimit"),
        ("idle-clients", "start the server"),
    ];
    if crate::support::has("strace", "strace") {
        steps.extend([("fork-fails", "makes fork() fail"), ("parent:accept=EMFILE", "strace: ")]);
    }
    for (only, step) in steps {
        let mut command = Command::new(PRISE);
        command.args(["check", "--only", only, "--timeout", "60", "--verbose", "--"]);
        command.args([PRISE, "server", "robust", "--port", "{port}", "--backlog", "62"]);
        let mut running = start_piped(&mut command);
        running.wait_stdout(step);
        running.signal(Signal::SIGINT);
        assert_eq!(running.wait().code(), Some(130), "{only}: {}", running.stderr());
        assert_nothing_left("--backlog 62");
    }
}
