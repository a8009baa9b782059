//! The log: stderr, one line an event, `key=value` after the first words. Every line is written by [`line`],
//! in one write(2) or its like, and made without asking for memory: the fewer pages of the heap a process
//! touches between fork and exit, the fewer are copied.

use std::fmt::{self, Arguments, Display, Formatter, Write};
use std::io::{stderr, stdout};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{dup2_stderr, isatty, ttyname, write};

use crate::ffi::{Ended, Handler, shared_counter, sigaction, write_nowait};
use crate::serve::counters::Counters;

/// Lines that could not be written, those of children too.
static LOST: OnceLock<&AtomicU64> = OnceLock::new();
/// What became of the last line: [`WRITTEN`], [`DROPPED`], [`CUT`].
static LAST: AtomicU8 = AtomicU8::new(WRITTEN);
/// How to write to stderr: [`LOOK_FIRST`], [`JUST_WRITE`], [`SEND`], [`ASK_NOT_TO_WAIT`].
static WAY: AtomicU8 = AtomicU8::new(LOOK_FIRST);

/// Whether there is room: to write could wait for it.
const LOOK_FIRST: u8 = 0;
/// A file, or what was opened not to block.
const JUST_WRITE: u8 = 1;
/// A socket.
const SEND: u8 = 2;
/// What blocks: a pipe(2) can be written to without a wait.
const ASK_NOT_TO_WAIT: u8 = 3;

/// All of it.
const WRITTEN: u8 = 0;
/// Nothing of it.
const DROPPED: u8 = 1;
/// A part of it: the next begins on a line of its own.
const CUT: u8 = 2;

/// How long a reader of the log that has kept up so far may take to make room, in milliseconds, in each [`WINDOW`].
const PATIENCE: u8 = 50;
/// Whoever needs all patience time and again keeps nobody waiting longer than a tenth of the time.
const WINDOW: Duration = Duration::from_millis(500);
/// When the last window began, and what was waited in it.
static WAITED: Mutex<Option<(Instant, Duration)>> = Mutex::new(None);

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

/// See to it that no line waits for its reader, whatever children write to the same pipe, socket or terminal in the
/// moment between the look and the write. A pipe or a terminal is opened anew, not to block; where that was done,
/// gives what children have instead: the pipe as it was, and the terminal to write to alone, so that none of them
/// reads what its user types.
pub fn never_wait() -> Option<OwnedFd> {
    let stderr = stderr();
    let kind = SFlag::from_bits_truncate(fstat(&stderr).ok()?.st_mode) & SFlag::S_IFMT;
    let children = match kind {
        // nothing of a socket is opened anew
        SFlag::S_IFSOCK => {
            WAY.store(SEND, Relaxed);
            return None;
        }
        // a file takes everything
        SFlag::S_IFREG => None,
        SFlag::S_IFIFO => {
            WAY.store(ASK_NOT_TO_WAIT, Relaxed);
            let shared = stderr.as_fd().try_clone_to_owned().ok()?;
            // elsewhere than on Linux this gives the same, and nothing else is to be had; nor of another user's pipe
            dup2_stderr(open_to_write("/proc/self/fd/2".into(), OFlag::O_NONBLOCK)?).ok()?;
            Some(shared)
        }
        SFlag::S_IFCHR if isatty(&stderr) == Ok(true) => {
            let terminal = ttyname(&stderr).unwrap_or_else(|_| "/proc/self/fd/2".into());
            let Some(shared) = open_to_write(terminal.clone(), OFlag::empty()) else {
                // another user's, as after su(1): children that had it could read it, which nobody would stop
                failed(std::process::id(), "terminal", "children have /dev/null for stderr");
                return open_to_write("/dev/null".into(), OFlag::empty());
            };
            dup2_stderr(open_to_write(terminal, OFlag::O_NONBLOCK)?).ok()?;
            Some(shared)
        }
        // /dev/null and its kin
        SFlag::S_IFCHR => None,
        _ => return None,
    };
    WAY.store(JUST_WRITE, Relaxed);
    children
}

fn open_to_write(path: PathBuf, how: OFlag) -> Option<OwnedFd> {
    open(&path, how | OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

/// Stderr is from now on what [`never_wait`] gave for children: a pipe, a terminal, or /dev/null in its place.
pub fn wait_again(shared: &OwnedFd) -> Result<(), Errno> {
    WAY.store(ASK_NOT_TO_WAIT, Relaxed);
    dup2_stderr(shared)
}

/// Write to stderr: all, or what there is room for; EAGAIN where there is none, after a wait of some milliseconds at
/// most.
fn put(line: &[u8]) -> Result<usize, Errno> {
    if let Some(put) = put_at_once(line)
        && put != Err(Errno::EAGAIN)
    {
        return put;
    }
    if !has_room(stderr().as_fd()) {
        return Err(Errno::EAGAIN);
    }
    // a child may have taken the room since
    put_at_once(line).unwrap_or_else(|| write(stderr(), line))
}

/// Write to stderr what there is room for, without a wait; nothing where that is not to be had.
fn put_at_once(line: &[u8]) -> Option<Result<usize, Errno>> {
    match WAY.load(Relaxed) {
        JUST_WRITE => Some(write(stderr(), line)),
        SEND => Some(send(stderr().as_raw_fd(), line, MsgFlags::MSG_DONTWAIT)),
        ASK_NOT_TO_WAIT => write_nowait(&stderr(), line),
        _ => None,
    }
}

/// Whether there is room, perhaps after a moment. A reader that has stalled has none.
fn has_room(fd: BorrowedFd) -> bool {
    let Ok(mut waited) = WAITED.lock() else { return false };
    let begun = Instant::now();
    let lately = waited.filter(|(window, _)| begun - *window < WINDOW);
    let (window, spent) = lately.unwrap_or((begun, Duration::ZERO));
    let left = if LAST.load(Relaxed) == WRITTEN {
        Duration::from_millis(PATIENCE.into()).saturating_sub(spent)
    } else {
        Duration::ZERO
    };
    let room = poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], left.as_millis() as u8).is_ok_and(|n| n > 0);
    *waited = Some((window, spent + begun.elapsed()));
    room
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
    let this = match put(line) {
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

/// Print on stdout where it listens. Nobody need read that, and it is no reason not to serve.
pub fn address(address: SocketAddr) {
    let stdout = stdout();
    if poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)], PATIENCE).is_ok_and(|n| n > 0) {
        let _ = write(&stdout, format!("{address}\n").as_bytes());
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
pub fn stopping(why: impl Display, live: usize, grace: Duration) {
    line(format_args!("stopping why={why} live={live} grace={}", grace.as_secs()));
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
