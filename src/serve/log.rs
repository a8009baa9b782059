//! The log on stderr: one line per event, the name of the event first, then `key=value` pairs. [`line()`] writes every
//! line with one write(2) or similar call, and allocates no memory: each page of the heap that a process writes to
//! after a fork must be copied.

mod stderr;

use std::fmt::{self, Arguments, Display, Formatter, Write};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;

pub use self::stderr::{make_nonblocking, print_address, use_shared_stderr};
use crate::ffi::{Ended, Handler, shared_counter, sigaction};
use crate::serve::counters::Counters;

/// How many lines could not be written in full, including those of children.
static LOST_LINES: OnceLock<&AtomicU64> = OnceLock::new();
/// How much of the last line was written: [`WRITTEN`], [`DROPPED`] or [`CUT`].
static LAST_LINE: AtomicU8 = AtomicU8::new(WRITTEN);
/// All of it.
const WRITTEN: u8 = 0;
/// Nothing of it.
const DROPPED: u8 = 1;
/// A part of it: a newline must end it before the next line.
const CUT: u8 = 2;

/// Begin to count lost lines, in this process and in its children.
pub fn count_lost_lines() -> Result<(), Errno> {
    // cannot fail: this function is called once
    let _ = LOST_LINES.set(shared_counter()?);
    Ok(())
}

/// How many lines were lost so far.
fn lost_lines() -> u64 {
    LOST_LINES.get().map_or(0, |lost| lost.load(Relaxed))
}

/// The length of the longest line in bytes: a message of 255 bytes, each printed as `\xNN`, and the text around it.
const MAX_LINE: usize = 1200;

/// A buffer for one line. Text that does not fit is cut off.
struct Line {
    bytes: [u8; MAX_LINE],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // keep one byte for the newline
        let taken = text.len().min(MAX_LINE - 1 - self.len);
        self.bytes[self.len..self.len + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}

/// Ignore the signals that write(2) can cause: SIGPIPE if the reader has gone, SIGXFSZ if a file has reached its size
/// limit. The write then fails with an error.
pub fn ignore_write_signals() {
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        sigaction(signal, Handler::Ignore).ok();
    }
}

/// Write a line. If there is no space for it, the line is lost, and counted. After a burst, the reader of the log gets
/// a moment to make space; a reader that has stalled gets none.
fn line(text: Arguments) {
    let mut line = Line { bytes: [0; MAX_LINE], len: 0 };
    let last = LAST_LINE.load(Relaxed);
    // cannot fail: a Line cuts what does not fit, and no value's Display fails
    let _ = line.write_str(if last == CUT { "\nprise: " } else { "prise: " });
    let _ = line.write_fmt(text);
    line.bytes[line.len] = b'\n';
    let line = &line.bytes[..=line.len];
    let this = match stderr::write_line(line, last == WRITTEN) {
        Ok(n) if n == line.len() => WRITTEN,
        Ok(1..) => CUT,
        // if the last line was cut, it still has no newline
        _ => last.max(DROPPED),
    };
    // a store would have the page copied after a fork
    if this != last {
        LAST_LINE.store(this, Relaxed);
    }
    if this != WRITTEN
        && let Some(lost) = LOST_LINES.get()
    {
        lost.fetch_add(1, Relaxed);
    }
}

/// The server listens.
pub fn listening(address: SocketAddr, pid: u32, cap: usize) {
    line(format_args!("listening address={address} pid={pid} max-children={cap}"));
}

/// A child was forked for a client.
pub fn start(pid: i32, client: SocketAddr, live: usize, cap: usize) {
    line(format_args!("start pid={pid} peer={client} live={live}/{cap}"));
}

/// A child has ended.
pub fn end(ended: &Ended, client: SocketAddr, took: Duration, live: usize, cap: usize) {
    line(format_args!(
        "end pid={} peer={client} {} seconds={:.3} cpu={:.3} maxrss={} live={live}/{cap}",
        ended.pid,
        ExitStatus(ended.status),
        took.as_secs_f64(),
        ended.cpu.as_secs_f64(),
        kilobytes(ended.maxrss)
    ));
}

/// A client's connection was closed without a child. The peer is the client, or the proxy of a client that is not
/// known.
pub fn refused(peer: SocketAddr, why: impl Display) {
    line(format_args!("refused peer={peer} why={why}"));
}

/// A child's process group is sent SIGTERM or SIGKILL.
pub fn ending(pid: i32, signal: Signal, why: &str) {
    line(format_args!("ending pid={pid} signal={} why={why}", SignalName(signal as i32)));
}

/// No client is accepted for now.
pub fn paused(why: impl Display, live: usize, cap: usize) {
    line(format_args!("paused why={why} live={live}/{cap}"));
}

/// Clients are accepted again.
pub fn resumed(live: usize, cap: usize) {
    line(format_args!("resumed live={live}/{cap}"));
}

/// The status, which SIGUSR1 asks for.
pub fn status(counters: &Counters, live: usize, cap: usize, waiting: usize) {
    line(format_args!(
        "status live={live}/{cap} waiting={waiting} {counters} lost-lines={} seconds={:.0}",
        lost_lines(),
        counters.begun.elapsed().as_secs_f64()
    ));
}

/// The server stops: it accepts no more clients.
pub fn stopping(why: impl Display, live: usize, grace: Duration) {
    line(format_args!("stopping why={why} live={live} grace={}", grace.as_secs()));
}

/// The server has stopped.
pub fn stopped(counters: &Counters) {
    line(format_args!("stopped {counters} lost-lines={}", lost_lines()));
}

/// The message that a client has sent to the built-in child.
pub fn message(pid: u32, text: impl Display) {
    line(format_args!("message from client pid={pid} text={text}"));
}

/// A step has failed, in a child or in the parent.
pub fn failed(pid: u32, step: &str, why: impl Display) {
    line(format_args!("failed pid={pid} step={step} why={why}"));
}

/// How a child has ended, from its wait status.
struct ExitStatus(i32);

impl Display for ExitStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            status if libc::WIFEXITED(status) => write!(f, "exit={}", libc::WEXITSTATUS(status)),
            status if libc::WIFSIGNALED(status) => write!(f, "signal={}", SignalName(libc::WTERMSIG(status))),
            status => write!(f, "status={status}"),
        }
    }
}

/// A signal's name as kill(1) takes it, such as `TERM`; for a real-time signal, its number.
pub struct SignalName(pub i32);

impl Display for SignalName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match Signal::try_from(self.0) {
            Ok(signal) => f.write_str(signal.as_str().trim_start_matches("SIG")),
            Err(_) => self.0.fmt(f),
        }
    }
}

/// `ru_maxrss` in kilobytes: macOS counts it in bytes, the other systems in kilobytes.
fn kilobytes(maxrss: libc::c_long) -> libc::c_long {
    if cfg!(target_os = "macos") { maxrss / 1024 } else { maxrss }
}
