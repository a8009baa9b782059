//! The only unsafe code: wrappers of calls that nix does not provide, or not in the form needed here. This file lists
//! what the rest of the crate may use; each module below covers one subject.
//!
//! There is one wrapper per call. It owns what it returns, and copies static buffers at once.
//!
//! Some wrappers are sound only if the process has one thread. `prise::main` requires that, and checks it on Linux if
//! /proc is mounted; no code of prise starts a thread.
#![allow(unsafe_code)]

pub mod c; // the calls of the tutorial's programs, as in C: plain numbers, -1, errno

mod descriptors; // inherit, poll, write without blocking, close
mod limits; // setrlimit, prlimit
mod memory; // memory that fork shares or does not copy
mod names; // byte order, dotted quads, the resolver
mod processes; // fork, exec, wait, users
mod signals; // handlers, and the flags they set
mod sockets; // sockaddr_in, bind, listen, accept

pub use self::descriptors::{closefrom_3, inherited, ppoll, write_nowait};
pub use self::limits::{Resource, prlimit, setrlimit};
pub use self::memory::{Unforked, malloc_trim, shared_counter};
pub use self::names::{
    Quad, do_without_nss_modules, gethostbyname, h_errno, hstrerror, htonl, htons, inet_ntoa, ntohs,
};
pub use self::processes::{
    _exit, Ended, Strings, adopt_orphans, become_user, execve, fork, getgrouplist, no_new_privs, peek_ended,
    term_with_parent, wait4,
};
pub use self::signals::{
    Handler, STOP_SIGNALS, child_noted, default_disposition, not_at_default, note_stop_signals, sigaction,
    status_asked, stop_asked, stops_asked,
};
pub use self::sockets::{accept, accept4, bind, getsockname, listen, sockaddr_in};
