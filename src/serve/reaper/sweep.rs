//! `waitpid(-1)` until nobody is left. The kernel walks the list of children each time.

use std::time::Instant;

use crate::ffi::{Ended, Unforked, wait4};

/// Keeps nothing of children: the kernel knows.
#[derive(Default)]
pub struct Sweep {
    due: Option<Instant>,
}

impl Sweep {
    /// See [`super::Reaper::reap`].
    pub fn reap(&mut self, now: Instant, ended: &mut Unforked<Ended>) {
        while !ended.is_full()
            && let Some(child) = wait4(-1)
        {
            ended.push(child);
        }
        self.due = ended.is_full().then_some(now);
    }

    /// When to look again though no signal comes.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}
