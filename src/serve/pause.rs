//! When no client is accepted though the server listens, and how often that is said.

use std::time::{Duration, Instant};

/// How long exhaustion is waited out before the next try.
pub const BACK_OFF: Duration = Duration::from_millis(100);
/// Paused and resumed are said once in such a time.
const SAID_AGAIN: Duration = Duration::from_secs(1);

/// Whether there is a pause, and when one was last said.
#[derive(Default)]
pub struct Pauses {
    on: Option<Pause>,
    last_said: Option<Instant>,
}

struct Pause {
    /// When it ends by itself; none: when there is room.
    until: Option<Instant>,
    said: bool,
}

impl Pauses {
    /// No client is accepted until then, or until there is room. Whether that is to be said.
    pub fn begin(&mut self, until: Option<Instant>, now: Instant) -> bool {
        if let Some(pause) = &mut self.on {
            pause.until = until;
            return false;
        }
        let said = self.last_said.is_none_or(|last| now - last >= SAID_AGAIN);
        if said {
            self.last_said = Some(now);
        }
        self.on = Some(Pause { until, said });
        said
    }

    /// Clients are accepted. Whether that is to be said.
    pub fn end(&mut self) -> bool {
        self.on.take().is_some_and(|pause| pause.said)
    }

    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// Whether there is one that ends when there is room.
    pub fn waits_for_room(&self) -> bool {
        self.on.as_ref().is_some_and(|pause| pause.until.is_none())
    }

    /// When it ends by itself.
    pub fn until(&self) -> Option<Instant> {
        self.on.as_ref()?.until
    }
}
