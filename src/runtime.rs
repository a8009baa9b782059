//! What prise does before a program's first step.
//! Twin: `c/runtime.h`.
//!
//! Rust's runtime has already opened closed descriptors among 0 to 2 on `/dev/null`, and ignores SIGPIPE. This file
//! does the rest.

use std::fs;

use nix::sys::signal::Signal;

use crate::ffi::{Handler, do_without_nss_modules, sigaction};

/// Prepare the process: check that it has one thread, ignore SIGXFSZ, and limit glibc's name lookups.
///
/// # Errors
/// A message, if the process has other threads: `fork` would not copy them. Only Linux is checked.
pub fn start() -> Result<(), &'static str> {
    // this directory lists the threads of the process; only Linux has it
    if fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1) {
        return Err("prise::main forks, and must be called before any thread is started");
    }
    // a write beyond the file size limit must fail with EFBIG, not kill the process
    sigaction(Signal::SIGXFSZ, Handler::Ignore).ok();
    do_without_nss_modules();
    Ok(())
}

/// Set SIGXFSZ and SIGPIPE back to their default, for the tutorial's programs: C starts them that way.
pub fn as_c() {
    sigaction(Signal::SIGXFSZ, Handler::Default).ok();
    sigaction(Signal::SIGPIPE, Handler::Default).ok();
}
