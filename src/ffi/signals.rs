//! Signals: the handlers, which are a closed list, and the flags that they set.
//!
//! A handler only stores integers or calls waitpid, both async-signal-safe, and preserves errno.

use std::ffi::c_int;
use std::mem::zeroed;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use nix::Result;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};

use super::processes::waitpid_nohang;

/// The disposition of a signal. There are no other handlers than these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// `SIG_DFL`
    Default,
    /// `SIG_IGN`
    Ignore,
    /// [`reap_children`]
    ReapChildren,
    /// [`note_stop`]; blocked calls fail with EINTR
    NoteStop,
    /// [`note_status`]; blocked calls fail with EINTR
    NoteStatus,
    /// [`note_child`]; blocked calls fail with EINTR
    NoteChild,
}

/// Set the disposition of a signal: `int sigaction(int, const struct sigaction *, struct sigaction *)`. It sets
/// `SA_RESTART`, except for the handlers that set a flag, and `SA_NOCLDSTOP`, except for [`note_child`].
///
/// # Errors
/// EINVAL for a signal that cannot be caught.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/sigaction.html>
pub fn sigaction(signal: Signal, handler: Handler) -> Result<()> {
    let sets_flag = matches!(handler, Handler::NoteStop | Handler::NoteStatus | Handler::NoteChild);
    let restart = if sets_flag { SaFlags::empty() } else { SaFlags::SA_RESTART };
    // note_child needs to know of stopped children: wait4() detaches those that this process traces
    let no_stops = if handler == Handler::NoteChild { SaFlags::empty() } else { SaFlags::SA_NOCLDSTOP };
    set_action(signal, handler, restart | no_stops)
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
    // SAFETY: the handlers only call waitpid or store atomics, which is async-signal-safe, and preserve errno.
    unsafe { nix::sys::signal::sigaction(signal, &action) }.map(drop)
}

/// The numbers of the signals whose disposition is not the default, including real-time signals, which have no name.
pub fn not_at_default() -> Vec<c_int> {
    // the highest signal number differs between systems; a number without a signal has no disposition
    const HIGHEST: c_int = 128;
    (1..=HIGHEST).filter(|&signal| disposition(signal).is_some_and(|what| what != libc::SIG_DFL)).collect()
}

/// Set a signal to its default disposition: `signal(int, SIG_DFL)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/signal.html>
pub fn default_disposition(signal: c_int) {
    // SAFETY: signal takes two integers; with SIG_DFL, no function of this program becomes a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Whether a signal is ignored.
fn is_ignored(signal: Signal) -> bool {
    disposition(signal as c_int) == Some(libc::SIG_IGN)
}

/// The signals that ask a program to stop.
pub const STOP_SIGNALS: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];

/// Take note of [`STOP_SIGNALS`] from now on, for [`stop_asked`]. SIGHUP stays ignored under nohup.
///
/// # Errors
/// None: all of them can be caught.
pub fn note_stop_signals() -> Result<()> {
    let noted = |signal: &Signal| *signal != Signal::SIGHUP || !is_ignored(*signal);
    STOP_SIGNALS.into_iter().filter(noted).try_for_each(|signal| sigaction(signal, Handler::NoteStop))
}

/// The disposition of a signal: `int sigaction(int, NULL, struct sigaction *)`. `None`: there is no such signal.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/sigaction.html>
fn disposition(signal: c_int) -> Option<libc::sighandler_t> {
    // SAFETY: sigaction is a structure of integers, for which all bits zero is a value.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: a null new action changes nothing; action is whole and lives until sigaction returns.
    let result = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    (result == 0).then_some(action.sa_sigaction)
}

/// The SIGCHLD handler of robust and fork. It loops because signals coalesce: one may stand for many children.
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

/// The handler of signals that ask a program to stop: it stores the signal, and counts.
extern "C" fn note_stop(signal: c_int) {
    STOP.store(signal, Ordering::Relaxed);
    STOPS.fetch_add(1, Ordering::Relaxed);
}

/// The last signal that asked this program to stop, if any.
pub fn stop_asked() -> Option<Signal> {
    Signal::try_from(STOP.load(Ordering::Relaxed)).ok()
}

/// How many signals have asked this program to stop.
pub fn stops_asked() -> u32 {
    STOPS.load(Ordering::Relaxed)
}

/// The handler of SIGUSR1.
extern "C" fn note_status(_signal: c_int) {
    STATUS.store(true, Ordering::Relaxed);
}

/// Whether SIGUSR1 arrived since the last call.
pub fn status_asked() -> bool {
    STATUS.swap(false, Ordering::Relaxed)
}

/// The SIGCHLD handler of a program whose main loop reaps: it stores that a child has ended, and which one. Signals
/// coalesce: other children may have ended too.
extern "C" fn note_child(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: nix sets SA_SIGINFO for this handler, so the kernel passes a siginfo that lives until it returns.
    let info = unsafe { &*info };
    // SAFETY: SIGCHLD's siginfo has si_pid. (If kill() sent the signal, it is the sender's: callers use it as a hint.)
    let pid = unsafe { info.si_pid() };
    CHILD_PID.store(pid, Ordering::Relaxed);
    CHILD.store(true, Ordering::Relaxed);
}

/// Whether SIGCHLD arrived since the last call; if so, the process ID in the last one, which is only a hint.
pub fn child_noted() -> Option<i32> {
    CHILD.swap(false, Ordering::Relaxed).then(|| CHILD_PID.load(Ordering::Relaxed))
}
