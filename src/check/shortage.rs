//! Checks of what the server does when descriptors or processes run out.

use std::time::{Duration, Instant};

use crate::check::experiment::Experiment;
use crate::check::peer::Peer;
use crate::check::strace::{FORK, Strace, Times};
use crate::check::subject::{Subject, pass, wait_until};
use crate::check::system;
use crate::check::trouble::survived;
use crate::check::verdict::{Outcome, fails, not_observable};
use crate::ffi::{Resource, prlimit};

/// Out of descriptors, it waits without burning the CPU, and goes on when there are some.
pub fn out_of_descriptors(lab: &Experiment<'_>) -> Outcome {
    let mut server = lab.start()?;
    lab.serves(&server);
    // that client's socket must be closed, or its descriptor would be left to the next one
    pass(Duration::from_millis(300));
    let Some(next) = system::next_descriptor(server.pid) else {
        return not_observable("/proc cannot be read");
    };
    if system::polls(server.pid).is_some_and(|polled| polled > next) {
        // EINVAL, which no shortage gives
        return not_observable(format!("it has closed descriptor {next}, and polls more than could be left"));
    }
    let Ok(limit) = prlimit(server.pid, Resource::Descriptors, next) else {
        return not_observable("this user may not limit the server's descriptors");
    };
    lab.step(format!("server: prlimit(RLIMIT_NOFILE, {next}), all below which are open"));
    let mut waiting: Vec<Peer> = (0..3).map_while(|_| Peer::dial(server.port, lab.timeout()).ok()).collect();
    for client in &mut waiting {
        // all that they have to say: a server that serves one after the other is not to wait for more
        client.send(lab.message());
        client.half_close();
    }
    let effort = Effort::of(&mut server);
    let answers = waiting
        .iter_mut()
        .map(|client| client.read_until(Duration::from_millis(1), |bytes| lab.is_answer(bytes)));
    let answered = answers.filter(|answer| lab.is_answer(&answer.bytes)).count();
    // the process may have ended
    let _ = prlimit(server.pid, Resource::Descriptors, limit);
    if effort.is_spinning() {
        let seen = format!("it ran, or was ready to, {} % of the time while accept() failed", effort.awake());
        return fails("it waits for a descriptor", seen);
    }
    // an accept() that waits already has its descriptor: one client may be served
    let outcome = match answered {
        0 | 1 => survived(lab, &mut server, &format!("EMFILE, which took {} % of a CPU", effort.ticks)),
        n => not_observable(format!("{n} clients were answered meanwhile: other processes accept")),
    };
    // not before: a client that has vanished is another check's
    drop(waiting);
    outcome
}

/// What a server did in a second.
struct Effort {
    /// Of a hundred.
    ticks: u64,
    /// How often it was looked at, and was seen running or ready to.
    looks: u32,
    running: u32,
    /// Of ten parts of the second, those in which it did anything.
    parts: [bool; 10],
}

impl Effort {
    /// Watch it for a second, or until it ends.
    fn of(server: &mut Subject) -> Effort {
        let ticks = |server: &Subject| system::cpu_ticks(server.pid);
        let (begun, before) = (Instant::now(), ticks(server).unwrap_or(0));
        let mut effort = Effort { ticks: 0, looks: 0, running: 0, parts: [false; 10] };
        wait_until(Duration::from_secs(1), || {
            let used = ticks(server).map_or(effort.ticks, |now| now - before);
            let runs = system::is_running(server.pid);
            if let Some(part) = effort.parts.get_mut(begun.elapsed().as_millis() as usize / 100) {
                *part |= runs || used > effort.ticks;
            }
            effort.ticks = used;
            effort.looks += 1;
            effort.running += u32::from(runs);
            server.ended().is_some()
        });
        effort
    }

    /// One that waits needs next to nothing. One that spins may get little on a busy machine, but never sleeps;
    /// while one that tries a thousand times, says so, and then sleeps for a second, does not spin.
    fn is_spinning(&self) -> bool {
        let much = self.ticks >= 10 || self.running * 2 > self.looks;
        much && self.parts.iter().filter(|part| **part).count() >= 5
    }

    /// How much of the time, of a hundred.
    fn awake(&self) -> u32 {
        (self.running * 100 / self.looks).max(self.ticks as u32)
    }
}

/// When fork fails, one client is lost and no more.
pub fn fork_fails(lab: &Experiment<'_>) -> Outcome {
    let mut server = lab.start()?;
    lab.serves(&server);
    let Some(shortage) = Shortage::begin(&mut server) else {
        return not_observable("strace, which makes fork() fail, is not installed or may not attach");
    };
    lab.step(format!("{} makes fork() give EAGAIN", shortage.name()));
    // a server that counts its children must not count those who never were: the usual caps are 30 and 40
    let deadline = Instant::now() + Duration::from_secs(6);
    let (mut came, mut lost) = (0, 0);
    while came < 45 && Instant::now() < deadline {
        let Ok(mut client) = Peer::dial(server.port, lab.timeout()) else { break };
        client.send(lab.message());
        let answer = client.read_until(Duration::from_millis(500), |bytes| lab.is_answer(bytes));
        came += 1;
        lost += u32::from(!lab.is_answer(&answer.bytes));
    }
    lab.step(format!("{came} clients connect"));
    shortage.end(&server);
    survived(
        lab,
        &mut server,
        &format!("fork() failed with EAGAIN (clients without an answer: {lost} of {came})"),
    )
}

/// What makes fork fail: a limit, which does not bind root, or strace.
enum Shortage {
    Limit(u64),
    Strace(Strace),
}

impl Shortage {
    fn begin(server: &mut Subject) -> Option<Shortage> {
        if !nix::unistd::geteuid().is_root()
            && let Ok(limit) = prlimit(server.pid, Resource::Processes, 0)
        {
            return Some(Shortage::Limit(limit));
        }
        Strace::attach(server, server.pid, FORK, "EAGAIN", Times::ForEver).map(Shortage::Strace)
    }

    fn name(&self) -> &'static str {
        match self {
            Shortage::Limit(_) => "prlimit(RLIMIT_NPROC, 0)",
            Shortage::Strace(_) => "strace",
        }
    }

    fn end(self, server: &Subject) {
        match self {
            Shortage::Limit(limit) => {
                // the server may have ended
                let _ = prlimit(server.pid, Resource::Processes, limit);
            }
            Shortage::Strace(strace) => drop(strace),
        }
    }
}
