//! What has happened before a program's first step.
//! Twin: `c/runtime.h`.
//!
//! Rust's runtime has opened descriptors 0 to 2 on `/dev/null` where they were closed, and ignores
//! SIGPIPE. The rest is done here.

use nix::sys::signal::Signal;

use crate::ffi::{Handler, do_without_nss_modules, sigaction};

/// What is left to do before the first step.
pub fn start() {
    // a write beyond the limit on a file's size is an error to report, not a signal to die of
    sigaction(Signal::SIGXFSZ, Handler::Ignore).ok();
    do_without_nss_modules();
}

/// For the tutorial's programs, which C's runtime starts with both signals at their default.
pub fn as_c() {
    sigaction(Signal::SIGXFSZ, Handler::Default).ok();
    sigaction(Signal::SIGPIPE, Handler::Default).ok();
}
