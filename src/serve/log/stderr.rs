//! How lines reach stderr without the server ever waiting for their reader: a file or an end opened not to block is
//! written to; a socket is sent to with MSG_DONTWAIT; a pipe that blocks is written to with RWF_NOWAIT; of anything
//! else it is asked first whether it has room.

use std::io::{stderr, stdout};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{dup2_stderr, isatty, ttyname, write};

use crate::ffi::write_nowait;

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

/// How long a reader of the log that has kept up so far may take to make room, in milliseconds, in each [`WINDOW`].
const PATIENCE: u8 = 50;
/// Whoever needs all patience time and again keeps nobody waiting longer than a tenth of the time.
const WINDOW: Duration = Duration::from_millis(500);
/// When the last window began, and what was waited in it.
static WAITED: Mutex<Option<(Instant, Duration)>> = Mutex::new(None);

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
                super::failed(std::process::id(), "terminal", "children have /dev/null for stderr");
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
/// most, and only if its reader has kept up so far.
pub fn put(line: &[u8], keeps_up: bool) -> Result<usize, Errno> {
    if let Some(put) = put_at_once(line)
        && put != Err(Errno::EAGAIN)
    {
        return put;
    }
    if !has_room(stderr().as_fd(), keeps_up) {
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
fn has_room(fd: BorrowedFd, keeps_up: bool) -> bool {
    let Ok(mut waited) = WAITED.lock() else { return false };
    let begun = Instant::now();
    let lately = waited.filter(|(window, _)| begun - *window < WINDOW);
    let (window, spent) = lately.unwrap_or((begun, Duration::ZERO));
    let left =
        if keeps_up { Duration::from_millis(PATIENCE.into()).saturating_sub(spent) } else { Duration::ZERO };
    let room = poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], left.as_millis() as u8).is_ok_and(|n| n > 0);
    *waited = Some((window, spent + begun.elapsed()));
    room
}

/// Print on stdout where it listens. Nobody need read that, and it is no reason not to serve.
pub fn address(address: SocketAddr) {
    let stdout = stdout();
    if poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)], PATIENCE).is_ok_and(|n| n > 0) {
        let _ = write(&stdout, format!("{address}\n").as_bytes());
    }
}
