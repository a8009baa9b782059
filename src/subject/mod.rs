//! The server under examination: started on its port, watched, and ended with all that it started.
//!
//! This file is its life; [`mod@family`] says which processes are its own.

mod family; // which processes are the server's
pub mod peer; // a client's side of a connection
pub mod port; // a free port
pub mod system; // what the system says of processes and sockets
mod wait; // waits that a busy machine may make longer

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use self::system::Process;
use self::wait::pause;
pub use self::wait::{Grace, pass, wait_until};
use crate::ffi;

/// A server that runs. It ends, with everything that it started, when this is dropped.
pub struct Subject {
    /// The server's process, the one that listens.
    pub pid: i32,
    /// The process that was started, which leads its group: the server, unless a script waits for that.
    leader: i32,
    /// Where a script has started it: those between the two, and the leader.
    wrappers: Vec<i32>,
    /// It could not be seen which process listens.
    hidden: bool,
    /// Whether it has a reason to end; if it has none and does, that is noted.
    may_end: Cell<bool>,
    unasked: Rc<Cell<Option<ExitStatus>>>,
    /// How many other processes the server has while it serves nobody.
    resting: usize,
    /// Where it listens.
    pub port: u16,
    /// Where it was told to listen.
    pub asked: u16,
    /// Children of the examiner that are not the server's: a strace that makes calls fail, and those that it had
    /// before it was the examiner, such as a shell's.
    pub instruments: Vec<i32>,
    ended: Cell<Option<ExitStatus>>,
    /// Whether another listened already on the port that this one would listen on without htons().
    others: bool,
}

impl Subject {
    /// Start a command with `{port}` in its arguments replaced.
    pub fn spawn(words: &[OsString], port: u16, stdout: Stdio, stderr: Stdio) -> std::io::Result<Subject> {
        let mut words = words.iter().map(|word| with_port(word, port));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).process_group(0);
        let others = system::listens(port.swap_bytes());
        let examiner = std::process::id() as i32;
        let had = system::processes().into_iter().filter(|process| process.ppid == examiner);
        let instruments = had.map(|process| process.pid).collect();
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn()?;
        let pid = child.id() as i32;
        Ok(Subject {
            pid,
            leader: pid,
            wrappers: Vec::new(),
            hidden: false,
            may_end: Cell::new(true),
            unasked: Rc::default(),
            resting: 0,
            port,
            asked: port,
            instruments,
            ended: Cell::new(None),
            others,
        })
    }

    /// Whether the server's process has ended, and how. It is not reaped before this is dropped: its number and
    /// its group's would be free for any process of this machine, which then would be taken for its own.
    pub fn ended(&self) -> Option<ExitStatus> {
        while let Some((pid, status)) = ffi::peek_ended() {
            if pid == self.leader {
                self.ended.set(Some(ExitStatus::from_raw(status)));
                break;
            }
            // an orphan that was adopted
            ffi::wait4(pid);
        }
        self.ended.get()
    }

    /// Wait until it listens; false if it ends first, or takes too long. One that has forgotten htons()
    /// listens on the port whose number has its two bytes swapped, and is examined there.
    pub fn wait_listening(&mut self, timeout: Duration) -> bool {
        let swapped = self.asked.swap_bytes();
        let forgot = || !self.others && !system::listens(self.asked) && system::listens(swapped);
        let port = || if forgot() { swapped } else { self.port };
        self.wait_until(timeout, || system::listens(port()) || self.ended().is_some());
        self.port = port();
        system::listens(self.port)
    }

    /// Wait until a condition holds; false if it does not within the time-out. It is longer where the machine is
    /// busy: see [`Grace`].
    pub fn wait_until(&self, timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let grace = Grace::of(self, timeout);
        while !wait_until(timeout, &mut holds) {
            if !grace.goes_on() {
                return false;
            }
        }
        true
    }

    /// Whether it would go on if it had a CPU or a disk: in most of three looks, one of its processes waits for
    /// nothing else.
    pub fn has_work(&self) -> bool {
        let busy = |state: char| matches!(state, 'R' | 'D');
        let looks = (0..3).filter(|&look| {
            if look > 0 {
                pause();
            }
            let leader = system::state(self.leader).is_some_and(busy) || system::runs(self.pid);
            leader || self.family().iter().any(|process| busy(process.state))
        });
        looks.count() > 1
    }

    /// The CPU that it has had, with all its processes that are there or were waited for.
    fn cpu(&self) -> Duration {
        let family = self.family();
        let all = family.iter().map(|process| process.pid).chain([self.leader]);
        Duration::from_millis(10 * all.filter_map(system::cpu_ticks_with_children).sum::<u64>())
    }

    /// Whether the server's process is there no more, be it waited for or not.
    pub fn is_gone(&self) -> bool {
        let pid = self.pid;
        let there = |process: &Process| process.pid == pid && !process.is_zombie();
        self.ended().is_some() || !system::processes().iter().any(there)
    }

    /// From now on it has no reason to end; note there how it does, if it does.
    pub fn must_not_end(&mut self, noted: &Rc<Cell<Option<ExitStatus>>>) {
        self.unasked = Rc::clone(noted);
        self.may_end.set(false);
    }

    /// How the server has ended, if it has. Its sockets are closed a moment before it can be waited for.
    fn how_it_ended(&self) -> Option<ExitStatus> {
        if !system::listens(self.port) {
            wait_until(Duration::from_secs(1), || self.ended().is_some());
        }
        self.ended()
    }

    /// It has a reason, or that it has ended has been said.
    pub fn may_end(&self) {
        self.may_end.set(true);
    }

    /// Whether it is unknown which process is the server, as of one that is not dumpable, behind a script.
    pub fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether another process has started the server, and is still there.
    pub fn is_supervised(&self) -> bool {
        self.leader != self.pid && self.ended().is_none()
    }

    /// Send a signal to the process that was started.
    pub fn signal_leader(&self, signal: Signal) {
        // ESRCH: it has ended, which is seen elsewhere
        let _ = kill(Pid::from_raw(self.leader), signal);
    }

    /// Send a signal to the server's process alone.
    pub fn signal(&self, signal: Signal) {
        if signal == Signal::SIGTERM {
            self.may_end();
        }
        // ESRCH: it has ended, which is seen elsewhere
        let _ = kill(Pid::from_raw(self.pid), signal);
    }

    /// Stop the server's process for a moment. A shell with job control that waits for it is not to see that, and is
    /// stopped first: it would go on to its next command.
    pub fn stop(&self) {
        self.signal_wrappers(Signal::SIGSTOP);
        let stopped = |pid: &i32| !matches!(system::state(*pid), Some('R' | 'S' | 'D'));
        wait_until(Duration::from_millis(200), || self.wrappers.iter().all(stopped));
        self.signal(Signal::SIGSTOP);
    }

    /// Have it go on.
    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
        self.signal_wrappers(Signal::SIGCONT);
    }

    fn signal_wrappers(&self, signal: Signal) {
        for &pid in &self.wrappers {
            // ESRCH: it has ended, which is seen elsewhere
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if !self.may_end.get()
            && let Some(status) = self.how_it_ended()
        {
            self.unasked.set(Some(status));
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let (zombies, alive): (Vec<_>, Vec<_>) = self.family().into_iter().partition(Process::is_zombie);
            // the group first: what forks without end is stopped in one call
            let _ = killpg(Pid::from_raw(self.leader), Signal::SIGKILL);
            for process in &alive {
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
            for process in &zombies {
                // no child of ours, or reaped already: nothing is there to wait for
                ffi::wait4(process.pid);
            }
            let gone = self.ended().is_some() && alive.is_empty();
            if gone || Instant::now() > deadline {
                break;
            }
            pause();
        }
        // last, since then its number is another's
        ffi::wait4(self.leader);
    }
}

fn with_port(word: &OsString, port: u16) -> OsString {
    match word.to_str() {
        Some(text) => text.replace("{port}", &port.to_string()).into(),
        None => word.clone(),
    }
}
