//! The signals that the loop handles. They are blocked except during its wait, so that none comes between the check of
//! a flag and the wait.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use crate::error::{Error, system};
use crate::ffi::{Handler, STOP_SIGNALS, note_stop_signals, sigaction};

/// How many waits and accepted clients may pass before pending signals are delivered.
const DELIVERY_INTERVAL: usize = 8;

/// Install the handlers, and block the signals.
///
/// # Errors
/// [`Error::System`]
pub fn install_handlers() -> Result<(), Error> {
    sigaction(Signal::SIGCHLD, Handler::NoteChild).map_err(system("sigaction"))?;
    sigaction(Signal::SIGUSR1, Handler::NoteStatus).map_err(system("sigaction"))?;
    note_stop_signals().map_err(system("sigaction"))?;
    let blocked: SigSet = [Signal::SIGCHLD, Signal::SIGUSR1].into_iter().chain(STOP_SIGNALS).collect();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None).map_err(system("sigprocmask"))
}

/// Unblock the signals for a moment, so that pending ones are delivered.
pub fn deliver_pending() {
    // EINVAL, the only error, is for an invalid `how`
    if let Ok(blocked) = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK) {
        let _ = blocked.thread_set_mask();
    }
}

/// Decides when to deliver pending signals. If a descriptor is ready, ppoll delivers none, so a busy listener would
/// hold them back for ever.
#[derive(Default)]
pub struct Delivery {
    /// Waits and accepted clients since signals were last delivered.
    since: usize,
}

impl Delivery {
    /// A client was accepted.
    pub fn client_accepted(&mut self) {
        self.since += 1;
    }

    /// The wait itself has delivered a signal.
    pub fn delivered(&mut self) {
        self.since = 0;
    }

    /// A wait has ended without delivering a signal. Deliver the pending ones every [`DELIVERY_INTERVAL`] waits and
    /// clients. Until then, children that end share one SIGCHLD, and some may be reaped late. If few slots are free, or
    /// limits count the clients of each source, that matters: then deliver them every time.
    pub fn wait_ended(&mut self, live: usize, cap: usize, has_limits: bool) {
        self.since += 1;
        let can_wait = self.since < DELIVERY_INTERVAL && live + DELIVERY_INTERVAL < cap;
        if !can_wait || has_limits {
            self.since = 0;
            deliver_pending();
        }
    }
}
