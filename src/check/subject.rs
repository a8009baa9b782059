//! The server under examination: started on its port, watched, and ended with all that it started.

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::check::system::{self, Process};
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

    /// Find the server behind a script that has started it, and count what it has besides, before any client
    /// comes. False: it is another user's, and may not be signalled.
    pub fn get_to_know(&mut self) -> bool {
        let sockets = system::listening_sockets(self.port);
        if !sockets.is_empty() && !system::has_open(self.leader, &sockets) {
            let family = self.family();
            let holders: Vec<&Process> =
                family.iter().filter(|process| system::has_open(process.pid, &sockets)).collect();
            // whoever listens and was not started by another that does
            let is_first = |one: &Process| holders.iter().all(|other| other.pid != one.ppid);
            let first: Vec<&Process> = holders.iter().copied().filter(|one| is_first(one)).collect();
            let ours = |pid: i32| pid == self.leader || family.iter().any(|process| process.pid == pid);
            match first.as_slice() {
                [] => self.hidden = !family.is_empty(),
                // SO_REUSEPORT: who has started them is the server
                [one, other, ..] if one.ppid == other.ppid && ours(one.ppid) => {
                    self.is_behind(one.ppid, &family);
                }
                [one, ..] => self.is_behind(one.pid, &family),
            }
        }
        self.resting = self.busy_children();
        kill(Pid::from_raw(self.pid), None) != Err(Errno::EPERM)
    }

    /// The server is this process; those above it, up to the leader, only wait for it.
    fn is_behind(&mut self, pid: i32, family: &[Process]) {
        let known = |of: i32| family.iter().find(|process| process.pid == of);
        let parent = |of: i32| known(of).map(|process| process.ppid);
        self.pid = pid;
        self.wrappers = std::iter::successors(parent(pid), |&one| parent(one)).collect();
        self.wrappers.retain(|&one| one == self.leader || known(one).is_some());
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

    /// Take what is there a moment after it has served a client for what is always there.
    pub fn settle(&mut self) {
        self.wait_until(Duration::from_secs(1), || self.is_at_rest());
        self.resting = self.resting.max(self.busy_children());
    }

    /// Whether no process is there that was not there before the first client.
    pub fn is_at_rest(&self) -> bool {
        self.busy_children() <= self.resting
    }

    /// How many of the server's other processes are alive.
    pub fn busy_children(&self) -> usize {
        self.descendants().iter().filter(|process| !process.is_zombie()).count()
    }

    /// How many children it has that are alive.
    pub fn children(&self) -> usize {
        let family = self.descendants();
        family.iter().filter(|process| process.ppid == self.pid && !process.is_zombie()).count()
    }

    /// All processes that it has started and that are there, zombies too.
    pub fn descendants(&self) -> Vec<Process> {
        let mut family = self.family();
        family.retain(|process| process.pid != self.pid && !self.wrappers.contains(&process.pid));
        family
    }

    /// All processes that are there since it was started, but for the first.
    fn family(&self) -> Vec<Process> {
        let table = system::processes();
        // an orphan is of the server's group, or ours to reap: nobody else's children are
        let mut family = vec![self.leader, std::process::id() as i32];
        let mut found: Vec<Process> = Vec::new();
        let mut add = |family: &mut Vec<i32>, process: &Process| {
            let theirs = process.pid != self.leader && !self.instruments.contains(&process.pid);
            if theirs && !found.contains(process) {
                family.push(process.pid);
                found.push(process.clone());
            }
        };
        let of_group = table.iter().filter(|process| process.pgid == self.leader);
        of_group.for_each(|process| add(&mut family, process));
        while let Some(parent) = family.pop() {
            table
                .iter()
                .filter(|process| process.ppid == parent)
                .for_each(|process| add(&mut family, process));
        }
        found
    }

    /// Its processes that have ended and that it has not waited for. An orphan is not counted: to wait for
    /// it is up to the examiner, which has adopted it.
    pub fn zombies(&self) -> usize {
        let examiner = std::process::id() as i32;
        let unwaited = |process: &&Process| process.is_zombie() && process.ppid != examiner;
        self.descendants().iter().filter(unwaited).count()
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

/// More time for a server on a busy machine: one that has work and no CPU for it is not yet too late.
pub struct Grace<'a> {
    server: &'a Subject,
    timeout: Duration,
    end: Instant,
    /// What it may have used of the CPU by then, and be no victim of others; known once there is a first time.
    enough: Cell<Option<Duration>>,
}

impl Grace<'_> {
    /// For a wait of so long, from now on.
    pub fn of(server: &Subject, timeout: Duration) -> Grace<'_> {
        const LONGEST: u32 = 8;
        Grace { server, timeout, end: Instant::now() + timeout * LONGEST, enough: Cell::new(None) }
    }

    /// Whether to wait once more, as long as before.
    pub fn goes_on(&self) -> bool {
        if ffi::stop_asked().is_some() || Instant::now() > self.end || !self.server.has_work() {
            return false;
        }
        let used = self.server.cpu();
        let enough = self.enough.get().unwrap_or(used + self.timeout / 2);
        self.enough.set(Some(enough));
        used < enough
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

/// Wait until a condition holds; false if it does not within the time-out, or Ctrl-C cuts the wait short.
pub fn wait_until(timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if begun.elapsed() > timeout || ffi::stop_asked().is_some() {
            return false;
        }
        // a wait that takes long is looked at less often: each look reads the table of processes
        let pause = (begun.elapsed() / 50).clamp(LOOK, 4 * LOOK);
        let _ = nix::poll::poll(&mut [], pause.as_millis() as u8);
    }
}

/// Let a time pass; Ctrl-C cuts it short.
pub fn pass(time: Duration) {
    wait_until(time, || false);
}

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

fn pause() {
    let _ = nix::poll::poll(&mut [], LOOK.as_millis() as u8);
}
