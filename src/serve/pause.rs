//! Pauses: times when the server listens but accepts no client. Also limits how often they are logged.

use std::time::{Duration, Instant};

/// How long to wait after a resource was exhausted, before the next try.
pub const BACK_OFF: Duration = Duration::from_millis(100);
/// A pause is logged only if the last logged pause began at least this long ago.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The current pause, if there is one, and when a pause was last logged.
#[derive(Default)]
pub struct Pauses {
    current: Option<Pause>,
    last_logged: Option<Instant>,
}

struct Pause {
    /// When it ends; `None` if it ends once another child may be started.
    until: Option<Instant>,
    logged: bool,
}

impl Pauses {
    /// Begin a pause, or change the end of the current one. Returns whether to log it.
    pub fn begin(&mut self, until: Option<Instant>, now: Instant) -> bool {
        if let Some(pause) = &mut self.current {
            pause.until = until;
            return false;
        }
        let logged = self.last_logged.is_none_or(|last| now - last >= LOG_INTERVAL);
        if logged {
            self.last_logged = Some(now);
        }
        self.current = Some(Pause { until, logged });
        logged
    }

    /// End the current pause, if there is one. Returns whether to log it: only if its beginning was logged.
    pub fn end(&mut self) -> bool {
        self.current.take().is_some_and(|pause| pause.logged)
    }

    /// Whether accepting is paused.
    pub fn is_paused(&self) -> bool {
        self.current.is_some()
    }

    /// Whether there is a pause that ends once another child may be started.
    pub fn waits_for_slot(&self) -> bool {
        self.current.as_ref().is_some_and(|pause| pause.until.is_none())
    }

    /// When the current pause ends; `None` if it waits for a child to end, or if there is no pause.
    pub fn until(&self) -> Option<Instant> {
        self.current.as_ref()?.until
    }
}
