//! Reaps the children that have ended, in one of two ways.

mod hint;
mod sweep;

use std::time::Instant;

use crate::ffi::{Ended, Unforked};
use crate::serve::reaper::hint::HintReaper;
use crate::serve::reaper::sweep::SweepReaper;

/// How children are reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Wait for the child that SIGCHLD names, for recent children, and from time to time for all: costs the same with
    /// ten thousand children as with ten
    Hint,
    /// At each SIGCHLD, call waitpid(-1) until no ended child is left: costs more the more children there are
    Sigchld,
}

/// Reaps children that have ended. It is not boxed, so that it shares a page with the rest of the parent's state.
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as the server runs")]
pub enum Reaper {
    /// [`Kind::Hint`]
    Hint(HintReaper),
    /// [`Kind::Sigchld`]
    Sweep(SweepReaper),
}

impl Reaper {
    /// The reaper of this kind.
    pub fn new(kind: Kind) -> Reaper {
        match kind {
            Kind::Hint => Reaper::Hint(HintReaper::default()),
            Kind::Sigchld => Reaper::Sweep(SweepReaper::default()),
        }
    }

    /// Take note of a new child.
    pub fn child_started(&mut self, pid: i32, now: Instant) {
        match self {
            Reaper::Hint(hint) => hint.child_started(pid, now),
            Reaper::Sweep(_) => {}
        }
    }

    /// Reap children that have ended, and list them. Called after SIGCHLD, with the child that it names, or when
    /// [`Reaper::next_check`] is due. If the list gets full, the next check is due at once.
    pub fn reap(&mut self, named: Option<i32>, now: Instant, ended: &mut Unforked<Ended>) {
        match self {
            Reaper::Hint(hint) => hint.reap(named, now, ended),
            Reaper::Sweep(sweep) => sweep.reap(now, ended),
        }
    }

    /// When to reap again even if no signal comes.
    pub fn next_check(&self) -> Option<Instant> {
        match self {
            Reaper::Hint(hint) => hint.next_check(),
            Reaper::Sweep(sweep) => sweep.next_check(),
        }
    }
}
