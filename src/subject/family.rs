//! The processes of a server under examination: which one is the server, and which ones it started.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::subject::Subject;
use crate::subject::system::{self, Process};

impl Subject {
    /// Find the server's process, which a script may have started, and count its descendants before the first client
    /// connects. False: the server belongs to another user, so this process cannot signal it.
    pub fn find_server_process(&mut self) -> bool {
        let sockets = system::listening_sockets(self.port);
        if !sockets.is_empty() && !system::has_any_open(self.leader, &sockets) {
            let family = self.family();
            let holders: Vec<&Process> =
                family.iter().filter(|process| system::has_any_open(process.pid, &sockets)).collect();
            // the processes that have the listening socket open, but whose parent does not
            let is_first = |one: &Process| holders.iter().all(|other| other.pid != one.ppid);
            let first: Vec<&Process> = holders.iter().copied().filter(|one| is_first(one)).collect();
            let ours = |pid: i32| pid == self.leader || family.iter().any(|process| process.pid == pid);
            match first.as_slice() {
                [] => self.hidden = !family.is_empty(),
                // several siblings listen, as with SO_REUSEPORT: their parent is the server
                [one, other, ..] if one.ppid == other.ppid && ours(one.ppid) => {
                    self.set_server_process(one.ppid, &family);
                }
                [one, ..] => self.set_server_process(one.pid, &family),
            }
        }
        self.idle_processes = self.live_descendants();
        kill(Pid::from_raw(self.pid), None) != Err(Errno::EPERM)
    }

    /// Take this process for the server. Its ancestors, up to the leader, are wrappers, which only wait for it.
    fn set_server_process(&mut self, pid: i32, family: &[Process]) {
        let known = |of: i32| family.iter().find(|process| process.pid == of);
        let parent = |of: i32| known(of).map(|process| process.ppid);
        self.pid = pid;
        self.wrappers = std::iter::successors(parent(pid), |&one| parent(one)).collect();
        self.wrappers.retain(|&one| one == self.leader || known(one).is_some());
    }

    /// The number of live descendants of the server.
    pub fn live_descendants(&self) -> usize {
        self.descendants().iter().filter(|process| !process.is_zombie()).count()
    }

    /// The number of live children of the server.
    pub fn live_children(&self) -> usize {
        let family = self.descendants();
        family.iter().filter(|process| process.ppid == self.pid && !process.is_zombie()).count()
    }

    /// All descendants of the server, including zombies.
    pub fn descendants(&self) -> Vec<Process> {
        let mut family = self.family();
        family.retain(|process| process.pid != self.pid && !self.wrappers.contains(&process.pid));
        family
    }

    /// All processes that were started since, and by, the leader; the leader itself is not included.
    pub(super) fn family(&self) -> Vec<Process> {
        let table = system::processes();
        // an orphan is still in the leader's process group, or this process has adopted it
        let mut parents = vec![self.leader, std::process::id() as i32];
        let mut found: Vec<Process> = Vec::new();
        let mut add = |parents: &mut Vec<i32>, process: &Process| {
            let belongs = process.pid != self.leader && !self.unrelated_children.contains(&process.pid);
            if belongs && !found.contains(process) {
                parents.push(process.pid);
                found.push(process.clone());
            }
        };
        let in_group = table.iter().filter(|process| process.pgid == self.leader);
        in_group.for_each(|process| add(&mut parents, process));
        while let Some(parent) = parents.pop() {
            table
                .iter()
                .filter(|process| process.ppid == parent)
                .for_each(|process| add(&mut parents, process));
        }
        found
    }

    /// The number of zombies among its descendants. An adopted orphan does not count: the examiner has to reap it, not
    /// the server.
    pub fn zombies(&self) -> usize {
        let examiner = std::process::id() as i32;
        let unwaited = |process: &&Process| process.is_zombie() && process.ppid != examiner;
        self.descendants().iter().filter(unwaited).count()
    }

    /// After the server has served a client, wait a moment, then count the processes that remain as idle ones.
    pub fn update_idle_processes(&mut self) {
        self.wait_until(Duration::from_secs(1), || self.is_idle());
        self.idle_processes = self.idle_processes.max(self.live_descendants());
    }

    /// Whether the server has no more descendants than before the first client.
    pub fn is_idle(&self) -> bool {
        self.live_descendants() <= self.idle_processes
    }
}
