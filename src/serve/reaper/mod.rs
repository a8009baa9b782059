//! Which children have ended, found in one of two ways.

mod hint;
mod sweep;

use std::time::Instant;

use crate::ffi::{Ended, Unforked};
use crate::serve::reaper::hint::Hint;
use crate::serve::reaper::sweep::Sweep;

/// How children are reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The child that SIGCHLD names, those born lately, and now and then all: costs the same with ten thousand
    /// children as with ten
    Hint,
    /// waitpid(-1) until no child is left that has ended, at each SIGCHLD: costs more the more children there are
    Sigchld,
}

/// What reaps children that have ended; not boxed, so that what it writes to stands beside what its owner writes to.
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as the server runs")]
pub enum Reaper {
    /// [`Kind::Hint`]
    Hint(Hint),
    /// [`Kind::Sigchld`]
    Sweep(Sweep),
}

impl Reaper {
    /// The one that is asked for.
    pub fn new(kind: Kind) -> Reaper {
        match kind {
            Kind::Hint => Reaper::Hint(Hint::default()),
            Kind::Sigchld => Reaper::Sweep(Sweep::default()),
        }
    }

    /// A child was born.
    pub fn born(&mut self, pid: i32, now: Instant) {
        match self {
            Reaper::Hint(hint) => hint.born(pid, now),
            Reaper::Sweep(_) => {}
        }
    }

    /// SIGCHLD has come, and may have named a child, or a look that was put off is due: list the children that have
    /// ended. Where that fills the list, a look for the others is due at once.
    pub fn reap(&mut self, named: Option<i32>, now: Instant, ended: &mut Unforked<Ended>) {
        match self {
            Reaper::Hint(hint) => hint.reap(named, now, ended),
            Reaper::Sweep(sweep) => sweep.reap(now, ended),
        }
    }

    /// When to look again though no signal comes.
    pub fn due(&self) -> Option<Instant> {
        match self {
            Reaper::Hint(hint) => hint.due(),
            Reaper::Sweep(sweep) => sweep.due(),
        }
    }
}
