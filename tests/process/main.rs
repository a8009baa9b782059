//! `prise server robust` and its C twin as processes: what they leave behind, what they survive, and what
//! they print. Every scenario is written once, and is a test for each of the two. Last, [`faithful`]: the same
//! questions to the tutorial's own servers, whose answers differ.

#[path = "../support/mod.rs"]
mod support;

/// Make two tests of each scenario, a function of the [`fixture::Kind`] of server:
/// `rust::SCENARIO` and `c::SCENARIO`.
macro_rules! both {
    ($($scenario:ident),+ $(,)?) => {
        mod rust {
            $(#[test] fn $scenario() { super::$scenario(crate::fixture::Kind::Rust) })+
        }
        mod c {
            $(#[test] fn $scenario() { super::$scenario(crate::fixture::Kind::C) })+
        }
    };
}

mod clients; // as many as there are, and as rude as they come
mod fixture; // a server that is running, and a client for it
mod lifecycle; // children, descriptors, signals, restart
mod log; // stdout: to a file, closed, full, broken
mod messages; // what comes, what is printed, what goes back

// what only Linux can show: strace, prlimit, the kernel's tables
#[cfg(target_os = "linux")]
mod exhaustion; // no descriptors, no processes: back off, then go on
#[cfg(target_os = "linux")]
mod faithful; // server fork and server loop, with the tutorial's mistakes
#[cfg(target_os = "linux")]
mod faults; // a call fails, once and three times in a row
#[cfg(target_os = "linux")]
mod strace; // strace, attached to a server
