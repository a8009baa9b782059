//! Signals: the handlers, which are a closed list, and what they note.
//!
//! A handler stores an integer or calls waitpid, and leaves errno as it was: both are async-signal-safe.

use std::ffi::c_int;
use std::mem::zeroed;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use nix::Result;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};

use super::processes::waitpid_nohang;

/// What a program does with a signal. There are no other handlers than these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// `SIG_DFL`
    Default,
    /// `SIG_IGN`
    Ignore,
    /// [`reap_children`]
    ReapChildren,
    /// [`note_stop`], which cuts waiting calls short
    NoteStop,
    /// [`note_status`], which cuts waiting calls short
    NoteStatus,
    /// [`note_child`], which cuts waiting calls short
    NoteChild,
}

/// Set what a signal does: `int sigaction(int, const struct sigaction *, struct sigaction *)`, with `SA_RESTART`
/// except for handlers that note, and with `SA_NOCLDSTOP` except for [`note_child`].
///
/// # Errors
/// EINVAL for a signal that cannot be caught.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/sigaction.html>
pub fn sigaction(signal: Signal, handler: Handler) -> Result<()> {
    let notes = matches!(handler, Handler::NoteStop | Handler::NoteStatus | Handler::NoteChild);
    // a child that is traced by this process and stops is to be let go
    let hears_stops = handler == Handler::NoteChild;
    let restart = if notes { SaFlags::empty() } else { SaFlags::SA_RESTART };
    let stops = if hears_stops { SaFlags::empty() } else { SaFlags::SA_NOCLDSTOP };
    set_action(signal, handler, restart | stops)
}

pub(super) fn set_action(signal: Signal, handler: Handler, flags: SaFlags) -> Result<()> {
    let handler = match handler {
        Handler::Default => SigHandler::SigDfl,
        Handler::Ignore => SigHandler::SigIgn,
        Handler::ReapChildren => SigHandler::Handler(reap_children),
        Handler::NoteStop => SigHandler::Handler(note_stop),
        Handler::NoteStatus => SigHandler::Handler(note_status),
        Handler::NoteChild => SigHandler::SigAction(note_child),
    };
    let action = SigAction::new(handler, flags, SigSet::empty());
    // SAFETY: the handlers call waitpid or store an int, which is async-signal-safe, and keep errno.
    unsafe { nix::sys::signal::sigaction(signal, &action) }.map(drop)
}

/// The signals whose disposition is not the default, those that have a number and no name too.
pub fn not_at_default() -> Vec<c_int> {
    // the highest number differs, and a number that none has is at no disposition
    const HIGHEST: c_int = 128;
    (1..=HIGHEST).filter(|&signal| disposition(signal).is_some_and(|what| what != libc::SIG_DFL)).collect()
}

/// Set what a signal does to its default: `signal(signal, SIG_DFL)`.
pub fn default_disposition(signal: c_int) {
    // SAFETY: signal takes two integers; SIG_DFL is no function of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Whether a signal is ignored.
pub fn is_ignored(signal: Signal) -> bool {
    disposition(signal as c_int) == Some(libc::SIG_IGN)
}

/// What a signal does: `sigaction(signal, NULL, &action)`. None: there is no such signal.
fn disposition(signal: c_int) -> Option<libc::sighandler_t> {
    // SAFETY: sigaction is a structure of integers, for which all bits zero is a value.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: nothing is set, and action is whole and lives until sigaction returns.
    let asked = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    (asked == 0).then_some(action.sa_sigaction)
}

/// The SIGCHLD handler. Signals coalesce, so one may stand for many children.
extern "C" fn reap_children(_signal: c_int) {
    let saved_errno = errno::errno();
    while waitpid_nohang().is_some() {}
    errno::set_errno(saved_errno);
}

static STOP: AtomicI32 = AtomicI32::new(0);
static STOPS: AtomicU32 = AtomicU32::new(0);
static STATUS: AtomicBool = AtomicBool::new(false);
static CHILD: AtomicBool = AtomicBool::new(false);
static CHILD_PID: AtomicI32 = AtomicI32::new(0);

/// The handler of signals that ask a program to stop: it notes which, and how often.
extern "C" fn note_stop(signal: c_int) {
    STOP.store(signal, Ordering::Relaxed);
    STOPS.fetch_add(1, Ordering::Relaxed);
}

/// The signal that has asked this program to stop, if one has.
pub fn stop_asked() -> Option<Signal> {
    Signal::try_from(STOP.load(Ordering::Relaxed)).ok()
}

/// How often it was asked.
pub fn stops_asked() -> u32 {
    STOPS.load(Ordering::Relaxed)
}

/// The handler of SIGUSR1.
extern "C" fn note_status(_signal: c_int) {
    STATUS.store(true, Ordering::Relaxed);
}

/// Whether a status was asked for since the last look.
pub fn status_asked() -> bool {
    STATUS.swap(false, Ordering::Relaxed)
}

/// The handler of SIGCHLD where a loop reaps: it notes that a child has ended, and which. Signals
/// coalesce: others may have ended too.
extern "C" fn note_child(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a siginfo that lives until it returns.
    let info = unsafe { &*info };
    // SAFETY: SIGCHLD's siginfo has si_pid; sent by kill() it has the sender's there, which is only a hint.
    let pid = unsafe { info.si_pid() };
    CHILD_PID.store(pid, Ordering::Relaxed);
    CHILD.store(true, Ordering::Relaxed);
}

/// Whether a child has ended since the last look, and which, as far as the signal told.
pub fn child_noted() -> Option<i32> {
    CHILD.swap(false, Ordering::Relaxed).then(|| CHILD_PID.load(Ordering::Relaxed))
}
