//! Processes: fork, exec, wait, users and privileges.

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::zeroed;
use std::ptr;
use std::time::Duration;

use libc::pid_t;
use nix::Result;
use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};

/// Make a child process, a copy of this one: `pid_t fork(void)`.
///
/// # Errors
/// EAGAIN (a limit on the number of processes), ENOMEM.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fork.html>
pub fn fork() -> Result<ForkResult> {
    // SAFETY: the process has one thread (see src/ffi.rs), so the child does not inherit a lock that another one holds.
    unsafe { nix::unistd::fork() }
}

/// End this process at once, without flushing the buffers copied from its parent: `void _exit(int)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/_exit.html>
pub fn _exit(status: c_int) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

/// Strings for execve: an array of pointers that ends with a null pointer. They are made before fork: a child that
/// allocates no memory writes to fewer pages, so the kernel copies fewer.
pub struct Strings {
    fixed: Vec<CString>,
    more: String,
    /// Pointers to each string of `fixed`, to each NUL-terminated string in `more`, and a null pointer.
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// Make the array from these strings.
    pub fn new(fixed: Vec<CString>) -> Strings {
        let pointers = fixed.iter().map(|string| string.as_ptr()).collect();
        let mut strings = Strings { fixed, more: String::new(), pointers };
        strings.set_more("");
        strings
    }

    /// Replace the strings after those given to [`Strings::new`]. In `more`, each string ends with a NUL.
    pub fn set_more(&mut self, more: &str) {
        self.pointers.truncate(self.fixed.len());
        self.more.clear();
        self.more.push_str(more);
        let whole = self.more.split_inclusive('\0').filter(|string| string.ends_with('\0'));
        self.pointers.extend(whole.map(|string| string.as_ptr().cast::<c_char>()));
        self.pointers.push(ptr::null());
    }
}

/// Execute a program: `int execve(const char *, char *const [], char *const [])`. It returns only if it fails, with the
/// reason. (nix's execve allocates the arrays, which would be after fork.)
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/execve.html>
pub fn execve(file: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    let (arguments, environment) = (arguments.pointers.as_ptr(), environment.pointers.as_ptr());
    // SAFETY: the strings are NUL-terminated, the arrays end with a null pointer, and all of them outlive the call.
    unsafe { libc::execve(file.as_ptr(), arguments, environment) };
    Errno::last()
}

/// Reap a child that has ended, if there is one: `pid_t waitpid(-1, NULL, WNOHANG)`. `None`: there is no child, or none
/// has ended. EINTR is impossible, because the call never blocks. (nix's waitpid returns EINVAL for a child killed by a
/// real-time signal.)
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/waitpid.html>
pub fn waitpid_nohang() -> Option<Pid> {
    // SAFETY: a null status pointer tells waitpid to store no status.
    let pid: pid_t = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) };
    (pid > 0).then(|| Pid::from_raw(pid))
}

/// A child that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its process ID, which the kernel may already reuse.
    pub pid: i32,
    /// Its wait status, for `WIFEXITED` and the similar macros.
    pub status: c_int,
    /// The CPU time of the child and of the children it waited for.
    pub cpu: Duration,
    /// Its largest resident set size, in kilobytes (in bytes on macOS).
    pub maxrss: libc::c_long,
}

/// Reap a child that has ended, with its resource usage: `pid_t wait4(pid_t, int *, WNOHANG, struct rusage *)`. A pid
/// of -1 means any child. `None`: it has not ended, or there is no such child. The call also reports a stopped child
/// that asked to be traced by this process; such a child is detached and continues.
///
/// <https://man7.org/linux/man-pages/man2/wait4.2.html>
pub fn wait4(pid: i32) -> Option<Ended> {
    let mut status = 0;
    // SAFETY: every field of rusage is an integer, for which all bits zero is a value.
    let mut usage: libc::rusage = unsafe { zeroed() };
    let mut detached = 0;
    let pid = loop {
        // SAFETY: status and usage are whole and live until wait4 returns.
        let found = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
        if found <= 0 || libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            break found;
        }
        detach(found, libc::WSTOPSIG(status));
        detached += 1;
        // a child may ask to be traced again at once, without end: each stop sends a SIGCHLD, so this is called again
        if detached == 64 {
            break 0;
        }
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    let cpu = time(usage.ru_utime) + time(usage.ru_stime);
    (pid > 0).then_some(Ended { pid, status, cpu, maxrss: usage.ru_maxrss })
}

/// The process ID and wait status of a child that has ended, which stays a zombie:
/// `int waitid(P_ALL, 0, siginfo_t *, WEXITED | WNOHANG | WNOWAIT)`. `None`: there is no child, or none has ended.
/// (Only Linux and FreeBSD do this. Elsewhere the child is reaped: `pid_t waitpid(-1, int *, WNOHANG)`.)
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/waitid.html>
pub fn peek_ended() -> Option<(i32, c_int)> {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    {
        // SAFETY: siginfo is a structure of integers and pointers, for which all bits zero is a value.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let (pid, status) = loop {
            // SAFETY: info is whole and lives until waitid returns; with P_ALL the number is not used.
            if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) } != 0 {
                return None;
            }
            // SAFETY: info is initialized, and si_pid is an integer: waitid set it, or it is still zero.
            let pid = unsafe { info.si_pid() };
            // SAFETY: info is initialized, and si_status is an integer: waitid set it, or it is still zero.
            let status = unsafe { info.si_status() };
            match info.si_code {
                libc::CLD_EXITED => break (pid, status << 8),
                libc::CLD_DUMPED => break (pid, status | 0x80),
                // a child traced by this process: Linux reports its stops without WSTOPPED
                libc::CLD_TRAPPED | libc::CLD_STOPPED => detach(pid, status),
                _ => break (pid, status),
            }
        };
        (pid != 0).then_some((pid, status))
    }
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    {
        let mut status = 0;
        loop {
            // SAFETY: status is an int that lives until waitpid returns.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return None;
            }
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                return Some((pid, status));
            }
            detach(pid, libc::WSTOPSIG(status));
        }
    }
}

/// Detach from a child that asked this process to trace it (PTRACE_TRACEME) and has stopped at a signal; the child
/// continues and gets that signal: `long ptrace(PTRACE_DETACH, pid, 0, signal)`, PT_DETACH on BSD.
///
/// <https://man7.org/linux/man-pages/man2/ptrace.2.html>
fn detach(pid: pid_t, signal: c_int) {
    // after an exec the kernel stops the child with SIGTRAP, which nobody sent
    let signal = if signal == libc::SIGTRAP { 0 } else { signal };
    #[cfg(target_os = "linux")]
    // SAFETY: this request takes integers and reads no memory. (ESRCH: the child was killed meanwhile.)
    unsafe {
        libc::ptrace(libc::PTRACE_DETACH as _, pid, ptr::null_mut::<libc::c_void>(), signal as libc::c_long);
    }
    #[cfg(not(target_os = "linux"))]
    // SAFETY: this request takes integers; the address 1 means "continue where it stopped" and is not dereferenced.
    unsafe {
        libc::ptrace(libc::PT_DETACH, pid, ptr::without_provenance_mut(1), signal);
    }
}

/// Make orphaned descendants children of this process: `int prctl(PR_SET_CHILD_SUBREAPER, 1)` (Linux; elsewhere init
/// adopts them).
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html>
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    // it fails only on a kernel that does not know it: there, init adopts them
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Make the kernel send SIGTERM to this process when its parent ends, even if the parent is killed:
/// `int prctl(PR_SET_PDEATHSIG, SIGTERM)` (Linux), `int procctl(P_PID, 0, PROC_PDEATHSIG_CTL, int *)` (FreeBSD);
/// elsewhere nothing happens. The setting survives exec, except of a set-user-ID or other privileged program.
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html>
pub fn term_with_parent() {
    // neither call fails with a valid signal
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM);
    #[cfg(target_os = "freebsd")]
    {
        let mut signal = libc::SIGTERM;
        // SAFETY: this command reads one int, which lives until procctl returns; P_PID and 0 are this process.
        unsafe { libc::procctl(libc::P_PID, 0, libc::PROC_PDEATHSIG_CTL, (&raw mut signal).cast()) };
    }
}

/// Make sure that exec never gives this process or its descendants more privileges: `int prctl(PR_SET_NO_NEW_PRIVS, 1)`
/// (Linux), `int procctl(P_PID, 0, PROC_NO_NEW_PRIVS_CTL, int *)` (FreeBSD).
///
/// # Errors
/// ENOSYS on other systems.
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_NO_NEW_PRIVS.2const.html>
pub fn no_new_privs() -> Result<()> {
    #[cfg(target_os = "linux")]
    return nix::sys::prctl::set_no_new_privs();
    #[cfg(target_os = "freebsd")]
    {
        let mut enable = libc::PROC_NO_NEW_PRIVS_ENABLE;
        let (command, enable) = (libc::PROC_NO_NEW_PRIVS_CTL, (&raw mut enable).cast());
        // SAFETY: this command reads one int, which lives until procctl returns; P_PID and 0 are this process.
        Errno::result(unsafe { libc::procctl(libc::P_PID, 0, command, enable) }).map(drop)
    }
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    Err(Errno::ENOSYS)
}

/// Set the groups, the group ID and the user ID of this process permanently: `int setgroups(size_t, const gid_t *)`,
/// `int setgid(gid_t)`, `int setuid(uid_t)`, in this order.
///
/// # Errors
/// EPERM, with the name of the call that failed.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/setuid.html>
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> std::result::Result<(), (&'static str, Errno)> {
    // SAFETY: pointer and length describe the slice, which lives until setgroups returns.
    let set = unsafe { libc::setgroups(groups.len() as _, groups.as_ptr().cast()) };
    Errno::result(set).map_err(|errno| ("setgroups", errno))?;
    // SAFETY: setgid takes an integer.
    Errno::result(unsafe { libc::setgid(gid) }).map_err(|errno| ("setgid", errno))?;
    // SAFETY: setuid takes an integer.
    Errno::result(unsafe { libc::setuid(uid) }).map_err(|errno| ("setuid", errno))?;
    Ok(())
}

/// All groups of a user, including `gid`: `int getgrouplist(const char *, gid_t, gid_t *, int *)`.
///
/// # Errors
/// EINVAL if the user has more groups than a process can have.
///
/// <https://man7.org/linux/man-pages/man3/getgrouplist.3.html>
pub fn getgrouplist(user: &CStr, gid: u32) -> Result<Vec<u32>> {
    #[cfg(not(target_os = "macos"))]
    {
        let groups = nix::unistd::getgrouplist(user, gid.into())?;
        Ok(groups.into_iter().map(nix::unistd::Gid::as_raw).collect())
    }
    #[cfg(target_os = "macos")]
    {
        // NGROUPS_MAX is 16 on macOS
        let mut groups = [0; 16];
        let mut n = groups.len() as c_int;
        // SAFETY: user is NUL-terminated, groups holds n numbers, and all three live until getgrouplist returns.
        let got = unsafe { libc::getgrouplist(user.as_ptr(), gid as c_int, groups.as_mut_ptr(), &raw mut n) };
        if got < 0 {
            return Err(Errno::EINVAL);
        }
        Ok(groups[..n as usize].iter().map(|&gid| gid as u32).collect())
    }
}
