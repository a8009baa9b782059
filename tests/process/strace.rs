//! strace, attached to a server, making its calls fail.
//!
//! Attached, not started: what libc and Rust call before `main` is over by then, so `when=1` is the
//! first call that the server itself makes from there on. Each child that is forked later counts
//! its own calls from 1.

use std::process::Command;

use tempfile::NamedTempFile;

use crate::support::{Running, am_root, has, start_piped, wait_until};
use nix::sys::signal::Signal;

/// Whether strace can attach here. Like [`has`], it says what is missing, and in CI that is a failure.
#[track_caller]
pub fn can_attach() -> bool {
    if !has("strace", "strace") {
        return false;
    }
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let forbidden = !matches!(scope.trim(), "" | "0") && !am_root();
    if forbidden {
        assert!(std::env::var_os("CI").is_none(), "strace may not attach: sysctl kernel.yama.ptrace_scope=0");
        crate::support::skipped("strace may not attach: sysctl kernel.yama.ptrace_scope=0");
    }
    !forbidden
}

/// Whom strace follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The parent alone.
    Parent,
    /// The children that it will fork, too.
    Children,
}

/// A strace that is attached to a process.
pub struct Strace {
    running: Running,
    trace: NamedTempFile,
    pid: u32,
}

/// Start a strace, and wait until it has attached.
#[track_caller]
pub fn attached(command: &mut Command) -> Running {
    let mut running = start_piped(command);
    let mut said = String::new();
    wait_until("strace attaches", || {
        said = running.stderr();
        said.contains(" attached") || running.try_wait().is_some()
    });
    assert!(said.contains(" attached"), "{command:?}: {said}");
    running
}

impl Strace {
    /// Attach to a process: `fault` is what follows the calls in strace's `inject=`.
    #[track_caller]
    pub fn attach(pid: u32, follow: Follow, calls: &str, fault: &str) -> Strace {
        let trace = NamedTempFile::new().expect("a file can be made");
        let mut command = Command::new("strace");
        if follow == Follow::Children {
            command.arg("-f");
        }
        command.args(["-p", &pid.to_string(), "-o"]).arg(trace.path());
        command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")]);
        Strace { running: attached(&mut command), trace, pid }
    }

    /// How many calls it has made fail.
    pub fn injected(&self) -> usize {
        self.lines().filter(|line| line.contains("(INJECTED)")).count()
    }

    /// How many of them were its children's.
    pub fn injected_in_children(&self) -> usize {
        self.injected() - self.injected_in_parent()
    }

    /// How many of them were the parent's: `-f` begins each line with the process.
    pub fn injected_in_parent(&self) -> usize {
        let parent = format!("{} ", self.pid);
        self.lines().filter(|line| line.contains("(INJECTED)") && line.starts_with(&parent)).count()
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let trace = std::fs::read(self.trace.path()).expect("the trace can be read");
        String::from_utf8_lossy(&trace).lines().map(String::from).collect::<Vec<_>>().into_iter()
    }

    /// Let the process go.
    #[track_caller]
    pub fn detach(&mut self) {
        self.running.signal(Signal::SIGINT);
        self.running.wait();
    }
}
