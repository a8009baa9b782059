//! `waitpid(-1)` until nobody is left. The kernel walks the list of children each time.

use std::time::Instant;

use crate::ffi::{Ended, Unforked, wait4};
use crate::serve::reaper::Reaper;

/// Keeps nothing of children: the kernel knows.
#[derive(Default)]
pub struct Sweep {
    due: Option<Instant>,
}

impl Reaper for Sweep {
    fn born(&mut self, _pid: i32, _now: Instant) {}

    fn reap(&mut self, _named: Option<i32>, now: Instant, ended: &mut Unforked<Ended>) {
        while !ended.is_full()
            && let Some(child) = wait4(-1)
        {
            ended.push(child);
        }
        self.due = ended.is_full().then_some(now);
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }
}
