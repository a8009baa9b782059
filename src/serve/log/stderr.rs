//! Writes lines to stderr so that the server never waits long for their reader. A file or a nonblocking descriptor is
//! simply written to. A socket is sent to with MSG_DONTWAIT. A blocking pipe is written to with RWF_NOWAIT. Anything
//! else is polled for space first.

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

/// How to write to stderr: [`POLL_THEN_WRITE`], [`WRITE`], [`SEND_DONTWAIT`], [`WRITE_NOWAIT`].
static METHOD: AtomicU8 = AtomicU8::new(POLL_THEN_WRITE);

/// Poll for space first, since write(2) could block.
const POLL_THEN_WRITE: u8 = 0;
/// Just write: a file, or a descriptor that was opened nonblocking.
const WRITE: u8 = 1;
/// Send with MSG_DONTWAIT: a socket.
const SEND_DONTWAIT: u8 = 2;
/// Write with RWF_NOWAIT: a blocking pipe.
const WRITE_NOWAIT: u8 = 3;

/// How many milliseconds in each [`WINDOW`] the server waits for a log reader that has kept up so far.
const MAX_WAIT_MS: u8 = 50;
/// A reader that always needs the whole wait delays the server by at most a tenth of the time.
const WINDOW: Duration = Duration::from_millis(500);
/// When the last window began, and how long the server has waited in it.
static WAITED: Mutex<Option<(Instant, Duration)>> = Mutex::new(None);

/// Make sure, as far as the system allows, that no write to stderr blocks, even if children fill the same pipe, socket
/// or terminal between the poll and the write. To do so, a pipe or a terminal is opened again, nonblocking. Returns
/// the stderr for children if it must differ from the server's: the original pipe, or the terminal opened for writing
/// only, so that no child can read what the user types.
pub fn make_nonblocking() -> Option<OwnedFd> {
    let stderr = stderr();
    let kind = SFlag::from_bits_truncate(fstat(&stderr).ok()?.st_mode) & SFlag::S_IFMT;
    let children = match kind {
        // a socket cannot be opened again
        SFlag::S_IFSOCK => {
            METHOD.store(SEND_DONTWAIT, Relaxed);
            return None;
        }
        // a write to a file does not block
        SFlag::S_IFREG => None,
        SFlag::S_IFIFO => {
            METHOD.store(WRITE_NOWAIT, Relaxed);
            let shared = stderr.as_fd().try_clone_to_owned().ok()?;
            // only Linux opens the pipe anew here, and not another user's; there is no other way to do it
            dup2_stderr(open_for_writing("/proc/self/fd/2".into(), OFlag::O_NONBLOCK)?).ok()?;
            Some(shared)
        }
        SFlag::S_IFCHR if isatty(&stderr) == Ok(true) => {
            let terminal = ttyname(&stderr).unwrap_or_else(|_| "/proc/self/fd/2".into());
            let Some(shared) = open_for_writing(terminal.clone(), OFlag::empty()) else {
                // another user's terminal, as after su(1): children could read from it, so they must not have it
                super::failed(std::process::id(), "terminal", "children have /dev/null for stderr");
                return open_for_writing("/dev/null".into(), OFlag::empty());
            };
            dup2_stderr(open_for_writing(terminal, OFlag::O_NONBLOCK)?).ok()?;
            Some(shared)
        }
        // /dev/null and similar devices
        SFlag::S_IFCHR => None,
        _ => return None,
    };
    METHOD.store(WRITE, Relaxed);
    children
}

fn open_for_writing(path: PathBuf, flags: OFlag) -> Option<OwnedFd> {
    open(&path, flags | OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

/// In a child, replace stderr with what [`make_nonblocking`] returned for children: a pipe, a terminal or /dev/null.
pub fn use_shared_stderr(shared: &OwnedFd) -> Result<(), Errno> {
    METHOD.store(WRITE_NOWAIT, Relaxed);
    dup2_stderr(shared)
}

/// Write a line to stderr, or as much of it as there is space for. If there is none, wait for it, at most
/// [`MAX_WAIT_MS`] and only if the reader has kept up so far; then fail with EAGAIN.
pub fn write_line(line: &[u8], reader_keeps_up: bool) -> Result<usize, Errno> {
    if let Some(written) = write_without_wait(line)
        && written != Err(Errno::EAGAIN)
    {
        return written;
    }
    if !wait_for_space(stderr().as_fd(), reader_keeps_up) {
        return Err(Errno::EAGAIN);
    }
    // a child may have filled the space in the meantime
    write_without_wait(line).unwrap_or_else(|| write(stderr(), line))
}

/// Write to stderr as much as there is space for, without waiting; `None` if this descriptor offers no way to do that.
fn write_without_wait(line: &[u8]) -> Option<Result<usize, Errno>> {
    match METHOD.load(Relaxed) {
        WRITE => Some(write(stderr(), line)),
        SEND_DONTWAIT => Some(send(stderr().as_raw_fd(), line, MsgFlags::MSG_DONTWAIT)),
        WRITE_NOWAIT => write_nowait(&stderr(), line),
        _ => None,
    }
}

/// Poll stderr for space. Wait for it only if the reader keeps up, and only for what is left of this window's wait.
fn wait_for_space(fd: BorrowedFd, reader_keeps_up: bool) -> bool {
    let Ok(mut waited) = WAITED.lock() else { return false };
    let begun = Instant::now();
    let current_window = waited.filter(|(window, _)| begun - *window < WINDOW);
    let (window, spent) = current_window.unwrap_or((begun, Duration::ZERO));
    let left = if reader_keeps_up {
        Duration::from_millis(MAX_WAIT_MS.into()).saturating_sub(spent)
    } else {
        Duration::ZERO
    };
    let has_space =
        poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], left.as_millis() as u8).is_ok_and(|n| n > 0);
    *waited = Some((window, spent + begun.elapsed()));
    has_space
}

/// Print the address of the listener on stdout. If nobody reads it, that does not stop the server.
pub fn print_address(address: SocketAddr) {
    let stdout = stdout();
    if poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)], MAX_WAIT_MS).is_ok_and(|n| n > 0) {
        let _ = write(&stdout, format!("{address}\n").as_bytes());
    }
}
