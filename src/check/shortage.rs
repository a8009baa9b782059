//! Checks of what the server does when descriptors or processes run out.

use std::time::{Duration, Instant};

use crate::check::experiment::Experiment;
use crate::check::processes::{descriptors, settled_descriptors};
use crate::check::strace::{FORK, NO_STRACE, Strace, Times};
use crate::check::trouble::survived;
use crate::check::verdict::{Outcome, Verdict, fails, fails_unless, not_observable};
use crate::ffi::{Resource, prlimit};
use crate::subject::peer::Peer;
use crate::subject::system;
use crate::subject::{Subject, pass, wait_until};

/// Out of descriptors, it waits without burning the CPU, and goes on when there are some.
pub fn out_of_descriptors(experiment: &Experiment<'_>) -> Outcome {
    let mut server = experiment.start_in_sight()?;
    experiment.serves(&server);
    // that client's socket must be closed, or its descriptor would be left to the next one
    pass(Duration::from_millis(300));
    let Some(next) = system::next_descriptor(server.pid) else {
        return not_observable("/proc cannot be read");
    };
    // one that has just been seen between two waits is looked at again
    if wait_until(Duration::from_millis(300), || {
        system::polls(server.pid).is_some_and(|polled| polled > next)
    }) {
        // EINVAL, which no shortage gives
        return not_observable(format!("it has closed descriptor {next}, and polls more than could be left"));
    }
    let Ok(limit) = prlimit(server.pid, Resource::Descriptors, next) else {
        return not_observable("this user may not limit the server's descriptors");
    };
    experiment.step(format!("server: prlimit(RLIMIT_NOFILE, {next}), all below which are open"));
    let mut waiting: Vec<Peer> = (0..3).map_while(|_| experiment.dial_patiently(&server).ok()).collect();
    for client in &mut waiting {
        // all that they have to say: a server that serves one after the other is not to wait for more
        client.send(experiment.message());
        client.half_close();
    }
    let effort = Effort::of(&server);
    let answers = waiting
        .iter_mut()
        .map(|client| client.read_until(Duration::from_millis(1), |bytes| experiment.is_answer(bytes)));
    let answered = answers.filter(|answer| experiment.is_answer(&answer.bytes)).count();
    // the process may have ended
    let _ = prlimit(server.pid, Resource::Descriptors, limit);
    let seconds = effort.begun.elapsed().as_secs_f64();
    let verdict = effort.verdict();
    if verdict == Some(true) {
        drop((waiting, server));
        // one that computes, whoever comes, does so in any case
        if Effort::of(&experiment.start()?).verdict() == Some(true) {
            return not_observable("it takes the CPU while nothing is missing, too");
        }
        let seen =
            format!("it used {} ms of CPU in {seconds:.1} s, while accept() failed", effort.ticks * 10);
        return fails("it waits for a descriptor", seen);
    }
    let outcome = match verdict {
        // an accept() that waits already has its descriptor: one client may be served
        _ if answered > 1 => {
            not_observable(format!("{answered} clients were answered meanwhile: other processes accept"))
        }
        None if server.ended().is_none() => {
            not_observable(format!("this machine is too busy to see whether it waits ({seconds:.0} s)"))
        }
        _ => survived(experiment, &mut server, "EMFILE"),
    };
    // not before, nor while a busy machine keeps a child from its answer: who has vanished is another check's
    server.wait_until(experiment.timeout(), || !server.has_work());
    drop(waiting);
    outcome
}

/// What a server does while it is watched.
struct Effort {
    begun: Instant,
    /// The CPU that it has used, in ticks of ten milliseconds.
    ticks: u64,
    /// For each tenth of a second, in how many looks it ran or was ready to, less those in which it was not.
    parts: Vec<i32>,
}

impl Effort {
    /// So many parts tell what it does now.
    const LATELY: usize = 10;
    /// So much CPU nobody takes who waits, three seconds of it: some try a thousand times, and say so, before they do.
    const MUCH: u64 = 300;
    /// A busy machine may have given it less until then.
    const LONGEST: usize = 400;

    /// Watch a server until it has waited, or has taken much CPU and has not, or has ended.
    fn of(server: &Subject) -> Effort {
        let before = system::cpu_ticks(server.pid).unwrap_or(0);
        let mut effort = Effort { begun: Instant::now(), ticks: 0, parts: Vec::new() };
        let mut last = None;
        wait_until(Duration::from_secs(60), || {
            effort.ticks =
                system::cpu_ticks(server.pid).map_or(effort.ticks, |now| now.saturating_sub(before));
            let part = effort.begun.elapsed().as_millis() as usize / 100;
            // a part in which a busy machine left no time to look says nothing
            if last.replace(part) != Some(part) {
                effort.parts.push(0);
            }
            let look = if system::runs(server.pid) { 1 } else { -1 };
            *effort.parts.last_mut().expect("there is this part") += look;
            server.ended().is_some() || effort.verdict().is_some() || part >= Effort::LONGEST
        });
        effort
    }

    /// Whether it spins, if that can be told. One that spins may get little on a busy machine, but never sleeps.
    fn verdict(&self) -> Option<bool> {
        // the part that is under way says nothing yet
        let whole = &self.parts[..self.parts.len().saturating_sub(1)];
        let lately = whole.last_chunk::<{ Effort::LATELY }>()?;
        let sleeps = lately.iter().filter(|part| **part > 0).count() < Effort::LATELY / 2;
        (sleeps || self.ticks >= Effort::MUCH).then_some(!sleeps)
    }
}

/// When fork fails, one client is lost and no more.
pub fn fork_fails(experiment: &Experiment<'_>) -> Outcome {
    let mut server = experiment.start_in_sight()?;
    experiment.serves(&server);
    let before = settled_descriptors(&server, None);
    let Some(shortage) = Shortage::begin(&mut server) else {
        return not_observable(NO_STRACE);
    };
    experiment.step(format!("{} makes fork() give EAGAIN", shortage.name()));
    let (came, lost) = come_in_vain(experiment, &server);
    let calls = shortage.end(&server);
    // who is not answered has met it, however it is made
    if calls.map_or(lost == 0, |calls| calls == 0) && server.ended().is_none() {
        return not_observable("the process that listens calls no fork() for a client");
    }
    let verdict = survived(experiment, &mut server, "fork() failed with EAGAIN")?;
    if matches!(verdict, Verdict::Holds(_))
        && let Some(more) = descriptors_lost(experiment, &server, before, lost)
    {
        drop(server);
        // they may be lost in any case, which is another check's
        if experiment.also_fails(descriptors)? {
            return Ok(verdict);
        }
        return fails_unless(
            "when fork() is -1: close() what was opened for that client, its socket first: nobody else will",
            "what was opened for clients who have no process is closed",
            format!("{more} descriptors more are open than before, after {lost} clients had no answer"),
        );
    }
    Ok(match verdict {
        Verdict::Holds(seen) => Verdict::Holds(match calls {
            Some(calls) => format!("{seen}, {calls} times"),
            None => seen,
        }),
        Verdict::Fails(mut failure) => {
            failure.seen += &format!(" ({lost} of {came} clients had no answer before)");
            if server.ended().is_none() {
                failure.mend = Some("when fork() is -1: close that client, and count no child for it");
            }
            Verdict::Fails(failure)
        }
        unseen => unseen,
    })
}

/// Clients who may have no answer: how many come, and how many have none. A server that counts its children must not
/// count those who never were: the usual caps are 30 and 40.
fn come_in_vain(experiment: &Experiment<'_>, server: &Subject) -> (usize, usize) {
    let deadline = Instant::now() + Duration::from_secs(6);
    let (mut came, mut lost) = (0, 0);
    while came < 45 && Instant::now() < deadline {
        let Ok(mut client) = Peer::dial(server.port, experiment.timeout()) else { break };
        client.send(experiment.message());
        let answer = client.read_until(Duration::from_millis(500), |bytes| experiment.is_answer(bytes));
        came += 1;
        lost += usize::from(!experiment.is_answer(&answer.bytes));
    }
    experiment.step(format!("{came} clients connect"));
    (came, lost)
}

/// How many descriptors more are open for good than before, if they are those of clients that had no answer.
fn descriptors_lost(
    experiment: &Experiment<'_>,
    server: &Subject,
    before: Option<usize>,
    lost: usize,
) -> Option<usize> {
    let before = before?;
    let more = || system::descriptors(server.pid).map_or(0, |now| now.saturating_sub(before));
    let many = (lost / 2).max(5);
    (!server.wait_until(experiment.timeout(), || more() < many)).then(more)
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

    /// Over; gives how many calls have failed, if they were counted.
    fn end(self, server: &Subject) -> Option<usize> {
        match self {
            Shortage::Limit(limit) => {
                // the server may have ended
                let _ = prlimit(server.pid, Resource::Processes, limit);
                None
            }
            Shortage::Strace(strace) => Some(strace.detach()),
        }
    }
}
