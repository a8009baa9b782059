//! What has happened before a program's first step.
//! Twin: `c/runtime.h`.
//!
//! Rust's runtime has opened descriptors 0 to 2 on `/dev/null` where they were closed, and ignores
//! SIGPIPE. The rest is done here.

use std::fs;

use nix::sys::signal::Signal;

use crate::ffi::{Handler, do_without_nss_modules, sigaction};

/// What is left to do before the first step.
///
/// # Errors
/// In words: the process has other threads than this one, which fork would not copy.
pub fn start() -> Result<(), &'static str> {
    // Linux lists a process's threads there; elsewhere it is not looked
    if fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1) {
        return Err("prise::main forks, and must be called before any thread is started");
    }
    // a write beyond the limit on a file's size is an error to report, not a signal to die of
    sigaction(Signal::SIGXFSZ, Handler::Ignore).ok();
    do_without_nss_modules();
    Ok(())
}

/// For the tutorial's programs, which C's runtime starts with both signals at their default.
pub fn as_c() {
    sigaction(Signal::SIGXFSZ, Handler::Default).ok();
    sigaction(Signal::SIGPIPE, Handler::Default).ok();
}
