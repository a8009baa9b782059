//! strace, which makes calls of a running process fail.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::subject::system;
use crate::subject::{Subject, wait_until};

/// The calls behind fork(), by any libc and on any processor.
pub const FORK: &str = "?fork,?vfork,?clone,?clone3";

/// Why calls cannot be made to fail.
pub const NO_STRACE: &str =
    "strace, which makes calls fail, is not installed, or may not attach (kernel.yama.ptrace_scope)";

/// How often a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Its first time.
    Once,
    /// Its first three times.
    Thrice,
    /// For as long as strace is attached.
    ForEver,
}

impl Times {
    /// In strace's words.
    fn when(self) -> &'static str {
        match self {
            Times::Once => ":when=1",
            Times::Thrice => ":when=1..3",
            Times::ForEver => "",
        }
    }
}

/// A strace that makes calls of a process fail, until it is dropped.
pub struct Strace {
    child: Child,
}

impl Strace {
    /// Attach to one process of the server's; none if that cannot be done.
    pub fn attach(server: &mut Subject, pid: i32, calls: &str, errno: &str, times: Times) -> Option<Strace> {
        let trace = format!("trace={calls}");
        let inject = format!("inject={calls}:error={errno}{}", times.when());
        // one thread may accept while another waits for signals
        let threads = system::threads(pid);
        let all: Vec<String> = threads.iter().map(i32::to_string).collect();
        let child = Command::new("strace")
            .args(["-qq", "-e", &trace, "-e", "signal=none", "-e", &inject])
            // counted as they come: a server that spins fills any file
            .args(["-o", "|grep -c INJECTED", "-p", &all.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        server.instruments.push(child.id() as i32);
        let mut strace = Strace { child };
        // a thread that served a client may have ended meanwhile
        let is_traced = |thread: &i32| system::is_traced(*thread) || system::state(*thread).is_none();
        let all_traced = || system::is_traced(pid) && threads.iter().all(is_traced);
        let attached = wait_until(Duration::from_secs(10), || all_traced() || strace.ended());
        // it ends at once, and well, when the first call that fails is the end of the process
        let at_work = attached && !matches!(strace.child.try_wait(), Ok(Some(status)) if !status.success());
        at_work.then_some(strace)
    }

    /// Let the calls succeed again; gives how many have failed.
    pub fn detach(mut self) -> usize {
        self.end();
        let mut count = String::new();
        let read = self.child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut count));
        read.and_then(|_| count.trim().parse().ok()).unwrap_or(0)
    }

    fn ended(&mut self) -> bool {
        // whoever waits for the server may have waited for strace too: ECHILD
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn end(&mut self) {
        if !self.ended() {
            // ESRCH: the process it traced has ended just now, and strace with it
            let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
            if !wait_until(Duration::from_secs(2), || self.ended()) {
                // the kernel lets go what it has traced
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
