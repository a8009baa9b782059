//! Tests of `prise serve` as a process: each promise is attacked. A scenario that takes a [`fixture::Reaper`] runs once
//! with each reaper. Several tests run at a time, since they mostly wait.

#[path = "../support/mod.rs"]
mod support;

/// The tests of a file: each scenario after `both` runs with both reapers, each scenario after `once` runs once.
macro_rules! trials {
    (both: $($both:ident),* ; once: $($once:ident),* $(;)?) => {
        pub fn trials() -> Vec<libtest_mimic::Trial> {
            let mut trials = Vec::new();
            let file = module_path!().rsplit("::").next().unwrap_or_default();
            for reaper in [crate::fixture::Reaper::Hint, crate::fixture::Reaper::Sigchld] {
                let _ = reaper;
                $(trials.push(libtest_mimic::Trial::test(
                    format!("{file}::{}::{}", reaper.name(), stringify!($both)),
                    move || { $both(reaper); Ok(()) },
                ));)*
            }
            $(trials.push(libtest_mimic::Trial::test(
                format!("{file}::{}", stringify!($once)),
                || { $once(); Ok(()) },
            ));)*
            trials
        }
    };
}

mod caps; // limits: children, clients per source, rate, time
mod examined; // prise check examines prise serve
mod exhaustion; // no descriptors, memory or processes left: no accepted client is dropped
mod fixture; // a running server, and clients for it
mod handed; // socket activation, readiness, the printed address
mod hangup; // clients that close both directions
mod hostile; // programs that attack the server
mod log; // exit codes, and every log line
mod program; // the program's descriptors, signals, user, limits, environment
mod proxied; // the PROXY protocol's header
mod slots; // every path releases its slot
mod stop; // stopping, and the grace period
#[allow(dead_code)]
#[path = "../process/strace.rs"]
mod strace; // attaches strace to a server, to make its calls fail
mod watch; // attaches strace to a server, to record its calls
mod wakeups; // no client is forgotten
mod zombies; // no zombie stays

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(6));
    fixture::raise_descriptor_limit();
    let trials = [
        zombies::trials(),
        hangup::trials(),
        hostile::trials(),
        examined::trials(),
        caps::trials(),
        exhaustion::trials(),
        handed::trials(),
        log::trials(),
        program::trials(),
        proxied::trials(),
        slots::trials(),
        stop::trials(),
        wakeups::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}
