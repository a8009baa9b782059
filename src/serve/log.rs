//! The log: stderr, one line an event, `key=value` after the first words. Every line is written by [`line`],
//! in one write(2), and made without asking for memory: the fewer pages of the heap a process touches between
//! fork and exit, the fewer are copied.

use std::fmt::{self, Arguments, Display, Formatter, Write};
use std::io::stderr;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{dup2_stderr, write};

use crate::ffi::Ended;
use crate::serve::parent::Counters;

/// Lines that could not be written.
static LOST: AtomicU64 = AtomicU64::new(0);
/// Whether the last line was one of them.
static STALLED: AtomicBool = AtomicBool::new(false);
/// Whether stderr is a socket.
static SOCKET: AtomicBool = AtomicBool::new(false);

/// How long a reader of the log that has kept up so far may take to make room, in milliseconds.
const PATIENCE: u8 = 50;

/// How many lines were lost, since nobody read the log.
pub fn lost() -> u64 {
    LOST.load(Relaxed)
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

/// See to it that no line waits for its reader, whatever children write to the same pipe or socket in the moment
/// between the look and the write. A pipe is opened anew, not to block; where that was done, gives what stderr was:
/// it is the children's.
pub fn never_wait() -> Option<OwnedFd> {
    let stderr = stderr();
    match SFlag::from_bits_truncate(fstat(&stderr).ok()?.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFSOCK => SOCKET.store(true, Relaxed),
        SFlag::S_IFIFO => {
            // elsewhere than on Linux this gives the same, and nothing else is to be had; nor of another user's pipe
            let how = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let shared = stderr.as_fd().try_clone_to_owned().ok()?;
            let own = open("/proc/self/fd/2", how, Mode::empty()).ok()?;
            dup2_stderr(&own).ok()?;
            return Some(shared);
        }
        // a file takes everything, and a terminal's user is there to see
        _ => {}
    }
    None
}

fn put(line: &[u8]) -> Result<usize, Errno> {
    let stderr = stderr();
    if SOCKET.load(Relaxed) {
        send(stderr.as_raw_fd(), line, MsgFlags::MSG_DONTWAIT)
    } else {
        write(&stderr, line)
    }
}

/// Write a line. A line for which there is no room is lost, and counted: who reads the log is waited for a
/// moment after a burst, and not at all once it has stalled.
fn line(text: Arguments) {
    let mut line = Line { bytes: [0; LONGEST], len: 0 };
    // a Line takes everything, and nothing that is logged refuses to be formatted
    let _ = write!(line, "prise: {text}");
    line.bytes[line.len] = b'\n';
    let stderr = stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let patience = if STALLED.load(Relaxed) { 0 } else { PATIENCE };
    let room = poll(&mut ready, patience).is_ok_and(|n| n > 0);
    let line = &line.bytes[..=line.len];
    let lost = !room || put(line) != Ok(line.len());
    // a page that is not written to is not copied
    if lost != STALLED.load(Relaxed) {
        STALLED.store(lost, Relaxed);
    }
    if lost {
        LOST.fetch_add(1, Relaxed);
    }
}

/// It listens.
pub fn listening(address: SocketAddr, pid: u32, cap: usize) {
    line(format_args!("listening address={address} pid={pid} max-children={cap}"));
}

/// A child has begun to serve a client.
pub fn start(pid: i32, peer: SocketAddr, live: usize, cap: usize) {
    line(format_args!("start pid={pid} peer={peer} live={live}/{cap}"));
}

/// A child has ended.
pub fn end(ended: &Ended, peer: SocketAddr, took: Duration, live: usize, cap: usize) {
    line(format_args!(
        "end pid={} peer={peer} {} seconds={:.3} cpu={:.3} maxrss={} live={live}/{cap}",
        ended.pid,
        How(ended.status),
        took.as_secs_f64(),
        ended.cpu.as_secs_f64(),
        kilobytes(ended.maxrss)
    ));
}

/// A client was closed at once.
pub fn refused(peer: SocketAddr, why: impl Display) {
    line(format_args!("refused peer={peer} why={why}"));
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
pub fn stopping(why: Signal, live: usize, grace: Duration) {
    line(format_args!("stopping why={} live={live} grace={}", SignalName(why as i32), grace.as_secs()));
}

/// It has stopped.
pub fn stopped(counters: &Counters) {
    line(format_args!("stopped {counters} lost-lines={}", lost()));
}

/// What a client has said to the tutorial's child.
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
struct SignalName(i32);

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
