//! Attaches strace to a server, to record its calls.

use std::process::Command;

use tempfile::NamedTempFile;

use crate::strace::attached;
use crate::support::Running;
use nix::sys::signal::Signal;

/// A strace attached to a process and to the children that it forks later.
pub struct Watch {
    running: Running,
    trace: NamedTempFile,
}

impl Watch {
    /// Attach to a process.
    #[track_caller]
    pub fn attach(pid: u32, calls: &str) -> Watch {
        let trace = NamedTempFile::new().expect("a file can be created");
        let mut command = Command::new("strace");
        command.args(["-f", "-s", "400", "-p", &pid.to_string(), "-o"]).arg(trace.path());
        command.args(["-e", &format!("trace={calls}")]);
        Watch { running: attached(&mut command), trace }
    }

    /// Detach; gives the recorded calls, each with the process id of its caller.
    #[track_caller]
    pub fn detach(mut self) -> Vec<(u32, String)> {
        self.running.signal(Signal::SIGINT);
        self.running.wait();
        let trace = std::fs::read(self.trace.path()).expect("the trace can be read");
        let trace = String::from_utf8_lossy(&trace).into_owned();
        let line = |line: &str| {
            let (pid, call) = line.split_once(' ')?;
            Some((pid.parse().ok()?, call.trim_start().to_string()))
        };
        trace.lines().filter_map(line).collect()
    }
}
