//! Checks of how the server handles signals, and clients that vanish.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::check::experiment::Experiment;
use crate::check::verdict::{Outcome, fails, fails_because, holds};
use crate::subject::peer::Peer;
use crate::subject::{Subject, sleep};

/// Whether the server still serves the next client, after what the check did to it.
pub fn still_serves(experiment: &Experiment<'_>, server: &mut Subject, what: &str) -> Outcome {
    let expected = format!("the next client is served after {what}");
    // a server may close its listening socket for a moment, so that clients use another server
    let listens = server.wait_listening(experiment.timeout());
    if let Some(status) = server.ended() {
        server.expect_exit();
        return fails(expected, format!("the server has ended: {status}"));
    }
    if !listens {
        return fails(expected, format!("it did not listen again within {:?}", experiment.timeout()));
    }
    match experiment.converse(server) {
        Some(answer) if experiment.is_answer(&answer.bytes) => {
            holds(format!("served the next client after {what}"))
        }
        Some(answer) => fails(expected, answer.describe()),
        None => fails(expected, "connect() failed"),
    }
}

/// Signals interrupt blocked calls, in the parent and in a child.
pub fn interrupted_calls(experiment: &Experiment<'_>) -> Outcome {
    let mut server = experiment.start_visible()?;
    let greets = experiment.greets(&server);
    let mut client = experiment.dial(&server)?;
    server.wait_until(Duration::from_millis(300), || !server.is_idle());
    experiment
        .step("kill(SIGCHLD), kill(SIGSTOP), kill(SIGCONT), to the server and to its child, five times");
    for _ in 0..5 {
        for child in server.descendants() {
            for signal in [Signal::SIGCHLD, Signal::SIGSTOP, Signal::SIGCONT] {
                let _ = kill(Pid::from_raw(child.pid), signal);
            }
        }
        server.signal(Signal::SIGCHLD);
        server.suspend();
        server.resume();
        sleep(Duration::from_millis(10));
    }
    client.send(experiment.message());
    let answer = experiment.read_answer(&server, &mut client);
    if !greets && !experiment.is_answer(&answer.bytes) {
        return fails("the child whose read() was interrupted answers", answer.describe());
    }
    drop(client);
    still_serves(experiment, &mut server, "SIGCHLD and SIGSTOP to parent and child")
}

/// Clients reset the connection: without a message, in the middle of it, or after it.
pub fn reset_client(experiment: &Experiment<'_>) -> Outcome {
    let mut server = experiment.start()?;
    // if children also stay after clients that do not reset, that is another check
    let usual = processes_left(experiment, &server, || {
        (0..RESETS).for_each(|_| ordinary_client(experiment, &server))
    });
    for departure in DEPARTURES {
        let left = processes_left(experiment, &server, || {
            (0..RESETS)
                .filter_map(|_| experiment.dial(&server).ok())
                .for_each(|peer| (departure.leave)(experiment, peer));
        });
        experiment.step(departure.step);
        if usual < RESETS && left >= RESETS && server.ended().is_none() {
            return fails_because(
                "a child that outlives its client accepts clients as the parent does, or waits forever: one per client",
                departure.mend,
                departure.expected,
                format!("{left} more processes are running after {RESETS} clients have gone"),
            );
        }
        // children that end late must not count for the next round
        server.wait_until(experiment.timeout(), || server.is_idle());
    }
    // end of file and then the reset arrive before the server's first write(), which therefore raises SIGPIPE
    reset_while_stopped(experiment, &server, 2, |peer| {
        peer.send(experiment.message());
        peer.half_close();
    });
    experiment.step("two clients write(), shutdown(SHUT_WR), and reset, while the server is stopped");
    still_serves(experiment, &mut server, "resets")
}

/// A client that half-closes when it has its answer, and waits until the server closes too.
fn ordinary_client(experiment: &Experiment<'_>, server: &Subject) {
    let Ok(mut peer) = experiment.dial(server) else { return };
    peer.send(experiment.message());
    experiment.read_answer(server, &mut peer);
    peer.half_close();
    peer.read_until(Duration::from_millis(300), |_| false);
}

/// A way in which a client leaves, after which its child must end.
struct Departure {
    leave: fn(&Experiment<'_>, Peer),
    step: &'static str,
    expected: &'static str,
    mend: &'static str,
}

const DEPARTURES: [Departure; 2] = [
    Departure {
        leave: |_, mut peer| {
            peer.half_close();
            peer.read_until(Duration::from_millis(300), |_| false);
            peer.reset();
        },
        step: "five clients send nothing, shutdown(SHUT_WR), and reset the connection",
        expected: "its children end when clients that sent nothing have gone",
        mend: "_exit() on every path of the child, also when nothing is read: it must not return to accept()",
    },
    Departure {
        leave: |experiment, mut peer| {
            peer.send(&experiment.message()[..experiment.message().len().min(1)]);
            peer.reset();
        },
        step: "five clients write() a byte, and reset the connection",
        expected: "its children end when clients that reset have gone",
        mend: "_exit() on every path of the child, also after an error: it must not return to accept()",
    },
];

/// How many clients reset in each round.
const RESETS: usize = 5;

/// How many more processes than before stay alive after an action.
fn processes_left(experiment: &Experiment<'_>, server: &Subject, action: impl FnOnce()) -> usize {
    let before = server.live_descendants();
    action();
    server.wait_until(Duration::from_secs(1), || !server.has_work());
    let mut more = 0;
    server.wait_until(experiment.timeout(), || {
        more = server.live_descendants().saturating_sub(before);
        more < RESETS
    });
    more
}

/// Clients connect, do something, and reset the connection before the server accepts them.
fn reset_while_stopped(
    experiment: &Experiment<'_>,
    server: &Subject,
    clients: usize,
    action: impl Fn(&mut Peer),
) {
    server.suspend();
    for _ in 0..clients {
        if let Ok(mut peer) = Peer::dial(server.port, experiment.timeout()) {
            action(&mut peer);
            peer.reset();
        }
    }
    server.resume();
}

/// Clients reset the connection before the server accepts them.
pub fn vanished_client(experiment: &Experiment<'_>) -> Outcome {
    let mut server = experiment.start()?;
    reset_while_stopped(experiment, &server, 3, |_| {});
    experiment.step("three clients connect and reset while the server is stopped");
    still_serves(experiment, &mut server, "three clients that vanished before accept()")
}
