//! Who is alive, since when, and until when.

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

/// Between SIGTERM and SIGKILL.
const TERM_TO_KILL: Duration = Duration::from_secs(2);
/// A child whose client has gone may be about to end by itself.
const GONE_TO_TERM: Duration = Duration::from_millis(200);
/// Between two looks at the groups of children that were waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Linux has at most so many numbers for processes.
pub const MOST: usize = 1 << 22;

/// A child that serves a client.
#[derive(Clone, Copy)]
pub struct Child {
    /// The address of its client.
    pub client: SocketAddr,
    /// The client's source, for the limits.
    pub source: Source,
    /// Since when.
    pub begun: Instant,
    /// Which of all children it is: a number of a process comes again.
    pub serial: u64,
    /// Its group has been told to end.
    told: bool,
    /// Its group may not be killed: another user's, and this server has not the right.
    untouchable: bool,
}

/// What is to be done to a child's group, if the child is the one that was meant.
#[derive(Clone, Copy)]
struct Due {
    when: Instant,
    pid: i32,
    serial: u64,
}

/// All children, and what is due for them. Each queue holds what comes after the same time, and so is in order.
pub struct Children {
    alive: Table<Child>,
    born: u64,
    timeout: Option<Duration>,
    /// Those for whom a time-out is due, by age.
    by_age: BTreeMap<u64, i32>,
    gone: VecDeque<Due>,
    kills: VecDeque<Due>,
    look: Option<Instant>,
}

impl Children {
    /// Nobody, and room for so many; each is to be ended after a time, if one is given.
    pub fn new(room: usize, timeout: Option<Duration>) -> Result<Children, Errno> {
        Ok(Children {
            alive: Table::with_room(room)?,
            born: 0,
            timeout,
            by_age: BTreeMap::new(),
            gone: VecDeque::new(),
            kills: VecDeque::new(),
            look: None,
        })
    }

    /// How many serve.
    pub fn len(&self) -> usize {
        self.alive.len()
    }

    /// Whether there is nobody to wait for: no child but those that cannot be ended, and nothing of the
    /// group of one that was told to end.
    pub fn is_empty(&self) -> bool {
        self.alive.iter().all(|(_, child)| child.untouchable) && self.kills.is_empty()
    }

    /// The number that the next child will have among all.
    pub fn next_serial(&self) -> u64 {
        self.born
    }

    /// A child was born.
    pub fn add(&mut self, pid: i32, client: SocketAddr, now: Instant) {
        let serial = self.born;
        self.born += 1;
        if self.timeout.is_some() {
            self.by_age.insert(serial, pid);
        }
        // a number that comes again is nobody's group any more
        self.kills.retain(|kill| kill.pid != pid);
        let source = Source::of(client.ip());
        let known = self
            .alive
            .insert(pid, Child { client, source, begun: now, serial, told: false, untouchable: false });
        debug_assert!(known, "there are no more children than may be");
    }

    /// A child has ended, and was waited for. None: it was none of ours.
    pub fn remove(&mut self, pid: i32) -> Option<Child> {
        let child = self.alive.remove(pid)?;
        self.by_age.remove(&child.serial);
        if child.told && killpg(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            // nothing is left of its group, and its number may come again
            self.kills.retain(|kill| kill.serial != child.serial);
        }
        Some(child)
    }

    /// The client of a child has wholly gone.
    pub fn client_gone(&mut self, serial: u32, pid: i32, now: Instant) {
        let meant = |child: &&Child| child.serial as u32 == serial;
        let Some(serial) = self.alive.get(pid).filter(meant).map(|child| child.serial) else { return };
        self.gone.push_back(Due { when: now + GONE_TO_TERM, pid, serial });
    }

    /// Tell all to end.
    pub fn end_all(&mut self, now: Instant, why: &str) {
        let all: Vec<i32> = self.alive.iter().map(|(pid, _)| pid).collect();
        all.into_iter().for_each(|pid| self.tell(pid, now, why));
    }

    /// Whoever was told to end has had the time for it.
    pub fn wait_no_longer(&mut self, now: Instant) {
        self.kills.iter_mut().for_each(|kill| kill.when = now);
    }

    /// Signal a child's group; and the child itself, until it was waited for, where it may have no group yet, or have
    /// gone to another, or be the one of its group that may not be killed.
    fn signal(&self, pid: i32, signal: Signal) -> Result<(), Errno> {
        let child = Pid::from_raw(pid);
        let group = killpg(child, signal);
        let there = self.alive.get(pid).is_some();
        // what a program does at SIGTERM it should do once
        let reached = signal != Signal::SIGKILL && group.is_ok() && getpgid(Some(child)) == Ok(child);
        if there && !reached { kill(child, signal) } else { group }
    }

    /// Do what is due by now.
    pub fn act(&mut self, now: Instant) {
        while let Some((pid, _)) = self.oldest().filter(|oldest| oldest.1 <= now) {
            self.tell(pid, now, "timeout");
        }
        while let Some(due) = next(&mut self.gone, now) {
            self.tell_if(due, now, "client-gone");
        }
        while let Some(due) = next(&mut self.kills, now) {
            match self.signal(due.pid, Signal::SIGKILL) {
                Ok(()) => log::ending(due.pid, Signal::SIGKILL, "still-there"),
                // it has ended in the meantime
                Err(Errno::ESRCH) => {}
                Err(errno) => {
                    log::failed(due.pid as u32, "kill", strerror(errno));
                    if let Some(child) = self.alive.get_mut(due.pid) {
                        child.untouchable = true;
                    }
                }
            }
        }
        if self.look.is_none_or(|look| look <= now) {
            self.look_at_groups(now);
        }
    }

    /// Once the group of a child that was waited for is empty, its number may come again.
    fn look_at_groups(&mut self, now: Instant) {
        let alive = &self.alive;
        self.kills.retain(|kill| {
            is_alive(alive, kill) || killpg(Pid::from_raw(kill.pid), None) != Err(Errno::ESRCH)
        });
        let left_alone = self.kills.iter().any(|kill| !is_alive(alive, kill));
        self.look = left_alone.then(|| now + LOOK);
    }

    /// When something is due next.
    pub fn due(&self) -> Option<Instant> {
        let queued = [&self.gone, &self.kills].into_iter().filter_map(|queue| Some(queue.front()?.when));
        queued.chain(self.oldest().map(|oldest| oldest.1)).chain(self.look).min()
    }

    /// Whose time is over first, and when.
    fn oldest(&self) -> Option<(i32, Instant)> {
        let pid = *self.by_age.values().next()?;
        Some((pid, self.alive.get(pid)?.begun + self.timeout?))
    }

    fn tell_if(&mut self, due: Due, now: Instant, why: &str) {
        if is_alive(&self.alive, &due) {
            self.tell(due.pid, now, why);
        }
    }

    fn tell(&mut self, pid: i32, now: Instant, why: &str) {
        let Some(child) = self.alive.get_mut(pid) else { return };
        if child.told {
            return;
        }
        child.told = true;
        self.by_age.remove(&child.serial);
        self.kills.push_back(Due { when: now + TERM_TO_KILL, pid, serial: child.serial });
        log::ending(pid, Signal::SIGTERM, why);
        // ESRCH: it has ended, and is about to be waited for
        let _ = self.signal(pid, Signal::SIGTERM);
    }
}

/// Whether the child that was meant is there, and not another of its number.
fn is_alive(alive: &Table<Child>, due: &Due) -> bool {
    alive.get(due.pid).is_some_and(|child| child.serial == due.serial)
}

/// What is due first, if it is due by now.
fn next(queue: &mut VecDeque<Due>, now: Instant) -> Option<Due> {
    let due = *queue.front().filter(|due| due.when <= now)?;
    queue.pop_front();
    Some(due)
}
