//! `prise serve` as a process: what it promises, attacked. A scenario that takes a [`fixture::Reaper`] is
//! tried with each; all of them run a few at a time, since they wait more than they work.

#[path = "../support/mod.rs"]
mod support;

/// The trials of a file: of each scenario after `both`, one with either reaper; of each after `once`, one.
macro_rules! trials {
    (both: $($both:ident),* ; once: $($once:ident),* $(;)?) => {
        pub fn trials() -> Vec<libtest_mimic::Trial> {
            let mut trials = Vec::new();
            let family = module_path!().rsplit("::").next().unwrap_or_default();
            for reaper in [crate::fixture::Reaper::Hint, crate::fixture::Reaper::Sigchld] {
                let _ = reaper;
                $(trials.push(libtest_mimic::Trial::test(
                    format!("{family}::{}::{}", reaper.name(), stringify!($both)),
                    move || { $both(reaper); Ok(()) },
                ));)*
            }
            $(trials.push(libtest_mimic::Trial::test(
                format!("{family}::{}", stringify!($once)),
                || { $once(); Ok(()) },
            ));)*
            trials
        }
    };
}

mod caps; // how many, how many of one source, how fast, how long
mod examined; // what prise check says of it
mod exhaustion; // no descriptors, no memory, no processes: nobody is dropped
mod fixture; // a server that is running, and clients for it
mod handed; // sockets handed over, readiness, the bound address
mod hangup; // clients that have wholly gone
mod hostile; // programs that would do more than serve their client
mod log; // exit codes, and every line
mod program; // what the program finds: descriptors, signals, identity, limits, environment
mod proxied; // the PROXY protocol's header
mod slots; // a slot is released on every path
mod stop; // the end, and who outlives it
#[allow(dead_code)]
#[path = "../process/strace.rs"]
mod strace; // strace, attached to a server, making its calls fail
mod watch; // strace, attached to a server, watching
mod wakeups; // no client is forgotten
mod zombies; // nor any child

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(6));
    fixture::raise_descriptor_limit();
    let families = [
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
    libtest_mimic::run(&arguments, families.into_iter().flatten().collect()).exit_code()
}
