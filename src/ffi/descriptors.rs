//! Descriptors: taken over, waited for, written to without waiting, closed.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::SigSet;

/// Take over a descriptor that another program has left open for this one; `None` if it is not open.
/// It is close-on-exec from now on. To be asked before this program opens anything that it keeps.
pub fn inherited(fd: c_int) -> Option<OwnedFd> {
    // SAFETY: fcntl with F_SETFD takes an integer and no pointer; EBADF tells that fd is not open.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).ok()?;
    // SAFETY: fd is open, and nothing in this program holds it: it was opened before the program began.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Write what there is room for, though the descriptor blocks: `pwritev2(fd, iov, 1, -1, RWF_NOWAIT)`. Nothing where
/// that is not to be had: elsewhere than on Linux; of a pipe before Linux 6.4; and of a named pipe or a terminal.
///
/// # Errors
/// EAGAIN where there is no room; and those of write(2).
///
/// <https://man7.org/linux/man-pages/man2/readv.2.html>
pub fn write_nowait(fd: &impl AsRawFd, bytes: &[u8]) -> Option<Result<usize>> {
    #[cfg(target_os = "linux")]
    {
        let iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let (fd, one, here) = (fd.as_raw_fd() as libc::c_long, 1 as libc::c_long, -1 as libc::c_long);
        // the system call itself: not every libc that can be linked has the function
        // SAFETY: the vector is of one, which names bytes that live until it returns and are only read.
        let n = unsafe {
            libc::syscall(libc::SYS_pwritev2, fd, &raw const iov, one, here, here, libc::RWF_NOWAIT)
        };
        match Errno::result(n) {
            // an old kernel, or a filter of system calls that does not know it
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => None,
            written => Some(written.map(|n| n as usize)),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (fd, bytes);
        None
    }
}

/// Close every descriptor from 3 on: `close_range(3, ~0U, 0)`, or `closefrom(3)`.
///
/// <https://man7.org/linux/man-pages/man2/close_range.2.html>
pub fn closefrom_3() {
    #[cfg(target_os = "linux")]
    // SAFETY: close_range takes integers; what it closes, nothing that goes on after this call owns.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    // SAFETY: closefrom takes an integer; what it closes, nothing that goes on after this call owns.
    unsafe {
        libc::closefrom(3);
    }
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        let open = std::fs::read_dir("/dev/fd").into_iter().flatten().flatten();
        let open: Vec<c_int> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        for fd in open.into_iter().filter(|&fd| fd > 2) {
            // SAFETY: close takes an integer; what it closes, nothing that goes on after this call owns.
            unsafe { libc::close(fd) };
        }
    }
}

/// Wait for descriptors with a signal mask that holds for the wait alone:
/// `int ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)`. No time-out: for ever.
/// macOS has no such call: there a signal that comes just before the wait is seen 50 ms late.
///
/// # Errors
/// EINTR, ENOMEM.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/ppoll.html>
pub fn ppoll(fds: &mut [libc::pollfd], timeout: Option<Duration>, mask: &SigSet) -> Result<()> {
    #[cfg(not(target_os = "macos"))]
    {
        let timeout = timeout
            .map(|time| libc::timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos() as _ });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: fds is a slice of that many pollfd; the timespec, unless null, and the set live until it returns.
        Errno::result(unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, timeout, mask.as_ref()) })
            .map(drop)
    }
    #[cfg(target_os = "macos")]
    {
        use nix::sys::signal::{SigmaskHow, sigprocmask};
        let slice = timeout.unwrap_or(Duration::MAX).min(Duration::from_millis(50));
        let mut before = nix::sys::signal::SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), Some(&mut before))?;
        let milliseconds = slice.as_micros().div_ceil(1000) as c_int;
        // SAFETY: fds is a slice of that many pollfd, and lives until poll returns.
        let ready = Errno::result(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as _, milliseconds) });
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        ready.map(drop)
    }
}
