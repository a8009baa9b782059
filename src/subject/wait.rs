//! Waits for a server: they are bounded, Ctrl-C ends them early, and a server that gets too little CPU time on a busy
//! machine is given extra time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::ffi;
use crate::subject::Subject;

/// Extra time for a server on a busy machine: after a timeout, the wait is repeated while the server has work but has
/// used little CPU time.
pub struct ExtraTime<'a> {
    server: &'a Subject,
    timeout: Duration,
    end: Instant,
    /// Total CPU time of the server at which it gets no more extra time; set at the first call of `is_granted`.
    cpu_limit: Cell<Option<Duration>>,
}

impl ExtraTime<'_> {
    /// Extra time for a wait of `timeout` that begins now.
    pub fn of(server: &Subject, timeout: Duration) -> ExtraTime<'_> {
        const MAX_TIMEOUTS: u32 = 8;
        ExtraTime {
            server,
            timeout,
            end: Instant::now() + timeout * MAX_TIMEOUTS,
            cpu_limit: Cell::new(None),
        }
    }

    /// Whether to wait for another timeout.
    pub fn is_granted(&self) -> bool {
        if ffi::stop_asked().is_some() || Instant::now() > self.end || !self.server.has_work() {
            return false;
        }
        let used = self.server.cpu();
        let cpu_limit = self.cpu_limit.get().unwrap_or(used + self.timeout / 2);
        self.cpu_limit.set(Some(cpu_limit));
        used < cpu_limit
    }
}

/// Wait until a condition holds; false if it does not within the timeout, or if Ctrl-C ends the wait.
pub fn wait_until(timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if begun.elapsed() > timeout || ffi::stop_asked().is_some() {
            return false;
        }
        // test less often in a long wait: most conditions read the process table
        let interval = (begun.elapsed() / 50).clamp(INTERVAL, 4 * INTERVAL);
        let _ = nix::poll::poll(&mut [], interval.as_millis() as u8);
    }
}

/// Sleep; Ctrl-C ends it early.
pub fn sleep(time: Duration) {
    wait_until(time, || false);
}

/// The time between two tests of a condition.
const INTERVAL: Duration = Duration::from_millis(5);

/// Sleep for one interval.
pub fn sleep_interval() {
    let _ = nix::poll::poll(&mut [], INTERVAL.as_millis() as u8);
}
