//! The signals that the loop looks at. They are blocked except in its wait, so that none comes between a look and the
//! wait.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use crate::error::{Error, system};
use crate::ffi::{self, Handler, sigaction};

const SIGNALS: [(Signal, Handler); 6] = [
    (Signal::SIGCHLD, Handler::NoteChild),
    (Signal::SIGUSR1, Handler::NoteStatus),
    (Signal::SIGTERM, Handler::NoteStop),
    (Signal::SIGINT, Handler::NoteStop),
    (Signal::SIGQUIT, Handler::NoteStop),
    (Signal::SIGHUP, Handler::NoteStop),
];

/// So many waits and clients may pass before signals are let in.
const TURN: usize = 8;

/// Install the handlers, and block the signals.
///
/// # Errors
/// [`Error::System`]
pub fn block() -> Result<(), Error> {
    let mut blocked = SigSet::empty();
    for (signal, handler) in SIGNALS {
        // SIGHUP stays ignored under nohup
        if signal != Signal::SIGHUP || !ffi::is_ignored(signal) {
            sigaction(signal, handler).map_err(system("sigaction"))?;
        }
        blocked.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None).map_err(system("sigprocmask"))
}

/// Have those signals handled that have come while they were blocked.
pub fn let_in() {
    // EINVAL, the only error, is for what is none of these
    if let Ok(blocked) = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK) {
        let _ = blocked.thread_set_mask();
    }
}

/// When signals are let in. Where a descriptor is ready, ppoll lets no signal in, and a busy listener would keep all of
/// them out.
#[derive(Default)]
pub struct Turns {
    /// Waits and clients since signals were last let in.
    since: usize,
}

impl Turns {
    /// A client was accepted.
    pub fn client(&mut self) {
        self.since += 1;
    }

    /// A wait has let signals in by itself.
    pub fn came(&mut self) {
        self.since = 0;
    }

    /// A wait has ended with a descriptor that is ready: let signals in now and then. Children that end in between share
    /// a signal, so with few places left, or limits that wait for each child, it is every time.
    pub fn wait_ended(&mut self, live: usize, cap: usize, has_limits: bool) {
        self.since += 1;
        let may_wait = self.since < TURN && live + TURN < cap;
        if !may_wait || has_limits {
            self.since = 0;
            let_in();
        }
    }
}
