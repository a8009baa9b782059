//! Checks of what the server does when a signal comes, or a client goes.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::check::experiment::Experiment;
use crate::check::verdict::{Outcome, fails, fails_since, holds};
use crate::subject::peer::Peer;
use crate::subject::{Subject, pass};

/// What all that survive have in common.
pub fn survived(experiment: &Experiment<'_>, server: &mut Subject, what: &str) -> Outcome {
    let expected = format!("the next client is served after {what}");
    // it may close its listening socket for a moment, so that clients go elsewhere meanwhile
    let listens = server.wait_listening(experiment.timeout());
    if let Some(status) = server.ended() {
        server.may_end();
        return fails(expected, format!("the server has ended: {status}"));
    }
    if !listens {
        return fails(expected, format!("it has not listened again within {:?}", experiment.timeout()));
    }
    match experiment.converse(server) {
        Some(answer) if experiment.is_answer(&answer.bytes) => {
            holds(format!("served the next client after {what}"))
        }
        Some(answer) => fails(expected, answer.describe()),
        None => fails(expected, "connect() failed"),
    }
}

/// Signals and stops cut calls short, in the parent and in a child.
pub fn interrupted_calls(experiment: &Experiment<'_>) -> Outcome {
    let mut server = experiment.start_in_sight()?;
    let greets = experiment.greets(&server);
    let mut client = experiment.dial(&server)?;
    server.wait_until(Duration::from_millis(300), || !server.is_at_rest());
    experiment
        .step("kill(SIGCHLD), kill(SIGSTOP), kill(SIGCONT), to the server and to its child, five times");
    for _ in 0..5 {
        for child in server.descendants() {
            for signal in [Signal::SIGCHLD, Signal::SIGSTOP, Signal::SIGCONT] {
                let _ = kill(Pid::from_raw(child.pid), signal);
            }
        }
        server.signal(Signal::SIGCHLD);
        server.stop();
        server.go_on();
        pass(Duration::from_millis(10));
    }
    client.send(experiment.message());
    let answer = experiment.read_answer(&server, &mut client);
    if !greets && !experiment.is_answer(&answer.bytes) {
        return fails("the child whose read() was interrupted answers", answer.describe());
    }
    drop(client);
    survived(experiment, &mut server, "SIGCHLD and stops, to parent and child")
}

/// Clients that reset the connection, in the middle of their message or when they have said everything.
pub fn reset_client(experiment: &Experiment<'_>) -> Outcome {
    let mut server = experiment.start()?;
    // what clients leave that do not reset is another check's
    let usual =
        processes_left(experiment, &server, || (0..RESETS).for_each(|_| comes_and_goes(experiment, &server)));
    for leave in LEAVES {
        let left = processes_left(experiment, &server, || {
            (0..RESETS)
                .filter_map(|_| experiment.dial(&server).ok())
                .for_each(|peer| (leave.how)(experiment, peer));
        });
        experiment.step(leave.step);
        if usual < RESETS && left >= RESETS && server.ended().is_none() {
            return fails_since(
                "a child that outlives its client does the parent's work, or waits for ever: one more for each",
                leave.mend,
                leave.expected,
                format!("{left} processes more are there after {RESETS} clients have come and gone"),
            );
        }
        // those who go late are not the next ones'
        server.wait_until(experiment.timeout(), || server.is_at_rest());
    }
    // the reset is there before the first write(), and the end of file before the reset: that write() raises SIGPIPE
    reset_while_stopped(experiment, &server, 2, |peer| {
        peer.send(experiment.message());
        peer.half_close();
    });
    experiment.step("two clients write(), shutdown(SHUT_WR), and reset, while the server is stopped");
    survived(experiment, &mut server, "resets")
}

/// A client that ends its half when it has its answer, and sees the server end the other.
fn comes_and_goes(experiment: &Experiment<'_>, server: &Subject) {
    let Ok(mut peer) = experiment.dial(server) else { return };
    peer.send(experiment.message());
    experiment.read_answer(server, &mut peer);
    peer.half_close();
    peer.read_until(Duration::from_millis(300), |_| false);
}

/// A way to leave that ends a child.
struct Leave {
    how: fn(&Experiment<'_>, Peer),
    step: &'static str,
    expected: &'static str,
    mend: &'static str,
}

const LEAVES: [Leave; 2] = [
    Leave {
        how: |_, mut peer| {
            peer.half_close();
            peer.read_until(Duration::from_millis(300), |_| false);
            peer.reset();
        },
        step: "five clients say nothing, shutdown(SHUT_WR), and reset the connection",
        expected: "its children end with clients that say nothing",
        mend: "_exit() at each end of the child, if there is nothing to read too: it must not come back to accept()",
    },
    Leave {
        how: |experiment, mut peer| {
            peer.send(&experiment.message()[..experiment.message().len().min(1)]);
            peer.reset();
        },
        step: "five clients write() a byte, and reset the connection",
        expected: "its children end with clients that reset",
        mend: "_exit() at each end of the child, after an error too: it must not come back to accept()",
    },
];

/// So many clients reset each time.
const RESETS: usize = 5;

/// How many processes are there for good, when something has happened, that were not before.
fn processes_left(experiment: &Experiment<'_>, server: &Subject, happens: impl FnOnce()) -> usize {
    let before = server.busy_children();
    happens();
    server.wait_until(Duration::from_secs(1), || !server.has_work());
    let mut more = 0;
    server.wait_until(experiment.timeout(), || {
        more = server.busy_children().saturating_sub(before);
        more < RESETS
    });
    more
}

/// Clients that connect, do something, and reset before the server accepts them.
fn reset_while_stopped(
    experiment: &Experiment<'_>,
    server: &Subject,
    clients: usize,
    does: impl Fn(&mut Peer),
) {
    server.stop();
    for _ in 0..clients {
        if let Ok(mut peer) = Peer::dial(server.port, experiment.timeout()) {
            does(&mut peer);
            peer.reset();
        }
    }
    server.go_on();
}

/// A client that is gone before the server accepts it.
pub fn vanished_client(experiment: &Experiment<'_>) -> Outcome {
    let mut server = experiment.start()?;
    reset_while_stopped(experiment, &server, 3, |_| {});
    experiment.step("three clients connect and reset while the server is stopped");
    survived(experiment, &mut server, "three clients that vanished before accept()")
}
