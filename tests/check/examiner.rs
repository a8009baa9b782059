//! What the examiner leaves behind, which is nothing, and what it leaves alone.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::start_piped;
use crate::{PRISE, assert_nothing_left};

#[test]
fn the_examiners_own_children_are_left_alone() {
    // as those are that a shell has started before its exec
    let nap = format!("sleep 95.{:06}", std::process::id());
    let examine = format!("{nap} & exec '{PRISE}' check --only answers,stops --format tap -- \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &examine, "sh", PRISE, "server", "robust", "--port", "{port}"]);
    let mut running = start_piped(&mut command);
    let status = running.wait();
    assert_eq!(status.code(), Some(0), "{}{}", running.stdout(), running.stderr());
    assert!(crate::support::processes().iter().any(|process| process.command == nap), "{nap} is gone");
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
        steps.extend([("fork-fails", "makes fork() give"), ("parent:accept=EMFILE", "strace: ")]);
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
