//! What processes use: CPU time, page faults, memory.

use std::fs;
use std::thread;

use nix::sys::resource::{UsageWho, getrusage};

use crate::support::{Process, processes};

/// What was used up to a point in time, or between two.
#[derive(Clone, Copy)]
pub struct Usage {
    /// User and system time, in microseconds.
    pub cpu_us: f64,
    /// Minor page faults: those that read nothing from a disk.
    pub faults: f64,
}

impl Usage {
    /// What this thread has used, or all children that were waited for, with those that they had waited for. It has a
    /// precision of a microsecond; /proc counts in hundredths of a second.
    pub fn of(who: UsageWho) -> Usage {
        let usage = getrusage(who).expect("getrusage works");
        let us = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
        Usage {
            cpu_us: us(usage.user_time()) + us(usage.system_time()),
            faults: usage.minor_page_faults() as f64,
        }
    }

    /// What was used since `before`.
    pub fn since(self, before: Usage) -> Usage {
        Usage { cpu_us: self.cpu_us - before.cpu_us, faults: self.faults - before.faults }
    }
}

/// All descendants of a process.
pub fn descendants(pid: u32) -> Vec<Process> {
    let all = processes();
    let mut found: Vec<u32> = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|process| process.ppid == parent).map(|process| process.pid));
        next += 1;
    }
    all.into_iter().filter(|process| process.pid != pid && found.contains(&process.pid)).collect()
}

/// The memory of a process in kilobytes. Shared pages count in proportion (PSS).
pub fn pss(pid: u32) -> Option<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The CPU time of a process and of all children that it has waited for, in hundredths of a second.
pub fn ticks(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server runs");
    let after_name = stat.rsplit(") ").next().expect("rsplit gives at least one part");
    // utime, stime, cutime, cstime: see proc_pid_stat(5)
    after_name.split(' ').skip(11).take(4).map(|field| field.parse::<f64>().expect("a number")).sum()
}

/// The number of processors.
pub fn processors() -> f64 {
    thread::available_parallelism().map_or(1.0, |number| number.get() as f64)
}
