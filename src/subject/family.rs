//! The processes of a server under examination: which of them it is, and which it has started.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::subject::Subject;
use crate::subject::system::{self, Process};

impl Subject {
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
    pub(super) fn family(&self) -> Vec<Process> {
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

    /// Take what is there a moment after it has served a client for what is always there.
    pub fn settle(&mut self) {
        self.wait_until(Duration::from_secs(1), || self.is_at_rest());
        self.resting = self.resting.max(self.busy_children());
    }

    /// Whether no process is there that was not there before the first client.
    pub fn is_at_rest(&self) -> bool {
        self.busy_children() <= self.resting
    }
}
