//! The only unsafe: the calls that nix does not give, or does not give well. This is the door; each room below holds
//! one subject.
//!
//! One wrapper a call. Each owns what it returns and copies static buffers out at once.
#![allow(unsafe_code)]

pub mod c; // the calls of the tutorial's programs as C has them: plain numbers, -1, errno

mod descriptors; // taken over, waited for, written to without waiting, closed
mod limits; // setrlimit, prlimit
mod memory; // what fork shares, or does not copy
mod names; // byte order, dotted quads, the resolver
mod processes; // fork, exec, wait, users
mod signals; // handlers, and what they note
mod sockets; // sockaddr_in, bind, listen, accept

pub use self::descriptors::{closefrom_3, inherited, ppoll, write_nowait};
pub use self::limits::{Allowance, Resource, prlimit, setrlimit};
pub use self::memory::{Unforked, malloc_trim, shared_counter};
pub use self::names::{
    Quad, do_without_nss_modules, gethostbyname, h_errno, hstrerror, htonl, htons, inet_ntoa, ntohs,
};
pub use self::processes::{
    _exit, Ended, Strings, adopt_orphans, become_user, execve, fork, getgrouplist, no_new_privs, peek_ended,
    term_with_parent, wait4,
};
pub use self::signals::{
    Handler, child_noted, default_disposition, is_ignored, not_at_default, sigaction, status_asked,
    stop_asked, stops_asked,
};
pub use self::sockets::{accept, accept4, bind, getsockname, listen, sockaddr_in};
