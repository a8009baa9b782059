//! The list of checks. Adding one is a function in the file of its family, and an entry here.

use crate::check::experiment::Experiment;
use crate::check::verdict::Outcome;
use crate::check::{conversation, lifecycle, processes, shortage, trouble};

/// A check: what it is called, what it claims, and why that matters.
pub struct Check {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What a right server does.
    pub claim: &'static str,
    /// Why it matters, in a sentence.
    pub why: &'static str,
    /// The call or flag that mends it.
    pub mend: &'static str,
    /// Where to read more.
    pub page: &'static str,
    pub(super) run: fn(&Experiment<'_>) -> Outcome,
}

/// All checks, in the order in which they are made: the conversation first, the rest stands on it.
pub const CHECKS: &[Check] = &[
    Check {
        name: "answers",
        claim: "answers a client",
        why: "everything else stands on it",
        mend: "write() to the socket that accept() returned; htons() the port; see --send and --expect",
        page: "accept(2), htons(3)",
        run: conversation::answers,
    },
    Check {
        name: "concurrent",
        claim: "serves clients at the same time",
        why: "one client that says nothing must not keep all others waiting",
        mend: "fork() after accept(), and go back to accept() in the parent",
        page: "fork(2)",
        run: processes::concurrent,
    },
    Check {
        name: "no-zombies",
        claim: "leaves no zombie after a burst",
        why: "signals coalesce: one SIGCHLD may stand for many children, and the process table fills",
        mend: "in the SIGCHLD handler: while (waitpid(-1, NULL, WNOHANG) > 0);",
        page: "waitpid(2)",
        run: processes::no_zombies,
    },
    Check {
        name: "end-of-file",
        claim: "gives the client its end of file",
        why: "a connection ends when its last descriptor is closed, and the parent has one too",
        mend: "close(new_socket) in the parent after fork(), and in the child when it is done",
        page: "close(2)",
        run: conversation::end_of_file,
    },
    Check {
        name: "descriptors",
        claim: "keeps its descriptor count",
        why: "a descriptor lost for each client is a server that stops at the limit",
        mend: "close(new_socket) in the parent after fork()",
        page: "close(2), getrlimit(2)",
        run: processes::descriptors,
    },
    Check {
        name: "keeps-serving",
        claim: "serves client after client",
        why: "what each client costs for good, a slot or a descriptor, ends the service after so many",
        mend: "count in the parent, where waitpid() says that a child has ended: memory is not shared",
        page: "fork(2), waitpid(2)",
        run: processes::keeps_serving,
    },
    Check {
        name: "interrupted-calls",
        claim: "survives interrupted calls",
        why: "a signal makes a waiting call return EINTR, which is no reason to end",
        mend: "sigaction() with SA_RESTART, and retry when errno is EINTR",
        page: "signal(7)",
        run: trouble::interrupted_calls,
    },
    Check {
        name: "reset-client",
        claim: "survives a client that resets",
        why: "a write to a reset connection raises SIGPIPE, which ends a process",
        mend: "signal(SIGPIPE, SIG_IGN), and look at what read() and write() return",
        page: "write(2), signal(7)",
        run: trouble::reset_client,
    },
    Check {
        name: "vanished-client",
        claim: "survives a client that vanishes before accept",
        why: "accept() may fail with ECONNABORTED, or give a socket that is dead already",
        mend: "go on when accept() fails; signal(SIGPIPE, SIG_IGN)",
        page: "accept(2)",
        run: trouble::vanished_client,
    },
    Check {
        name: "pieces",
        claim: "reads a message that comes in pieces",
        why: "TCP is a stream: one write() of the client may take many read()s of the server",
        mend: "read() in a loop until the message is whole, by its length or its last byte",
        page: "read(2), tcp(7)",
        run: conversation::pieces,
    },
    Check {
        name: "half-close",
        claim: "answers after a half-close",
        why: "a client that has said everything may close its half, and still read",
        mend: "take read() returning 0 for the end of the message, and not of the client",
        page: "shutdown(2)",
        run: conversation::half_close,
    },
    Check {
        name: "delivers",
        claim: "delivers everything it wrote",
        why: "to close a socket with unread input resets the connection, and the answer may be lost",
        mend: "shutdown(sock, SHUT_WR), then read() to the end, then close()",
        page: "shutdown(2), RFC 1122 4.2.2.13",
        run: conversation::delivers,
    },
    Check {
        name: "own-memory",
        claim: "sends none of its own memory",
        why: "bytes behind a string are whatever the program keeps there: keys, other clients' data",
        mend: "write() as many bytes as the answer has: strlen(), not the size of a longer buffer",
        page: "write(2)",
        run: conversation::own_memory,
    },
    Check {
        name: "log-once",
        claim: "does not repeat its log when redirected",
        why: "stdio keeps back what goes to a pipe or a file, and fork() copies what it keeps",
        mend: "fflush(stdout) before fork(), and _exit() in the child",
        page: "fflush(3), _exit(2)",
        run: lifecycle::log_once,
    },
    Check {
        name: "fork-fails",
        claim: "survives fork failing",
        why: "fork() gives -1 when there are too many processes, which passes",
        mend: "when fork() is -1: close that client, wait a moment, go on",
        page: "fork(2)",
        run: shortage::fork_fails,
    },
    Check {
        name: "out-of-descriptors",
        claim: "survives running out of descriptors, without spinning",
        why: "accept() gives EMFILE at once, again and again, while clients wait",
        mend: "when accept() fails: wait a moment, go on",
        page: "accept(2)",
        run: shortage::out_of_descriptors,
    },
    Check {
        name: "stops",
        claim: "stops cleanly with a child at work",
        why: "a service that is stopped must be gone, and its port free",
        mend: "let SIGTERM end the parent; let a child end with its client",
        page: "signal(7)",
        run: lifecycle::stops,
    },
    Check {
        name: "idle-clients",
        claim: "holds a thousand idle clients",
        why: "silent clients cost a process each, and must not cost the next client its turn",
        mend: "no fixed table of clients; no select(), which ends at descriptor 1023",
        page: "select(2), getrlimit(2)",
        run: processes::thousand_idle,
    },
    Check {
        name: "restarts",
        claim: "restarts at once",
        why: "connections in TIME_WAIT keep the port for a minute from a server that does not ask for it",
        mend: "setsockopt(SO_REUSEADDR) before bind()",
        page: "socket(7)",
        run: lifecycle::restarts,
    },
    Check {
        name: "port-taken",
        claim: "says by its exit status that its port is taken",
        why: "a server that goes on when bind() has failed looks alive, and serves nobody",
        mend: "when socket(), bind() or listen() is -1: perror(), exit(1)",
        page: "bind(2), listen(2)",
        run: lifecycle::port_taken,
    },
];
