//! Resource limits, of this process and of another one.

use std::ffi::c_int;

use nix::Result;
use nix::errno::Errno;

/// A resource that [`setrlimit`] and [`prlimit`] limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `RLIMIT_CPU`, seconds
    Cpu,
    /// `RLIMIT_AS`, bytes; on OpenBSD `RLIMIT_DATA`, as it has no `RLIMIT_AS`
    Memory,
    /// `RLIMIT_NOFILE`, one more than the highest descriptor
    Descriptors,
    /// `RLIMIT_NPROC`, processes of the user
    Processes,
}

impl Resource {
    /// The name of the failed step in the log, when the limit cannot be set.
    pub fn name(self) -> &'static str {
        match self {
            Resource::Cpu => "setrlimit-cpu",
            Resource::Memory => "setrlimit-memory",
            Resource::Descriptors => "setrlimit-nofile",
            Resource::Processes => "setrlimit-nproc",
        }
    }

    /// Its number. The C libraries do not agree on its type, so callers convert it.
    fn number(self) -> c_int {
        let number = match self {
            Resource::Cpu => libc::RLIMIT_CPU,
            #[cfg(not(target_os = "openbsd"))]
            Resource::Memory => libc::RLIMIT_AS,
            #[cfg(target_os = "openbsd")]
            Resource::Memory => libc::RLIMIT_DATA,
            Resource::Descriptors => libc::RLIMIT_NOFILE,
            Resource::Processes => libc::RLIMIT_NPROC,
        };
        number as _
    }
}

/// Set the soft and hard limit of a resource of this process: `int setrlimit(int, const struct rlimit *)`. For CPU, the
/// hard limit (SIGKILL) is one second above the soft limit (SIGXCPU), unless the current hard limit is lower.
///
/// # Errors
/// EPERM if the value is above the current hard limit, EINVAL.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/setrlimit.html>
pub fn setrlimit(resource: Resource, value: u64) -> Result<()> {
    let number = resource.number() as _;
    // a value that does not fit in rlim_t means no limit
    let soft = libc::rlim_t::try_from(value).unwrap_or(libc::RLIM_INFINITY);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit is a whole rlimit that lives until getrlimit returns.
    Errno::result(unsafe { libc::getrlimit(number, &raw mut limit) })?;
    limit.rlim_cur = soft;
    limit.rlim_max = match resource {
        Resource::Cpu if soft <= limit.rlim_max => limit.rlim_max.min(soft.saturating_add(1)),
        _ => soft,
    };
    // SAFETY: limit is a whole rlimit that lives until setrlimit returns.
    Errno::result(unsafe { libc::setrlimit(number, &raw const limit) }).map(drop)
}

/// Set the soft limit of a resource of another process, and return the previous one:
/// `int prlimit(pid_t, int, const struct rlimit *, struct rlimit *)` (Linux).
///
/// # Errors
/// EPERM for another user's process, ESRCH; ENOSYS on systems other than Linux.
///
/// <https://man7.org/linux/man-pages/man2/prlimit.2.html>
pub fn prlimit(pid: i32, resource: Resource, soft: u64) -> Result<u64> {
    #[cfg(target_os = "linux")]
    {
        let number = resource.number() as _;
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: limit is a whole rlimit that lives until prlimit returns; a null new limit means no change.
        Errno::result(unsafe { libc::prlimit(pid, number, std::ptr::null(), &raw mut limit) })?;
        let was = limit.rlim_cur;
        limit.rlim_cur = soft;
        // SAFETY: limit is a whole rlimit that lives until prlimit returns; a null pointer skips the old limit.
        Errno::result(unsafe { libc::prlimit(pid, number, &raw const limit, std::ptr::null_mut()) })?;
        Ok(was)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (pid, resource, soft);
        Err(Errno::ENOSYS)
    }
}
