//! What happened to how many clients since the start.

use std::fmt::{self, Display, Formatter};
use std::time::Instant;

/// Whoever was accepted is started, refused, or waiting.
pub struct Counters {
    /// The start.
    pub since: Instant,
    /// Clients that were accepted.
    pub accepted: u64,
    /// Children that have begun.
    pub started: u64,
    /// Children that have ended.
    pub ended: u64,
    /// Clients that were closed at once.
    pub refused: u64,
    /// Tries of accept or fork for which something was missing.
    pub exhausted: u64,
}

impl Counters {
    /// All at zero, from now on.
    pub fn begin() -> Counters {
        Counters { since: Instant::now(), accepted: 0, started: 0, ended: 0, refused: 0, exhausted: 0 }
    }
}

impl Display for Counters {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Counters { accepted, started, ended, refused, exhausted, .. } = self;
        write!(
            f,
            "accepted={accepted} started={started} ended={ended} refused={refused} exhausted={exhausted}"
        )
    }
}
