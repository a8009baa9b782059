//! Resource limits, of this process and of another one.

use nix::Result;
use nix::errno::Errno;

/// A resource that `serve` can limit for its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// `RLIMIT_CPU`, seconds
    Cpu,
    /// `RLIMIT_AS`, bytes; on OpenBSD `RLIMIT_DATA`, as it has no `RLIMIT_AS`
    Memory,
    /// `RLIMIT_NOFILE`, one more than the highest descriptor
    Descriptors,
    /// `RLIMIT_NPROC`, processes of the user
    Processes,
}

impl Allowance {
    /// The name of the failed step in the log, when the limit cannot be set.
    pub fn name(self) -> &'static str {
        match self {
            Allowance::Cpu => "setrlimit-cpu",
            Allowance::Memory => "setrlimit-memory",
            Allowance::Descriptors => "setrlimit-nofile",
            Allowance::Processes => "setrlimit-nproc",
        }
    }
}

/// Set the soft and hard limit of a resource of this process: `int setrlimit(int, const struct rlimit *)`. For CPU, the
/// hard limit (SIGKILL) is one second above the soft limit (SIGXCPU), unless the current hard limit is lower.
///
/// # Errors
/// EPERM if the value is above the current hard limit, EINVAL.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/setrlimit.html>
pub fn setrlimit(allowance: Allowance, value: u64) -> Result<()> {
    let resource = match allowance {
        Allowance::Cpu => libc::RLIMIT_CPU,
        #[cfg(not(target_os = "openbsd"))]
        Allowance::Memory => libc::RLIMIT_AS,
        #[cfg(target_os = "openbsd")]
        Allowance::Memory => libc::RLIMIT_DATA,
        Allowance::Descriptors => libc::RLIMIT_NOFILE,
        Allowance::Processes => libc::RLIMIT_NPROC,
    };
    // a value that does not fit in rlim_t means no limit
    let soft = libc::rlim_t::try_from(value).unwrap_or(libc::RLIM_INFINITY);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit is a whole rlimit that lives until getrlimit returns.
    Errno::result(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    limit.rlim_cur = soft;
    limit.rlim_max = match allowance {
        Allowance::Cpu if soft <= limit.rlim_max => limit.rlim_max.min(soft.saturating_add(1)),
        _ => soft,
    };
    // SAFETY: limit is a whole rlimit that lives until setrlimit returns.
    Errno::result(unsafe { libc::setrlimit(resource, &raw const limit) }).map(drop)
}

/// A resource that [`prlimit`] limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `RLIMIT_NOFILE`: one more than the highest descriptor.
    Descriptors,
    /// `RLIMIT_NPROC`: the processes of the user.
    Processes,
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
        let resource = match resource {
            Resource::Descriptors => libc::RLIMIT_NOFILE,
            Resource::Processes => libc::RLIMIT_NPROC,
        };
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: limit is a whole rlimit that lives until prlimit returns; a null new limit means no change.
        Errno::result(unsafe { libc::prlimit(pid, resource, std::ptr::null(), &raw mut limit) })?;
        let was = limit.rlim_cur;
        limit.rlim_cur = soft;
        // SAFETY: limit is a whole rlimit that lives until prlimit returns; a null pointer skips the old limit.
        Errno::result(unsafe { libc::prlimit(pid, resource, &raw const limit, std::ptr::null_mut()) })?;
        Ok(was)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (pid, resource, soft);
        Err(Errno::ENOSYS)
    }
}
