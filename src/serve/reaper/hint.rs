//! The child that SIGCHLD names, then those born lately, and all of them as often as that is cheap.
//!
//! To wait for one child by its number costs the same however many there are; to ask for any child costs more
//! the more there are. SIGCHLD names the first of those that it stands for, and most clients that come and go
//! while thousands stay are served by children born lately. Who is missed by both is found by a sweep, and
//! sweeps are kept so far apart that they never take more than a small part of the time: the bill for ten
//! thousand children is that of ten, and no zombie waits for longer than [`LONGEST`].
//!
//! (A pidfd for each child in an epoll set tells exactly who has ended, and costs nothing in the wait. But
//! fork copies the table of descriptors: with 8,000 pidfds it took three times as long.)

use std::time::{Duration, Instant};

use crate::ffi::{Ended, Unforked, wait4};

/// So many of those born lately are asked at most: more than are served at the same time while most are short.
const RECENT: usize = 64;
/// Whoever has lived for longer is likely to stay.
const LATELY: Duration = Duration::from_secs(1);
/// Sweeps take one part in so many of the time.
const SHARE: u32 = 50;
/// A walk that takes no longer is made each time.
const CHEAP: Duration = Duration::from_micros(20);
/// No sweep is put off for longer.
const LONGEST: Duration = Duration::from_millis(500);
/// Where a sweep goes on finding for longer, clients have their turn before the rest.
const TURN: Duration = Duration::from_millis(5);

/// What was born lately, and when the next sweep may be.
pub struct Hint {
    /// Who, and when; 0 is nobody. The next child takes the place of the oldest.
    recent: [(i32, Instant); RECENT],
    next: usize,
    /// None where a walk is cheap.
    not_before: Option<Instant>,
    due: Option<Instant>,
}

impl Default for Hint {
    fn default() -> Hint {
        Hint { recent: [(0, Instant::now()); RECENT], next: 0, not_before: None, due: None }
    }
}

impl Hint {
    /// A child was born.
    pub fn born(&mut self, pid: i32, now: Instant) {
        self.recent[self.next] = (pid, now);
        self.next = (self.next + 1) % RECENT;
    }

    /// See [`super::Reaper::reap`].
    pub fn reap(&mut self, named: Option<i32>, now: Instant, ended: &mut Unforked<Ended>) {
        let Some(not_before) = self.not_before else { return self.sweep(ended) };
        // 0 and less would stand for groups
        if let Some(child) = named.filter(|&pid| pid > 0).and_then(wait4) {
            ended.push(child);
        }
        self.ask_recent(now, ended);
        if not_before <= now {
            self.sweep(ended);
        } else {
            self.put_off_until(not_before);
        }
    }

    /// When to look again though no signal comes.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    fn ask_recent(&mut self, now: Instant, ended: &mut Unforked<Ended>) {
        for (pid, born) in &mut self.recent {
            if now.saturating_duration_since(*born) > LATELY {
                *pid = 0;
            } else if *pid != 0
                && !ended.is_full()
                && let Some(child) = wait4(*pid)
            {
                ended.push(child);
            }
        }
        self.forget(ended);
    }

    fn sweep(&mut self, ended: &mut Unforked<Ended>) {
        let begun = Instant::now();
        let mut walk = begun;
        loop {
            if ended.is_full() || walk - begun > TURN {
                self.put_off_until(walk);
                return self.forget(ended);
            }
            let Some(child) = wait4(-1) else { break };
            ended.push(child);
            walk = Instant::now();
        }
        self.forget(ended);
        // the walk that finds nobody tells what a walk costs, and each child that was found has cost one too
        let over = Instant::now();
        self.not_before = (over - walk > CHEAP).then(|| over + ((over - begun) * SHARE).min(LONGEST));
        self.due = None;
    }

    fn put_off_until(&mut self, then: Instant) {
        self.not_before = Some(then);
        self.due = Some(then);
    }

    fn forget(&mut self, ended: &[Ended]) {
        for (pid, _) in &mut self.recent {
            if ended.iter().any(|child| child.pid == *pid) {
                *pid = 0;
            }
        }
    }
}
