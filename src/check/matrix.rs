//! The matrix of `--faults`. Adding a fault is a line in [`FAULTS`].

use crate::check::faults::{Call, Fault, Whose};
use crate::check::list::Check;
use crate::check::strace::{FORK, Times};

const ACCEPT: Call = Call {
    syscalls: "?accept,?accept4",
    why: "what keeps one accept() from succeeding passes, and the clients behind it wait",
    mend: "when accept() fails: go on; if what is missing is a descriptor or memory, wait a moment first",
    page: "accept(2)",
};
const FORKS: Call = Call {
    syscalls: FORK,
    why: "a system that is out of processes or memory has some again soon",
    mend: "when fork() is -1: close that client, wait a moment, go on",
    page: "fork(2)",
};
const READ: Call = Call {
    syscalls: "read,recvfrom,recvmsg,readv",
    why: "a connection that breaks is the end of one client, not of the server",
    mend: "when read() is -1: again if errno is EINTR, else end this child with _exit()",
    page: "read(2)",
};
/// The parent may read a pipe that its own handlers write to, or speak with clients itself.
const PARENT_READ: Call = Call {
    syscalls: READ.syscalls,
    why: "what the parent reads may fail once, and its other clients are still there",
    mend: "when read() is -1: again if errno is EINTR, else close that descriptor, and go on",
    page: READ.page,
};
const WRITE: Call = Call {
    syscalls: "write,sendto,sendmsg,writev",
    why: "an answer or a line of the log that cannot be written is lost, and no more than that",
    mend: "when write() is -1: again if errno is EINTR, else give up that answer or that line",
    page: "write(2)",
};
const CLOSE: Call = Call {
    syscalls: "close",
    why: "close() may say what went wrong earlier; the descriptor is gone all the same",
    mend: "do not end the server when close() fails, and do not try again",
    page: "close(2)",
};
const WAIT: Call = Call {
    syscalls: "?waitpid,wait4,waitid",
    why: "a wait() that fails must neither end the server nor let it forget its children",
    mend: "leave the waitpid() loop when it gives -1; the next SIGCHLD enters it again",
    page: "waitpid(2)",
};
const POLL: Call = Call {
    syscalls: "?poll,?ppoll,?select,?pselect6,?epoll_wait,?epoll_pwait,?epoll_pwait2",
    why: "every signal interrupts poll() and its kin, whatever SA_RESTART says",
    mend: "when poll() is -1: again; if errno is not EINTR, wait a moment first",
    page: "poll(2), signal(7)",
};
/// epoll_wait() has no such errno.
const POLL_ALONE: Call = Call {
    syscalls: "?poll,?ppoll,?select,?pselect6",
    why: "a system that is out of memory has some again soon, and what was waited for has not come",
    mend: "when poll() is -1: wait a moment, then again",
    ..POLL
};

/// A signal, or one client's trouble: over before it comes again for ever.
const PASSING: &[Times] = &[Times::Once, Times::Thrice];
/// A shortage, or something broken.
const LASTING: &[Times] = &[Times::Once, Times::Thrice, Times::ForEver];

macro_rules! fault {
    ($whose:ident $who:literal $what:literal $call:ident $errno:literal $times:ident) => {
        Check {
            name: concat!($who, ":", $what, "=", $errno),
            claim: concat!("survives ", $errno, " of ", $what, "() in the ", $who),
            why: $call.why,
            mend: $call.mend,
            page: $call.page,
            needs_answer: true,
            run: |experiment| {
                Fault { whose: Whose::$whose, call: &$call, errno: $errno, times: $times }.inject(experiment)
            },
        }
    };
}

/// All faults.
pub const FAULTS: &[Check] = &[
    fault!(Parent "parent" "accept" ACCEPT "EINTR" PASSING),
    fault!(Parent "parent" "accept" ACCEPT "ECONNABORTED" PASSING),
    fault!(Parent "parent" "accept" ACCEPT "EPROTO" PASSING),
    fault!(Parent "parent" "accept" ACCEPT "EPERM" PASSING),
    fault!(Parent "parent" "accept" ACCEPT "EMFILE" LASTING),
    fault!(Parent "parent" "accept" ACCEPT "ENFILE" LASTING),
    fault!(Parent "parent" "accept" ACCEPT "ENOBUFS" LASTING),
    fault!(Parent "parent" "accept" ACCEPT "ENOMEM" LASTING),
    fault!(Parent "parent" "fork" FORKS "EAGAIN" LASTING),
    fault!(Parent "parent" "fork" FORKS "ENOMEM" LASTING),
    fault!(Parent "parent" "close" CLOSE "EINTR" LASTING),
    fault!(Parent "parent" "close" CLOSE "EIO" LASTING),
    fault!(Parent "parent" "wait" WAIT "EINTR" PASSING),
    fault!(Parent "parent" "wait" WAIT "ECHILD" LASTING),
    fault!(Parent "parent" "poll" POLL "EINTR" PASSING),
    fault!(Parent "parent" "poll" POLL_ALONE "ENOMEM" LASTING),
    fault!(Parent "parent" "read" PARENT_READ "EINTR" PASSING),
    fault!(Parent "parent" "read" PARENT_READ "EIO" PASSING),
    fault!(Parent "parent" "write" WRITE "EINTR" PASSING),
    fault!(Parent "parent" "write" WRITE "EPIPE" LASTING),
    fault!(Parent "parent" "write" WRITE "ENOSPC" LASTING),
    fault!(Child "child" "read" READ "EINTR" PASSING),
    fault!(Child "child" "read" READ "ECONNRESET" LASTING),
    fault!(Child "child" "read" READ "ETIMEDOUT" LASTING),
    fault!(Child "child" "read" READ "EIO" LASTING),
    fault!(Child "child" "write" WRITE "EINTR" PASSING),
    fault!(Child "child" "write" WRITE "EPIPE" LASTING),
    fault!(Child "child" "write" WRITE "ECONNRESET" LASTING),
    fault!(Child "child" "write" WRITE "ENOSPC" LASTING),
    fault!(Child "child" "close" CLOSE "EINTR" LASTING),
    fault!(Child "child" "close" CLOSE "EIO" LASTING),
    fault!(Child "child" "poll" POLL "EINTR" PASSING),
    fault!(Child "child" "poll" POLL_ALONE "ENOMEM" LASTING),
];
