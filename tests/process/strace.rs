//! Attaches strace to a server, to make its system calls fail.
//!
//! strace attaches to the running server, after the calls that libc and Rust make before `main`: `when=1` is the first
//! call that the server makes after strace has attached. Each child forked later counts its own calls from 1.

use std::process::Command;

use tempfile::NamedTempFile;

use crate::support::{Running, am_root, has, start_piped, wait_until};
use nix::sys::signal::Signal;

/// strace's names for the calls behind fork(); `?` allows a name that this machine does not know.
pub const FORKS: &str = "?fork,?vfork,?clone,?clone3";

/// Whether strace can attach to a process here. If not, this panics in CI; elsewhere it prints why, and the caller
/// skips its test.
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

/// The processes that strace traces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The parent only.
    Parent,
    /// The parent and the children that it forks later.
    Children,
}

/// A strace attached to a process.
pub struct Strace {
    running: Running,
    trace: NamedTempFile,
    pid: u32,
}

/// Run a strace command, and wait until it has attached.
#[track_caller]
pub fn attached(command: &mut Command) -> Running {
    let mut running = start_piped(command);
    let mut stderr = String::new();
    wait_until("strace attaches", || {
        stderr = running.stderr();
        stderr.contains(" attached") || running.try_wait().is_some()
    });
    assert!(stderr.contains(" attached"), "{command:?}: {stderr}");
    running
}

impl Strace {
    /// Attach to a process, and inject a fault into `calls`; `fault` is in the syntax of strace's `inject=`.
    #[track_caller]
    pub fn attach(pid: u32, follow: Follow, calls: &str, fault: &str) -> Strace {
        let trace = NamedTempFile::new().expect("a file can be created");
        let mut command = Command::new("strace");
        if follow == Follow::Children {
            command.arg("-f");
        }
        command.args(["-p", &pid.to_string(), "-o"]).arg(trace.path());
        command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")]);
        Strace { running: attached(&mut command), trace, pid }
    }

    /// How many calls have failed by injection so far.
    pub fn injected(&self) -> usize {
        self.lines().filter(|line| line.contains("(INJECTED)")).count()
    }

    /// The same, in the children only.
    pub fn injected_in_children(&self) -> usize {
        self.injected() - self.injected_in_parent()
    }

    /// The same, in the parent only: with `-f`, each line begins with the process id.
    pub fn injected_in_parent(&self) -> usize {
        let parent = format!("{} ", self.pid);
        self.lines().filter(|line| line.contains("(INJECTED)") && line.starts_with(&parent)).count()
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let trace = std::fs::read(self.trace.path()).expect("the trace can be read");
        String::from_utf8_lossy(&trace).lines().map(String::from).collect::<Vec<_>>().into_iter()
    }

    /// Detach from the process.
    #[track_caller]
    pub fn detach(&mut self) {
        self.running.signal(Signal::SIGINT);
        self.running.wait();
    }
}
