//! Reaps with `waitpid(-1)` until no ended child is left. The kernel walks the list of children at each call.

use std::time::Instant;

use crate::ffi::{Ended, Unforked, wait4};

/// It keeps no list of children: the kernel has one.
#[derive(Default)]
pub struct SweepReaper {
    next_check: Option<Instant>,
}

impl SweepReaper {
    /// See [`super::Reaper::reap`].
    pub fn reap(&mut self, now: Instant, ended: &mut Unforked<Ended>) {
        while !ended.is_full()
            && let Some(child) = wait4(-1)
        {
            ended.push(child);
        }
        self.next_check = ended.is_full().then_some(now);
    }

    /// When to reap again even if no signal comes.
    pub fn next_check(&self) -> Option<Instant> {
        self.next_check
    }
}
