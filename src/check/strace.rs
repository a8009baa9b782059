//! Makes calls of a running process fail, with strace.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::subject::system;
use crate::subject::{Subject, wait_until};

/// The system calls that fork() makes, with any libc and on any processor.
pub const FORK: &str = "?fork,?vfork,?clone,?clone3";

/// The reason printed when calls cannot be made to fail.
pub const NO_STRACE: &str =
    "strace, which makes calls fail, is not installed or not allowed to attach (kernel.yama.ptrace_scope)";

/// How often a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The first time.
    Once,
    /// The first three times.
    Thrice,
    /// Every time while strace is attached.
    ForEver,
}

impl Times {
    /// The `when=` part of strace's `inject=` option.
    fn when(self) -> &'static str {
        match self {
            Times::Once => ":when=1",
            Times::Thrice => ":when=1..3",
            Times::ForEver => "",
        }
    }
}

/// A running strace that makes calls of a process fail, until it is dropped.
pub struct Strace {
    child: Child,
}

impl Strace {
    /// Attach to a process of the server; `None` if that fails.
    pub fn attach(server: &mut Subject, pid: i32, calls: &str, errno: &str, times: Times) -> Option<Strace> {
        let trace = format!("trace={calls}");
        let inject = format!("inject={calls}:error={errno}{}", times.when());
        // attach to every thread: one may accept clients while another waits for signals
        let threads = system::threads(pid);
        let all: Vec<String> = threads.iter().map(i32::to_string).collect();
        let child = Command::new("strace")
            .args(["-qq", "-e", &trace, "-e", "signal=none", "-e", &inject])
            // count the failed calls at once: a server that spins would fill any file
            .args(["-o", "|grep -c INJECTED", "-p", &all.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        server.unrelated_children.push(child.id() as i32);
        let mut strace = Strace { child };
        // a thread may have ended meanwhile: it no longer needs to be traced
        let is_traced = |thread: &i32| system::is_traced(*thread) || system::state(*thread).is_none();
        let all_traced = || system::is_traced(pid) && threads.iter().all(is_traced);
        let attached = wait_until(Duration::from_secs(10), || all_traced() || strace.ended());
        // strace may already have ended successfully: the first failed call may have ended the traced process
        let works = attached && !matches!(strace.child.try_wait(), Ok(Some(status)) if !status.success());
        works.then_some(strace)
    }

    /// Let the calls succeed again; returns how many failed.
    pub fn detach(mut self) -> usize {
        self.end();
        let mut count = String::new();
        let read = self.child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut count));
        read.and_then(|_| count.trim().parse().ok()).unwrap_or(0)
    }

    fn ended(&mut self) -> bool {
        // try_wait() fails with ECHILD if strace was already reaped while waiting for the server
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn end(&mut self) {
        if !self.ended() {
            // ESRCH: the traced process has just ended, and strace with it
            let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
            if !wait_until(Duration::from_secs(2), || self.ended()) {
                // the kernel detaches it from what it traced
                let _ = self.child.kill();
            }
        }
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.end();
    }
}
