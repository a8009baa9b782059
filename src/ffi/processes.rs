//! Processes: fork, exec, wait, and what a process may become.

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::zeroed;
use std::ptr;
use std::time::Duration;

use libc::pid_t;
use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid};

/// Make a child, a copy of this process: `pid_t fork(void)`.
///
/// # Errors
/// EAGAIN (the limit of processes), ENOMEM.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fork.html>
pub fn fork() -> Result<ForkResult> {
    // SAFETY: the process has one thread, which prise::main has made sure of: no lock of another is copied.
    unsafe { nix::unistd::fork() }
}

/// End this process at once, without flushing what it shares with its parent: `void _exit(int)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/_exit.html>
pub fn _exit(status: c_int) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

/// Strings as execve takes them: an array of pointers that a null pointer ends. They are made before fork: a
/// child that asks for no memory touches, and so copies, fewer pages.
pub struct Strings {
    fixed: Vec<CString>,
    more: String,
    /// To all of `fixed`, to what NULs end in `more`, and a null pointer.
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// These.
    pub fn new(fixed: Vec<CString>) -> Strings {
        let pointers = fixed.iter().map(|string| string.as_ptr()).collect();
        let mut strings = Strings { fixed, more: String::new(), pointers };
        strings.set_more("");
        strings
    }

    /// Let others than before follow those that [`Strings::new`] was given, each with its NUL.
    pub fn set_more(&mut self, more: &str) {
        self.pointers.truncate(self.fixed.len());
        self.more.clear();
        self.more.push_str(more);
        let whole = self.more.split_inclusive('\0').filter(|string| string.ends_with('\0'));
        self.pointers.extend(whole.map(|string| string.as_ptr().cast::<c_char>()));
        self.pointers.push(ptr::null());
    }
}

/// Execute a program: `int execve(const char *, char *const [], char *const [])`. It returns only to say why it
/// could not. (nix's makes the arrays, after fork.)
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/execve.html>
pub fn execve(file: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    let (arguments, environment) = (arguments.pointers.as_ptr(), environment.pointers.as_ptr());
    // SAFETY: all are NUL-terminated strings, and arrays of such that a null pointer ends; their owners outlive the call.
    unsafe { libc::execve(file.as_ptr(), arguments, environment) };
    Errno::last()
}

/// Reap a child that has ended, if there is one: `pid_t waitpid(-1, NULL, WNOHANG)`. None: there is
/// no child, or none has ended; EINTR cannot be, since it never waits. (nix's waitpid gives EINVAL for
/// a child that a real-time signal killed.)
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
    /// Its number, free again.
    pub pid: i32,
    /// Its status, as `WIFEXITED` and its kin read it.
    pub status: c_int,
    /// The CPU that it and its own children have had.
    pub cpu: Duration,
    /// The most memory that it had, in kilobytes (in bytes on macOS).
    pub maxrss: libc::c_long,
}

/// Reap a child that has ended, with what it has used: `pid_t wait4(pid, &status, WNOHANG, &usage)`.
/// -1 stands for any child. None: it has not ended, or is not there. One that has asked to be traced by its parent
/// and has stopped, which is told too, is let go.
///
/// <https://man7.org/linux/man-pages/man2/wait4.2.html>
pub fn wait4(pid: i32) -> Option<Ended> {
    let mut status = 0;
    // SAFETY: every field of rusage is an integer, for which all bits zero is a value.
    let mut usage: libc::rusage = unsafe { zeroed() };
    let mut let_go = 0;
    let pid = loop {
        // SAFETY: status and usage are whole and live until wait4 returns.
        let found = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
        if found <= 0 || libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            break found;
        }
        detach(found, libc::WSTOPSIG(status));
        let_go += 1;
        // they may have themselves traced again at once: for each there is a signal, and another look
        if let_go == 64 {
            break 0;
        }
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    let cpu = time(usage.ru_utime) + time(usage.ru_stime);
    (pid > 0).then_some(Ended { pid, status, cpu, maxrss: usage.ru_maxrss })
}

/// Look at a child that has ended, with its status as `WIFEXITED` and its kin read it, and leave it to be reaped:
/// `waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT)`. None: there is no child, or none has ended.
/// (Not all of the BSDs have the call: there it is reaped, `waitpid(-1, &status, WNOHANG)`.)
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/waitid.html>
pub fn peek_ended() -> Option<(i32, c_int)> {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    {
        // SAFETY: siginfo is a structure of integers and pointers, for which all bits zero is a value.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let (pid, status) = loop {
            // SAFETY: info is whole and lives until waitid returns; P_ALL takes no number.
            if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) } != 0 {
                return None;
            }
            // SAFETY: all bits of it were set, here or by waitid.
            let pid = unsafe { info.si_pid() };
            // SAFETY: what waitid fills in has si_status.
            let status = unsafe { info.si_status() };
            match info.si_code {
                libc::CLD_EXITED => break (pid, status << 8),
                libc::CLD_DUMPED => break (pid, status | 0x80),
                // traced by this process, of which Linux tells unasked
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

/// Let a child go that is traced by this process, for its own PTRACE_TRACEME, and has stopped at a signal, which it
/// then gets: `ptrace(PTRACE_DETACH, pid, …, signal)`, PT_DETACH on BSD.
fn detach(pid: pid_t, signal: c_int) {
    // at an exec it stops with a signal that nobody has sent
    let signal = if signal == libc::SIGTRAP { 0 } else { signal };
    #[cfg(target_os = "linux")]
    // SAFETY: this request takes integers and reads no memory; ESRCH: it has been killed meanwhile.
    unsafe {
        libc::ptrace(libc::PTRACE_DETACH as _, pid, ptr::null_mut::<libc::c_void>(), signal as libc::c_long);
    }
    #[cfg(not(target_os = "linux"))]
    // SAFETY: this request takes integers, and an address of 1 for "where it stopped", which nothing reads.
    unsafe {
        libc::ptrace(libc::PT_DETACH, pid, ptr::without_provenance_mut(1), signal);
    }
}

/// Have the orphans among our descendants become our children: `prctl(PR_SET_CHILD_SUBREAPER, 1)`
/// (Linux; elsewhere they become init's).
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html>
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    // it cannot fail where it is known, and where it is not, init adopts
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Have SIGTERM sent to this process when its parent ends, be it killed: `prctl(PR_SET_PDEATHSIG, SIGTERM)` (Linux),
/// `procctl(PROC_PDEATHSIG_CTL)` (FreeBSD); elsewhere it goes on. It stays over exec, unless that gives more rights.
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html>
pub fn term_with_parent() {
    // neither fails for a signal that there is
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM);
    #[cfg(target_os = "freebsd")]
    {
        let mut signal = libc::SIGTERM;
        // SAFETY: this command reads one int, which lives until procctl returns; P_PID and 0 are this process.
        unsafe { libc::procctl(libc::P_PID, 0, libc::PROC_PDEATHSIG_CTL, (&raw mut signal).cast()) };
    }
}

/// Have exec give neither this process nor what it executes more rights than it has:
/// `prctl(PR_SET_NO_NEW_PRIVS, 1)` (Linux), `procctl(PROC_NO_NEW_PRIVS_CTL)` (FreeBSD).
///
/// # Errors
/// ENOSYS where there is no such call.
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

/// Set the groups of this process, and its user's numbers, for good:
/// `setgroups`, `setgid`, `setuid`, in this order.
///
/// # Errors
/// EPERM; which call it was stands beside it.
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

/// All groups of a user, `gid` among them: `int getgrouplist(const char *, gid_t, gid_t *, int *)`.
///
/// # Errors
/// EINVAL when there are more than can be set.
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
        // NGROUPS_MAX is 16 there
        let mut groups = [0; 16];
        let mut n = groups.len() as c_int;
        // SAFETY: user is NUL-terminated; groups has room for n numbers; both and n live until it returns.
        let got = unsafe { libc::getgrouplist(user.as_ptr(), gid as c_int, groups.as_mut_ptr(), &raw mut n) };
        if got < 0 {
            return Err(Errno::EINVAL);
        }
        Ok(groups[..n as usize].iter().map(|&gid| gid as u32).collect())
    }
}
