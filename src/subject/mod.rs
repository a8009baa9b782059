//! The server under examination: this file starts it on its port, watches it, and ends it with every process that it
//! started. [`mod@family`] finds the processes that belong to it.

mod family; // which processes belong to the server
pub mod peer; // the client's side of a connection
pub mod port; // a free port
pub mod system; // reads the state of processes and sockets from the system
mod wait; // waits, with extra time on a busy machine

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use self::system::Process;
use self::wait::sleep_interval;
pub use self::wait::{ExtraTime, sleep, wait_until};
use crate::ffi;

/// A running server. When this is dropped, the server and every process that it started are killed.
pub struct Subject {
    /// The server's process: the one that listens.
    pub pid: i32,
    /// The process that was started, the leader of its process group. It is the server itself, or a script that started
    /// the server and waits for it.
    leader: i32,
    /// If a script started the server: the processes between the server and the leader, and the leader.
    wrappers: Vec<i32>,
    /// Whether the system does not show which process listens.
    hidden: bool,
    /// Whether the server may exit now. If it exits while this is false, its status goes to `unexpected_exit`.
    exit_expected: Cell<bool>,
    unexpected_exit: Rc<Cell<Option<ExitStatus>>>,
    /// The number of descendants that the server has while it serves no client.
    idle_processes: usize,
    /// The port it listens on.
    pub port: u16,
    /// The port it was told to listen on.
    pub requested_port: u16,
    /// Children of the examiner that do not belong to the server: an strace that makes calls fail, and children that
    /// this process had before, such as those of a shell that executed it.
    pub unrelated_children: Vec<i32>,
    ended: Cell<Option<ExitStatus>>,
    /// Whether another process already listened on the port that a server without htons() would use.
    swapped_port_taken: bool,
}

impl Subject {
    /// Start a command, with `{port}` replaced in its words.
    pub fn spawn(words: &[OsString], port: u16, stdout: Stdio, stderr: Stdio) -> std::io::Result<Subject> {
        let mut words = words.iter().map(|word| with_port(word, port));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).process_group(0);
        let swapped_port_taken = system::listens(port.swap_bytes());
        let examiner = std::process::id() as i32;
        let had = system::processes().into_iter().filter(|process| process.ppid == examiner);
        let unrelated_children = had.map(|process| process.pid).collect();
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn()?;
        let pid = child.id() as i32;
        Ok(Subject {
            pid,
            leader: pid,
            wrappers: Vec::new(),
            hidden: false,
            exit_expected: Cell::new(true),
            unexpected_exit: Rc::default(),
            idle_processes: 0,
            port,
            requested_port: port,
            unrelated_children,
            ended: Cell::new(None),
            swapped_port_taken,
        })
    }

    /// The status of the started process, if it has ended. It is reaped only when this is dropped: until then, no other
    /// process can get its process ID or process group ID and be mistaken for one of the server.
    pub fn ended(&self) -> Option<ExitStatus> {
        while let Some((pid, status)) = ffi::peek_ended() {
            if pid == self.leader {
                self.ended.set(Some(ExitStatus::from_raw(status)));
                break;
            }
            // an adopted orphan: reap it
            ffi::wait4(pid);
        }
        self.ended.get()
    }

    /// Wait until it listens; false if it ends first, or takes too long. A server that forgot htons() listens on the
    /// port with its two bytes swapped, and is examined there.
    pub fn wait_listening(&mut self, timeout: Duration) -> bool {
        let swapped = self.requested_port.swap_bytes();
        let forgot_htons =
            || !self.swapped_port_taken && !system::listens(self.requested_port) && system::listens(swapped);
        let port = || if forgot_htons() { swapped } else { self.port };
        self.wait_until(timeout, || system::listens(port()) || self.ended().is_some());
        self.port = port();
        system::listens(self.port)
    }

    /// Wait until a condition holds; false if it does not within the timeout. On a busy machine, the wait is extended:
    /// see [`ExtraTime`].
    pub fn wait_until(&self, timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let extra = ExtraTime::of(self, timeout);
        while !wait_until(timeout, &mut holds) {
            if !extra.is_granted() {
                return false;
            }
        }
        true
    }

    /// Whether the server has work to do and waits only for a CPU or a disk: in at least two of three samples, one of
    /// its processes is runnable (R) or in a disk wait (D).
    pub fn has_work(&self) -> bool {
        let busy = |state: char| matches!(state, 'R' | 'D');
        let samples = (0..3).filter(|&sample| {
            if sample > 0 {
                sleep_interval();
            }
            let leader = system::state(self.leader).is_some_and(busy) || system::is_runnable(self.pid);
            leader || self.family().iter().any(|process| busy(process.state))
        });
        samples.count() > 1
    }

    /// The CPU time of all its processes, including ended children that they waited for.
    fn cpu(&self) -> Duration {
        let family = self.family();
        let all = family.iter().map(|process| process.pid).chain([self.leader]);
        Duration::from_millis(10 * all.filter_map(system::cpu_ticks_with_children).sum::<u64>())
    }

    /// Whether the server's process has ended, reaped or not.
    pub fn is_gone(&self) -> bool {
        let pid = self.pid;
        let alive = |process: &Process| process.pid == pid && !process.is_zombie();
        self.ended().is_some() || !system::processes().iter().any(alive)
    }

    /// From now on, the server must keep running. If it exits, store its status in `status`.
    pub fn report_unexpected_exit_to(&mut self, status: &Rc<Cell<Option<ExitStatus>>>) {
        self.unexpected_exit = Rc::clone(status);
        self.exit_expected.set(false);
    }

    /// The status of the server, if it has ended. The kernel closes its sockets a moment before it can be waited for.
    fn exit_status(&self) -> Option<ExitStatus> {
        if !system::listens(self.port) {
            wait_until(Duration::from_secs(1), || self.ended().is_some());
        }
        self.ended()
    }

    /// From now on, the server may exit: it was told to, or its exit is already reported.
    pub fn expect_exit(&self) {
        self.exit_expected.set(true);
    }

    /// Whether it is unknown which process is the server: for example, a script started it and it is not dumpable, so
    /// its /proc/PID/fd cannot be read.
    pub fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether another process started the server and is still running.
    pub fn is_supervised(&self) -> bool {
        self.leader != self.pid && self.ended().is_none()
    }

    /// Send a signal to the process that was started.
    pub fn signal_leader(&self, signal: Signal) {
        // ESRCH: it has ended, which is detected elsewhere
        let _ = kill(Pid::from_raw(self.leader), signal);
    }

    /// Send a signal to the server's process only.
    pub fn signal(&self, signal: Signal) {
        if signal == Signal::SIGTERM {
            self.expect_exit();
        }
        // ESRCH: it has ended, which is detected elsewhere
        let _ = kill(Pid::from_raw(self.pid), signal);
    }

    /// Stop the server's process with SIGSTOP. The processes that wait for it are stopped first: a shell with job
    /// control that saw the server stop would run its next command.
    pub fn suspend(&self) {
        self.signal_wrappers(Signal::SIGSTOP);
        let stopped = |pid: &i32| !matches!(system::state(*pid), Some('R' | 'S' | 'D'));
        wait_until(Duration::from_millis(200), || self.wrappers.iter().all(stopped));
        self.signal(Signal::SIGSTOP);
    }

    /// Continue the server and its wrappers with SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
        self.signal_wrappers(Signal::SIGCONT);
    }

    fn signal_wrappers(&self, signal: Signal) {
        for &pid in &self.wrappers {
            // ESRCH: it has ended, which is detected elsewhere
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if !self.exit_expected.get()
            && let Some(status) = self.exit_status()
        {
            self.unexpected_exit.set(Some(status));
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let (zombies, alive): (Vec<_>, Vec<_>) = self.family().into_iter().partition(Process::is_zombie);
            // kill the process group first: one call stops a server that forks without end
            let _ = killpg(Pid::from_raw(self.leader), Signal::SIGKILL);
            for process in &alive {
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
            for process in &zombies {
                // this does nothing if it is not our child or is already reaped
                ffi::wait4(process.pid);
            }
            let gone = self.ended().is_some() && alive.is_empty();
            if gone || Instant::now() > deadline {
                break;
            }
            sleep_interval();
        }
        // reap it last: after that, its process ID may be reused
        ffi::wait4(self.leader);
    }
}

fn with_port(word: &OsString, port: u16) -> OsString {
    match word.to_str() {
        Some(text) => text.replace("{port}", &port.to_string()).into(),
        None => word.clone(),
    }
}
