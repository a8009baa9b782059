//! The live children: their start times, their deadlines, and the signals sent to their process groups.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

use crate::error::strerror;
use crate::serve::limits::Source;
use crate::serve::log;
use crate::serve::table::Table;

/// The time between SIGTERM and SIGKILL.
const TERM_TO_KILL: Duration = Duration::from_secs(2);
/// The time between the hangup of a client and SIGTERM for its child, which may be about to exit by itself.
const GONE_TO_TERM: Duration = Duration::from_millis(200);
/// How often to check whether the process groups of reaped children are empty.
const GROUP_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The most process IDs that Linux can be set to have (`PID_MAX_LIMIT`).
pub const MAX_CHILDREN: usize = 1 << 22;

/// A child that serves a client.
#[derive(Clone, Copy)]
pub struct Child {
    /// The address of its client.
    pub client: SocketAddr,
    /// The client's source, for the limits.
    pub source: Source,
    /// When it was forked.
    pub started: Instant,
    /// Its number among all children that this server has started: unlike a process ID, it is never reused.
    pub serial: u64,
    /// SIGTERM was sent to its process group.
    sigterm_sent: bool,
    /// SIGKILL failed: it runs as another user, and the server lacks the right to signal it.
    kill_denied: bool,
}

/// When to signal a child's process group. The serial number tells the child from a later one with the same process ID.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    pid: i32,
    serial: u64,
}

/// All live children, and their deadlines. All deadlines in one queue have the same delay, so the queue is in order.
pub struct Children {
    live: Table<Child>,
    next_serial: u64,
    timeout: Option<Duration>,
    /// The children for which the time-out still counts, by serial number: the oldest comes first.
    timeouts: BTreeMap<u64, i32>,
    /// When to terminate children whose clients have gone.
    gone_clients: VecDeque<Deadline>,
    /// When to kill groups to which SIGTERM was sent. A group may still have processes after its child was reaped.
    kills: VecDeque<Deadline>,
    next_group_check: Option<Instant>,
}

impl Children {
    /// No children yet, and space for `max` of them. With a time-out, each child is terminated when it is that old.
    pub fn new(max: usize, timeout: Option<Duration>) -> Result<Children, Errno> {
        Ok(Children {
            live: Table::with_capacity(max)?,
            next_serial: 0,
            timeout,
            timeouts: BTreeMap::new(),
            gone_clients: VecDeque::new(),
            kills: VecDeque::new(),
            next_group_check: None,
        })
    }

    /// How many children are live.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there is nothing left to wait for: no child that can be killed, and no process in a group to which
    /// SIGTERM was sent.
    pub fn is_empty(&self) -> bool {
        self.live.iter().all(|(_, child)| child.kill_denied) && self.kills.is_empty()
    }

    /// The serial number of the next child.
    pub fn next_serial(&self) -> u64 {
        self.next_serial
    }

    /// Add a child that was just forked.
    pub fn add(&mut self, pid: i32, client: SocketAddr, now: Instant) {
        let serial = self.next_serial;
        self.next_serial += 1;
        if self.timeout.is_some() {
            self.timeouts.insert(serial, pid);
        }
        // the kernel reuses a process ID only after the group of that number is empty
        self.kills.retain(|kill| kill.pid != pid);
        let source = Source::of(client.ip());
        let child = Child { client, source, started: now, serial, sigterm_sent: false, kill_denied: false };
        let inserted = self.live.insert(pid, child);
        debug_assert!(inserted, "there are never more children than the table has space for");
    }

    /// Remove a child that was reaped; `None` if this server did not start it.
    pub fn remove(&mut self, pid: i32) -> Option<Child> {
        let child = self.live.remove(pid)?;
        self.timeouts.remove(&child.serial);
        if child.sigterm_sent && killpg(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            // its group is empty, and the kernel may reuse the number
            self.kills.retain(|kill| kill.serial != child.serial);
        }
        Some(child)
    }

    /// The client of a child has closed both directions or reset the connection. `serial` is the lower half of the
    /// child's serial number.
    pub fn client_gone(&mut self, serial: u32, pid: i32, now: Instant) {
        let is_same_child = |child: &&Child| child.serial as u32 == serial;
        let Some(serial) = self.live.get(pid).filter(is_same_child).map(|child| child.serial) else { return };
        self.gone_clients.push_back(Deadline { at: now + GONE_TO_TERM, pid, serial });
    }

    /// Send SIGTERM to all children, and plan SIGKILL.
    pub fn terminate_all(&mut self, now: Instant, why: &str) {
        let all: Vec<i32> = self.live.iter().map(|(pid, _)| pid).collect();
        all.into_iter().for_each(|pid| self.terminate(pid, now, why));
    }

    /// Let the next [`Children::run_deadlines`] send every planned SIGKILL.
    pub fn make_kills_due(&mut self, now: Instant) {
        self.kills.iter_mut().for_each(|kill| kill.at = now);
    }

    /// Signal a child's process group. Signal the child itself too, if it was not reaped yet and the signal to the
    /// group may have missed it: it may not have made its group yet, or have moved to another, or be the one process
    /// of its group that this server may not signal.
    fn signal(&self, pid: i32, signal: Signal) -> Result<(), Errno> {
        let child = Pid::from_raw(pid);
        let group = killpg(child, signal);
        let is_live = self.live.get(pid).is_some();
        // a program should get SIGTERM only once; a second SIGKILL does no harm
        let group_reached_it =
            signal != Signal::SIGKILL && group.is_ok() && getpgid(Some(child)) == Ok(child);
        if is_live && !group_reached_it { kill(child, signal) } else { group }
    }

    /// Send the signals that are due by now.
    pub fn run_deadlines(&mut self, now: Instant) {
        while let Some((pid, _)) = self.next_timeout().filter(|timeout| timeout.1 <= now) {
            self.terminate(pid, now, "timeout");
        }
        while let Some(due) = pop_due(&mut self.gone_clients, now) {
            self.terminate_if_live(due, now, "client-gone");
        }
        while let Some(due) = pop_due(&mut self.kills, now) {
            match self.signal(due.pid, Signal::SIGKILL) {
                Ok(()) => log::ending(due.pid, Signal::SIGKILL, "still-there"),
                // the whole group has ended in the meantime
                Err(Errno::ESRCH) => {}
                Err(errno) => {
                    log::failed(due.pid as u32, "kill", strerror(errno));
                    if let Some(child) = self.live.get_mut(due.pid) {
                        child.kill_denied = true;
                    }
                }
            }
        }
        if self.next_group_check.is_none_or(|check| check <= now) {
            self.drop_empty_groups(now);
        }
    }

    /// Cancel SIGKILL for each reaped child whose group is empty: the kernel may reuse the number of the group.
    fn drop_empty_groups(&mut self, now: Instant) {
        let live = &self.live;
        self.kills
            .retain(|kill| is_live(live, kill) || killpg(Pid::from_raw(kill.pid), None) != Err(Errno::ESRCH));
        let groups_remain = self.kills.iter().any(|kill| !is_live(live, kill));
        self.next_group_check = groups_remain.then(|| now + GROUP_CHECK_INTERVAL);
    }

    /// When [`Children::run_deadlines`] next has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let queued =
            [&self.gone_clients, &self.kills].into_iter().filter_map(|queue| Some(queue.front()?.at));
        queued.chain(self.next_timeout().map(|timeout| timeout.1)).chain(self.next_group_check).min()
    }

    /// The child whose time-out comes first, and when.
    fn next_timeout(&self) -> Option<(i32, Instant)> {
        let pid = *self.timeouts.values().next()?;
        Some((pid, self.live.get(pid)?.started + self.timeout?))
    }

    fn terminate_if_live(&mut self, due: Deadline, now: Instant, why: &str) {
        if is_live(&self.live, &due) {
            self.terminate(due.pid, now, why);
        }
    }

    /// Send SIGTERM to a child's group, and plan SIGKILL; only once per child.
    fn terminate(&mut self, pid: i32, now: Instant, why: &str) {
        let Some(child) = self.live.get_mut(pid) else { return };
        if child.sigterm_sent {
            return;
        }
        child.sigterm_sent = true;
        self.timeouts.remove(&child.serial);
        self.kills.push_back(Deadline { at: now + TERM_TO_KILL, pid, serial: child.serial });
        log::ending(pid, Signal::SIGTERM, why);
        // ESRCH: the child has ended, and is about to be reaped
        let _ = self.signal(pid, Signal::SIGTERM);
    }
}

/// Whether the child of a deadline is live: not ended, and not replaced by another with its process ID.
fn is_live(live: &Table<Child>, due: &Deadline) -> bool {
    live.get(due.pid).is_some_and(|child| child.serial == due.serial)
}

/// Remove the first deadline of a queue, if it is due by now.
fn pop_due(queue: &mut VecDeque<Deadline>, now: Instant) -> Option<Deadline> {
    let due = *queue.front().filter(|due| due.at <= now)?;
    queue.pop_front();
    Some(due)
}
