//! The steps of a stop: accept no more clients, let children finish, send them SIGTERM, then SIGKILL.

use std::time::{Duration, Instant};

/// Stop signals that come closer together count as one: timeout(1) and terminals send theirs twice.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// A stop that has begun.
pub struct Stop {
    /// When the grace period ends; `None` once SIGTERM was sent to the children.
    grace_ends: Option<Instant>,
    /// How many stop signals had come at the last step.
    signals: u32,
    /// When the last signal that counted came.
    last_signal: Instant,
}

/// What the parent has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: wait for the children.
    Wait,
    /// Send SIGTERM to all children.
    Terminate,
    /// Send SIGTERM to all children, then SIGKILL without waiting.
    Kill,
}

impl Stop {
    /// Begin a stop after this many stop signals. Children may finish for as long as `grace`.
    pub fn begin(signals: u32, grace: Duration, now: Instant) -> Stop {
        Stop { grace_ends: now.checked_add(grace), signals, last_signal: now }
    }

    /// The next step, after this many stop signals in all. The first signal has begun the stop, the second ends the
    /// grace period, the third kills.
    pub fn step(&mut self, signals: u32, now: Instant) -> Step {
        let another = signals > self.signals && now - self.last_signal >= SIGNAL_INTERVAL;
        self.signals = signals;
        if another {
            self.last_signal = now;
        }
        if !another && self.grace_ends.is_none_or(|end| end > now) {
            return Step::Wait;
        }
        let already_terminated = self.grace_ends.take().is_none();
        if another && already_terminated { Step::Kill } else { Step::Terminate }
    }

    /// When the grace period ends; `None` if it is over.
    pub fn grace_ends(&self) -> Option<Instant> {
        self.grace_ends
    }
}
