//! Descriptors: inherit, poll, write without blocking, close.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::SigSet;

/// Take ownership of a descriptor that was opened for this program or this child, and make it close-on-exec:
/// `int fcntl(fd, F_SETFD, FD_CLOEXEC)`. `None`: it is not open. The caller makes sure that nothing else owns it.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fcntl.html>
pub fn inherited(fd: c_int) -> Option<OwnedFd> {
    // SAFETY: fcntl with F_SETFD takes an integer and no pointer; it fails with EBADF if fd is not open.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).ok()?;
    // SAFETY: fd is open, and no value owns it: serve asks for 3 before it keeps a descriptor open, a child for its
    // client on 0.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Write as much as fits without blocking, even if the descriptor is blocking:
/// `ssize_t pwritev2(fd, iov, 1, -1, RWF_NOWAIT)`. `None` where this is not supported: on systems other than Linux, on
/// pipes before Linux 6.4, on named pipes and on terminals.
///
/// # Errors
/// EAGAIN if nothing fits, and those of write(2).
///
/// <https://man7.org/linux/man-pages/man2/readv.2.html>
pub fn write_nowait(fd: &impl AsRawFd, bytes: &[u8]) -> Option<Result<usize>> {
    #[cfg(target_os = "linux")]
    {
        let iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let (fd, one, here) = (fd.as_raw_fd() as libc::c_long, 1 as libc::c_long, -1 as libc::c_long);
        // the raw system call: not every supported libc has the function
        // SAFETY: iov is one vector over bytes, which live until the call returns and are only read.
        let n = unsafe {
            libc::syscall(libc::SYS_pwritev2, fd, &raw const iov, one, here, here, libc::RWF_NOWAIT)
        };
        match Errno::result(n) {
            // an old kernel, or a system call filter that does not allow the call
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

/// Close every descriptor from 3 on: `int close_range(3, ~0U, 0)`, or `void closefrom(3)`. Only for a child that then
/// ends by exec or _exit: nothing may use or drop an owner of these descriptors afterwards.
///
/// <https://man7.org/linux/man-pages/man2/close_range.2.html>
pub fn closefrom_3() {
    #[cfg(target_os = "linux")]
    // SAFETY: close_range takes integers; the calling child never uses what this closes: it ends by exec or _exit.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    // SAFETY: closefrom takes an integer; the calling child never uses what this closes: it ends by exec or _exit.
    unsafe {
        libc::closefrom(3);
    }
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        let open = std::fs::read_dir("/dev/fd").into_iter().flatten().flatten();
        let open: Vec<c_int> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        for fd in open.into_iter().filter(|&fd| fd > 2) {
            // SAFETY: close takes an integer; the calling child never uses what this closes: it ends by exec or _exit.
            unsafe { libc::close(fd) };
        }
    }
}

/// Wait for descriptors, with a signal mask that applies only during the wait:
/// `int ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)`. With no timeout, it waits forever.
/// macOS has no such call: there, a signal that arrives just before the wait is noticed up to 50 ms late.
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
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: fds is a slice of that many pollfd; the set and the timespec, if any, live until ppoll returns.
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
        // SAFETY: fds is a slice of that many pollfd, which lives until poll returns.
        let ready = Errno::result(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as _, milliseconds) });
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        ready.map(drop)
    }
}
