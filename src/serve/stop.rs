//! How a server ends: it closes the door, lets children finish, tells them to end, kills them.

use std::time::{Duration, Instant};

/// Signals to stop that come closer together are one: timeout(1) and terminals send theirs twice.
const ONE_SIGNAL: Duration = Duration::from_millis(100);

/// The end has begun.
pub struct Stop {
    /// Until when children may finish; none: they have been told to end.
    grace_ends: Option<Instant>,
    signals: u32,
    last: Instant,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait.
    Wait,
    /// Tell all who are there to end.
    End,
    /// The same, and do not wait until they have.
    Kill,
}

impl Stop {
    /// After so many signals, with so much time for children to finish.
    pub fn begin(signals: u32, grace: Duration, now: Instant) -> Stop {
        Stop { grace_ends: now.checked_add(grace), signals, last: now }
    }

    /// What is to be done now that there were so many signals: the first has closed the door, the second ends the
    /// grace, the third all.
    pub fn step(&mut self, signals: u32, now: Instant) -> Step {
        let further = signals > self.signals && now - self.last >= ONE_SIGNAL;
        self.signals = signals;
        if further {
            self.last = now;
        }
        if !further && self.grace_ends.is_none_or(|end| end > now) {
            return Step::Wait;
        }
        let told = self.grace_ends.take().is_none();
        if further && told { Step::Kill } else { Step::End }
    }

    /// When the grace ends.
    pub fn grace_ends(&self) -> Option<Instant> {
        self.grace_ends
    }
}
