//! What processes use: CPU, page faults, memory.

use std::fs;
use std::thread;

use nix::sys::resource::{UsageWho, getrusage};

use crate::support::{Process, processes};

/// What was used up to a moment, or between two.
#[derive(Clone, Copy)]
pub struct Usage {
    /// User and system time.
    pub cpu_us: f64,
    /// Page faults for which nothing was read.
    pub faults: f64,
}

impl Usage {
    /// Of this thread, or of all who were waited for, and whom they had waited for: exact to a microsecond,
    /// where /proc counts in hundredths of a second.
    pub fn of(who: UsageWho) -> Usage {
        let usage = getrusage(who).expect("it is known");
        let us = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
        Usage {
            cpu_us: us(usage.user_time()) + us(usage.system_time()),
            faults: usage.minor_page_faults() as f64,
        }
    }

    /// What was used since.
    pub fn since(self, before: Usage) -> Usage {
        Usage { cpu_us: self.cpu_us - before.cpu_us, faults: self.faults - before.faults }
    }
}

/// All who descend from a process.
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

/// The memory of a process, of which what it shares counts in proportion (PSS), in kilobytes.
pub fn pss(pid: u32) -> Option<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The CPU time of a process and of all whom it has waited for so far, in hundredths of a second.
pub fn ticks(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server is there");
    let after_name = stat.rsplit(") ").next().expect("there is always one");
    // utime, stime, cutime, cstime: see proc_pid_stat(5)
    after_name.split(' ').skip(11).take(4).map(|field| field.parse::<f64>().expect("a number")).sum()
}

/// How many processors there are.
pub fn processors() -> f64 {
    thread::available_parallelism().map_or(1.0, |number| number.get() as f64)
}
