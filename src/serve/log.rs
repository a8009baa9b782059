//! The log: stderr, one line an event, `key=value` after the first words. Every line is written by [`line`],
//! in one write(2) or its like, and made without asking for memory: the fewer pages of the heap a process
//! touches between fork and exit, the fewer are copied.

mod stderr;

use std::fmt::{self, Arguments, Display, Formatter, Write};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;

pub use self::stderr::{address, never_wait, wait_again};
use crate::ffi::{Ended, Handler, shared_counter, sigaction};
use crate::serve::counters::Counters;

/// Lines that could not be written, those of children too.
static LOST: OnceLock<&AtomicU64> = OnceLock::new();
/// What became of the last line: [`WRITTEN`], [`DROPPED`], [`CUT`].
static LAST: AtomicU8 = AtomicU8::new(WRITTEN);
/// All of it.
const WRITTEN: u8 = 0;
/// Nothing of it.
const DROPPED: u8 = 1;
/// A part of it: the next begins on a line of its own.
const CUT: u8 = 2;

/// Count the lines that are lost from now on, in this process and in its children.
pub fn count_lost() -> Result<(), Errno> {
    // it is asked once
    let _ = LOST.set(shared_counter()?);
    Ok(())
}

/// How many lines were lost, since nobody read the log.
fn lost() -> u64 {
    LOST.get().map_or(0, |lost| lost.load(Relaxed))
}

/// The longest line: a message of 255 bytes, each made visible as `\xNN`, and what stands around it.
const LONGEST: usize = 1200;

/// A line in the making. What is longer is cut.
struct Line {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // room for the newline stays
        let taken = text.len().min(LONGEST - 1 - self.len);
        self.bytes[self.len..self.len + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}

/// From now on a reader that has gone, or a log that may not grow, is an error of write(2) and no signal to die of.
pub fn outlive_it() {
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        sigaction(signal, Handler::Ignore).ok();
    }
}

/// Write a line. A line for which there is no room is lost, and counted: who reads the log is waited for a
/// moment after a burst, and not at all once it has stalled.
fn line(text: Arguments) {
    let mut line = Line { bytes: [0; LONGEST], len: 0 };
    let last = LAST.load(Relaxed);
    // a Line takes everything, and nothing that is logged refuses to be formatted
    let _ = line.write_str(if last == CUT { "\nprise: " } else { "prise: " });
    let _ = line.write_fmt(text);
    line.bytes[line.len] = b'\n';
    let line = &line.bytes[..=line.len];
    let this = match stderr::put(line, last == WRITTEN) {
        Ok(n) if n == line.len() => WRITTEN,
        Ok(1..) => CUT,
        // the one that was cut still is
        _ => last.max(DROPPED),
    };
    // a page that is not written to is not copied
    if this != last {
        LAST.store(this, Relaxed);
    }
    if this != WRITTEN
        && let Some(lost) = LOST.get()
    {
        lost.fetch_add(1, Relaxed);
    }
}

/// It listens.
pub fn listening(address: SocketAddr, pid: u32, cap: usize) {
    line(format_args!("listening address={address} pid={pid} max-children={cap}"));
}

/// A child has begun to serve a client.
pub fn start(pid: i32, client: SocketAddr, live: usize, cap: usize) {
    line(format_args!("start pid={pid} peer={client} live={live}/{cap}"));
}

/// A child has ended.
pub fn end(ended: &Ended, client: SocketAddr, took: Duration, live: usize, cap: usize) {
    line(format_args!(
        "end pid={} peer={client} {} seconds={:.3} cpu={:.3} maxrss={} live={live}/{cap}",
        ended.pid,
        How(ended.status),
        took.as_secs_f64(),
        ended.cpu.as_secs_f64(),
        kilobytes(ended.maxrss)
    ));
}

/// A client was closed at once.
pub fn refused(client: SocketAddr, why: impl Display) {
    line(format_args!("refused peer={client} why={why}"));
}

/// A child is told to end.
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

/// What SIGUSR1 asks for.
pub fn status(counters: &Counters, live: usize, cap: usize, waiting: usize) {
    line(format_args!(
        "status live={live}/{cap} waiting={waiting} {counters} lost-lines={} seconds={:.0}",
        lost(),
        counters.since.elapsed().as_secs_f64()
    ));
}

/// It stops: no client is accepted any more.
pub fn stopping(why: impl Display, live: usize, grace: Duration) {
    line(format_args!("stopping why={why} live={live} grace={}", grace.as_secs()));
}

/// It has stopped.
pub fn stopped(counters: &Counters) {
    line(format_args!("stopped {counters} lost-lines={}", lost()));
}

/// What a client has said to the built-in child.
pub fn message(pid: u32, text: impl Display) {
    line(format_args!("message from client pid={pid} text={text}"));
}

/// A step that failed, in a child or in the parent.
pub fn failed(pid: u32, step: &str, why: impl Display) {
    line(format_args!("failed pid={pid} step={step} why={why}"));
}

/// How a child has ended, by its status.
struct How(i32);

impl Display for How {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            status if libc::WIFEXITED(status) => write!(f, "exit={}", libc::WEXITSTATUS(status)),
            status if libc::WIFSIGNALED(status) => write!(f, "signal={}", SignalName(libc::WTERMSIG(status))),
            status => write!(f, "status={status}"),
        }
    }
}

/// `TERM`, as kill(1) takes it; of a real-time signal, its number.
pub struct SignalName(pub i32);

impl Display for SignalName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match Signal::try_from(self.0) {
            Ok(signal) => f.write_str(signal.as_str().trim_start_matches("SIG")),
            Err(_) => self.0.fmt(f),
        }
    }
}

/// macOS counts bytes where the others count kilobytes.
fn kilobytes(maxrss: libc::c_long) -> libc::c_long {
    if cfg!(target_os = "macos") { maxrss / 1024 } else { maxrss }
}
