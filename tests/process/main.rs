//! Tests of `prise server robust` and of its C twin as processes: what they leave behind, what they survive, and what
//! they print. Each scenario is written once and is a test for each of the two. The module [`faithful`] tests the same
//! of `server fork` and `server loop`, which keep the tutorial's mistakes.

#[path = "../support/mod.rs"]
mod support;

/// Make two tests of each scenario: `rust::SCENARIO` and `c::SCENARIO`. A scenario is a function that takes a
/// [`fixture::Kind`].
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

mod clients; // many clients, and clients that misbehave
mod fixture; // a running server, and clients for it
mod lifecycle; // children, descriptors, signals, restart
mod log; // stdout to a file, closed, full, broken
mod messages; // the message, the log line, the reply

// Linux only: these need strace, prlimit or /proc
#[cfg(target_os = "linux")]
mod exhaustion; // no descriptors or processes left: the server backs off, then goes on
#[cfg(target_os = "linux")]
mod faithful; // server fork and server loop, with the tutorial's mistakes
#[cfg(target_os = "linux")]
mod faults; // a system call fails, once and three times in a row
#[cfg(target_os = "linux")]
mod strace; // attaches strace to a server
