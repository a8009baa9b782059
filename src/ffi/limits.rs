//! Limits on resources: of this process, and of another one.

use std::ptr;

use nix::Result;
use nix::errno::Errno;

/// What a child may be allowed less of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// `RLIMIT_CPU`, seconds
    Cpu,
    /// `RLIMIT_AS`, bytes; `RLIMIT_DATA` on OpenBSD, which has no other
    Memory,
    /// `RLIMIT_NOFILE`
    Descriptors,
    /// `RLIMIT_NPROC`
    Processes,
}

impl Allowance {
    /// How a log names it when it cannot be limited.
    pub fn name(self) -> &'static str {
        match self {
            Allowance::Cpu => "setrlimit-cpu",
            Allowance::Memory => "setrlimit-memory",
            Allowance::Descriptors => "setrlimit-nofile",
            Allowance::Processes => "setrlimit-nproc",
        }
    }
}

/// Limit a resource of this process, soft and hard; of CPU the hard limit, SIGKILL, is a second more than SIGXCPU, if
/// that is allowed: `int setrlimit(int, const struct rlimit *)`.
///
/// # Errors
/// EPERM for more than is allowed already, EINVAL.
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
    // more than there is a number for is no limit
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

/// Set the soft limit of a resource of another process, and give the one it had:
/// `int prlimit(pid_t, int, const struct rlimit *, struct rlimit *)` (Linux).
///
/// # Errors
/// EPERM for another user's process, ESRCH; elsewhere than on Linux, ENOSYS.
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
        // SAFETY: limit is a whole rlimit that lives until prlimit returns; nothing is set.
        Errno::result(unsafe { libc::prlimit(pid, resource, ptr::null(), &raw mut limit) })?;
        let was = limit.rlim_cur;
        limit.rlim_cur = soft;
        // SAFETY: limit is a whole rlimit that lives until prlimit returns; the old one is not asked for.
        Errno::result(unsafe { libc::prlimit(pid, resource, &raw const limit, ptr::null_mut()) })?;
        Ok(was)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (pid, resource, soft);
        Err(Errno::ENOSYS)
    }
}
