//! Reaps the child that SIGCHLD names, then recently started children, and all children as often as that is cheap.
//!
//! To wait for one child by its process ID costs the same however many children there are; to wait for any child costs
//! more the more there are. SIGCHLD names the first of the children that it stands for. When thousands of clients stay
//! and others come and go, those that go are mostly served by recent children. A child that neither way finds is found
//! by a sweep, which waits for any child until no ended child is left. Sweeps are so far apart that they take only a
//! small part of the time, so ten thousand children cost the same as ten, and no zombie stays longer than
//! [`MAX_SWEEP_DELAY`].
//!
//! (A pidfd for each child in an epoll set would tell exactly which children have ended, at no cost during the wait.
//! But fork copies the table of descriptors: with 8,000 pidfds, it took three times as long.)

use std::time::{Duration, Instant};

use crate::ffi::{Ended, Unforked, wait4};

/// How many recent children are remembered: more than are served at the same time while most connections are short.
const MAX_RECENT: usize = 64;
/// How long a child counts as recent: one that has lived longer is likely to stay.
const RECENT_AGE: Duration = Duration::from_secs(1);
/// The delay after a sweep is this many times as long as the sweep took.
const DELAY_FACTOR: u32 = 50;
/// If one walk through the children takes no longer than this, each reap is a sweep.
const CHEAP_WALK: Duration = Duration::from_micros(20);
/// The longest delay after a sweep.
const MAX_SWEEP_DELAY: Duration = Duration::from_millis(500);
/// A sweep that takes longer than this is interrupted, so that clients do not wait for it.
const MAX_SWEEP_TIME: Duration = Duration::from_millis(5);

/// The recent children, and the times of the next sweep and the next check.
pub struct HintReaper {
    /// Process IDs and start times; ID 0 is an empty place. A new child takes the place of the oldest.
    recent: [(i32, Instant); MAX_RECENT],
    next_recent: usize,
    /// Not before this time; `None` while a walk is cheap.
    next_sweep: Option<Instant>,
    /// When to reap again even if no signal comes.
    next_check: Option<Instant>,
}

impl Default for HintReaper {
    fn default() -> HintReaper {
        HintReaper {
            recent: [(0, Instant::now()); MAX_RECENT],
            next_recent: 0,
            next_sweep: None,
            next_check: None,
        }
    }
}

impl HintReaper {
    /// Remember a new child.
    pub fn child_started(&mut self, pid: i32, now: Instant) {
        self.recent[self.next_recent] = (pid, now);
        self.next_recent = (self.next_recent + 1) % MAX_RECENT;
    }

    /// See [`super::Reaper::reap`].
    pub fn reap(&mut self, named: Option<i32>, now: Instant, ended: &mut Unforked<Ended>) {
        let Some(next_sweep) = self.next_sweep else { return self.sweep(ended) };
        // to wait4, 0 and negative numbers stand for process groups
        if let Some(child) = named.filter(|&pid| pid > 0).and_then(wait4) {
            ended.push(child);
        }
        self.reap_recent(now, ended);
        if next_sweep <= now {
            self.sweep(ended);
        } else {
            self.schedule_sweep(next_sweep);
        }
    }

    /// When to reap again even if no signal comes.
    pub fn next_check(&self) -> Option<Instant> {
        self.next_check
    }

    fn reap_recent(&mut self, now: Instant, ended: &mut Unforked<Ended>) {
        for (pid, started) in &mut self.recent {
            if now.saturating_duration_since(*started) > RECENT_AGE {
                *pid = 0;
            } else if *pid != 0
                && !ended.is_full()
                && let Some(child) = wait4(*pid)
            {
                ended.push(child);
            }
        }
        self.forget_reaped(ended);
    }

    /// Reap any child until no ended child is left, the list is full, or the time is up.
    fn sweep(&mut self, ended: &mut Unforked<Ended>) {
        let begun = Instant::now();
        let mut last_walk = begun;
        loop {
            if ended.is_full() || last_walk - begun > MAX_SWEEP_TIME {
                self.schedule_sweep(last_walk);
                return self.forget_reaped(ended);
            }
            let Some(child) = wait4(-1) else { break };
            ended.push(child);
            last_walk = Instant::now();
        }
        self.forget_reaped(ended);
        // the last walk, which found no child, shows what one walk costs; each child found has cost a walk too, so the
        // delay depends on the whole sweep
        let end = Instant::now();
        self.next_sweep =
            (end - last_walk > CHEAP_WALK).then(|| end + ((end - begun) * DELAY_FACTOR).min(MAX_SWEEP_DELAY));
        self.next_check = None;
    }

    fn schedule_sweep(&mut self, at: Instant) {
        self.next_sweep = Some(at);
        self.next_check = Some(at);
    }

    fn forget_reaped(&mut self, ended: &[Ended]) {
        for (pid, _) in &mut self.recent {
            if ended.iter().any(|child| child.pid == *pid) {
                *pid = 0;
            }
        }
    }
}
