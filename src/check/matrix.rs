//! The faults of `--faults`. To add one, add a line to [`FAULTS`].

use crate::check::faults::{Call, Fault, Role};
use crate::check::list::Check;
use crate::check::strace::{FORK, Times};

const ACCEPT: Call = Call {
    syscalls: "?accept,?accept4",
    why: "the cause of a failed accept() is temporary, and other clients are waiting",
    mend: "when accept() fails: continue; if descriptors or memory ran out, wait a moment first",
    page: "accept(2)",
};
const FORKS: Call = Call {
    syscalls: FORK,
    why: "a shortage of processes or memory is temporary",
    mend: "when fork() returns -1: close that client's socket, wait a moment, continue",
    page: "fork(2)",
};
const READ: Call = Call {
    syscalls: "read,recvfrom,recvmsg,readv",
    why: "a broken connection must end only one client, not the server",
    mend: "when read() returns -1: retry if errno is EINTR, otherwise end this child with _exit()",
    page: "read(2)",
};
/// read() in the parent: it may read a pipe that its own signal handlers write to, or talk to clients itself.
const PARENT_READ: Call = Call {
    syscalls: READ.syscalls,
    why: "a failed read() in the parent must not end the service for the other clients",
    mend: "when read() returns -1: retry if errno is EINTR, otherwise close that descriptor and continue",
    page: READ.page,
};
const WRITE: Call = Call {
    syscalls: "write,sendto,sendmsg,writev",
    why: "a failed write() must lose one answer or one log line, and nothing else",
    mend: "when write() returns -1: retry if errno is EINTR, otherwise give up that answer or that line",
    page: "write(2)",
};
const CLOSE: Call = Call {
    syscalls: "close",
    why: "close() may report an earlier error, but the descriptor is closed anyway",
    mend: "when close() fails: do not end the server, and do not call close() again",
    page: "close(2)",
};
const WAIT: Call = Call {
    syscalls: "?waitpid,wait4,waitid",
    why: "a wait() that fails must neither end the server nor let it forget its children",
    mend: "leave the waitpid() loop when it returns -1; the next SIGCHLD starts it again",
    page: "waitpid(2)",
};
const POLL: Call = Call {
    syscalls: "?poll,?ppoll,?select,?pselect6,?epoll_wait,?epoll_pwait,?epoll_pwait2",
    why: "a signal handler interrupts poll(), select() and epoll_wait() even with SA_RESTART",
    mend: "when poll() returns -1: call it again; if errno is not EINTR, wait a moment first",
    page: "poll(2), signal(7)",
};
/// For ENOMEM, which epoll_wait() never returns.
const POLL_ALONE: Call = Call {
    syscalls: "?poll,?ppoll,?select,?pselect6",
    why: "a shortage of memory is temporary, and poll() has not reported any event",
    mend: "when poll() returns -1: wait a moment, then call it again",
    ..POLL
};

/// For an interruption or a problem with one client: in reality, it never repeats without end.
const PASSING: &[Times] = &[Times::Once, Times::Thrice];
/// For a shortage or a lasting error, which can repeat for a long time.
const LASTING: &[Times] = &[Times::Once, Times::Thrice, Times::ForEver];

macro_rules! fault {
    ($role:ident $process:literal $what:literal $call:ident $errno:literal $times:ident) => {
        Check {
            name: concat!($process, ":", $what, "=", $errno),
            claim: concat!("survives ", $errno, " of ", $what, "() in the ", $process),
            why: $call.why,
            mend: $call.mend,
            page: $call.page,
            needs_answer: true,
            run: |experiment| {
                Fault { role: Role::$role, call: &$call, errno: $errno, times: $times }.inject(experiment)
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
