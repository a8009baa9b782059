//! Waits for what a server does: bounded, cut short by Ctrl-C, and longer where a busy machine keeps the server from
//! its work.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::ffi;
use crate::subject::Subject;

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

/// Let a moment pass.
pub fn pause() {
    let _ = nix::poll::poll(&mut [], LOOK.as_millis() as u8);
}
