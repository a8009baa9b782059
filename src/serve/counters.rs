//! Counters of clients and children since the server's start.

use std::fmt::{self, Display, Formatter};
use std::time::Instant;

/// Every accepted client gets a child, is refused, or still waits.
pub struct Counters {
    /// When the server began.
    pub begun: Instant,
    /// Clients that were accepted.
    pub accepted: u64,
    /// Children that were forked for a client.
    pub started: u64,
    /// Children that have ended.
    pub ended: u64,
    /// Clients whose connection was closed without a child.
    pub refused: u64,
    /// Calls of accept or fork that failed because a resource was exhausted.
    pub exhausted: u64,
}

impl Counters {
    /// All counters at zero, from now on.
    pub fn begin() -> Counters {
        Counters { begun: Instant::now(), accepted: 0, started: 0, ended: 0, refused: 0, exhausted: 0 }
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
