//! Who has ended: one door, and two rooms behind it.

mod hint;
mod sweep;

use std::time::Instant;

use crate::ffi::{Ended, Unforked};
use crate::serve::reaper::hint::Hint;
use crate::serve::reaper::sweep::Sweep;

/// How children are reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The child that SIGCHLD names, those born lately, and now and then all: as dear with ten thousand
    /// children as with ten
    Hint,
    /// waitpid(-1) until nobody is left, at each SIGCHLD: dearer the more children there are
    Sigchld,
}

/// What has children, and reaps those that have ended.
pub trait Reaper {
    /// A child was born.
    fn born(&mut self, pid: i32, now: Instant);

    /// SIGCHLD has come, and may have named a child, or a look that was put off is due: give one after the
    /// other who has ended. Where that fills the list, a look for the others is due at once.
    fn reap(&mut self, named: Option<i32>, now: Instant, ended: &mut Unforked<Ended>);

    /// When to look again though no signal comes.
    fn due(&self) -> Option<Instant>;
}

/// One of the rooms; no box, so that what it writes to stands beside what its owner does.
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as the server runs")]
pub enum Room {
    /// [`Kind::Hint`]
    Hint(Hint),
    /// [`Kind::Sigchld`]
    Sweep(Sweep),
}

impl Room {
    /// The room that is asked for.
    pub fn of(kind: Kind) -> Room {
        match kind {
            Kind::Hint => Room::Hint(Hint::default()),
            Kind::Sigchld => Room::Sweep(Sweep::default()),
        }
    }
}

impl Reaper for Room {
    fn born(&mut self, pid: i32, now: Instant) {
        match self {
            Room::Hint(room) => room.born(pid, now),
            Room::Sweep(room) => room.born(pid, now),
        }
    }

    fn reap(&mut self, named: Option<i32>, now: Instant, ended: &mut Unforked<Ended>) {
        match self {
            Room::Hint(room) => room.reap(named, now, ended),
            Room::Sweep(room) => room.reap(named, now, ended),
        }
    }

    fn due(&self) -> Option<Instant> {
        match self {
            Room::Hint(room) => room.due(),
            Room::Sweep(room) => room.due(),
        }
    }
}
