//! Checks of how the server handles a shortage of descriptors or processes.

use std::time::{Duration, Instant};

use crate::check::experiment::Experiment;
use crate::check::processes::{descriptors, settled_descriptors};
use crate::check::strace::{FORK, NO_STRACE, Strace, Times};
use crate::check::trouble::still_serves;
use crate::check::verdict::{Outcome, Verdict, fails, fails_mended_by, not_observable};
use crate::ffi::{Resource, prlimit};
use crate::subject::peer::Peer;
use crate::subject::system;
use crate::subject::{Subject, sleep, wait_until};

/// When the server runs out of descriptors, it waits without using the CPU, and serves again when it has some.
pub fn out_of_descriptors(experiment: &Experiment<'_>) -> Outcome {
    let mut server = experiment.start_visible()?;
    experiment.serves(&server);
    // wait until the server has closed that client's socket: its descriptor would be free for the next client
    sleep(Duration::from_millis(300));
    let Some(next) = system::next_descriptor(server.pid) else {
        return not_observable("/proc cannot be read");
    };
    // look several times: a single look may come between two waits
    if wait_until(Duration::from_millis(300), || {
        system::polled_descriptors(server.pid).is_some_and(|polled| polled > next)
    }) {
        // poll() would fail with EINVAL under the lower limit, which a real shortage does not cause
        return not_observable(format!(
            "with the limit at {next}, its lowest free descriptor, poll() would fail: it polls more than that"
        ));
    }
    let Ok(limit) = prlimit(server.pid, Resource::Descriptors, next) else {
        return not_observable("this user may not limit the server's descriptors");
    };
    experiment.step(format!("server: prlimit(RLIMIT_NOFILE, {next}): all lower descriptors are open"));
    let mut waiting: Vec<Peer> = (0..3).map_while(|_| experiment.dial_quietly(&server).ok()).collect();
    for client in &mut waiting {
        // end the message with a half-close: a server that serves one client at a time must not wait for more
        client.send(experiment.message());
        client.half_close();
    }
    let watch = CpuWatch::of(&server);
    let answers = waiting
        .iter_mut()
        .map(|client| client.read_until(Duration::from_millis(1), |bytes| experiment.is_answer(bytes)));
    let answered = answers.filter(|answer| experiment.is_answer(&answer.bytes)).count();
    // this fails if the server has ended
    let _ = prlimit(server.pid, Resource::Descriptors, limit);
    let seconds = watch.begun.elapsed().as_secs_f64();
    let spins = watch.spins();
    if spins == Some(true) {
        drop((waiting, server));
        // some servers use the CPU even without clients
        if CpuWatch::of(&experiment.start()?).spins() == Some(true) {
            return not_observable("it also uses the CPU without a shortage");
        }
        let seen = format!("it used {} ms of CPU in {seconds:.1} s, while accept() failed", watch.ticks * 10);
        return fails("it waits for a descriptor", seen);
    }
    let outcome = match spins {
        // one client may be served: an accept() that was already waiting has its descriptor
        _ if answered > 1 => not_observable(format!(
            "{answered} clients were answered meanwhile: other processes accept clients"
        )),
        None if server.ended().is_none() => {
            not_observable(format!("this machine is too busy to tell whether it waits ({seconds:.0} s)"))
        }
        _ => still_serves(experiment, &mut server, "EMFILE"),
    };
    // keep these clients until their children are done: clients that vanish are another check
    server.wait_until(experiment.timeout(), || !server.has_work());
    drop(waiting);
    outcome
}

/// Watches whether a server sleeps or uses the CPU.
struct CpuWatch {
    begun: Instant,
    /// The CPU time it has used since then, in ticks of ten milliseconds.
    ticks: u64,
    /// For each tenth of a second: the number of looks that found it runnable, minus those that found it asleep.
    parts: Vec<i32>,
}

impl CpuWatch {
    /// The number of last parts that decide whether it sleeps now.
    const RECENT_PARTS: usize = 10;
    /// A server that has used this much CPU time, three seconds, and still does not sleep is spinning. It is this much
    /// because some servers retry and log a thousand times before they wait.
    const SPIN_TICKS: u64 = 300;
    /// The watch ends after this part, even if a busy machine has given the server less CPU time.
    const LAST_PART: usize = 400;

    /// Watch a server until it sleeps, has used much CPU time without sleeping, or has ended.
    fn of(server: &Subject) -> CpuWatch {
        let before = system::cpu_ticks(server.pid).unwrap_or(0);
        let mut watch = CpuWatch { begun: Instant::now(), ticks: 0, parts: Vec::new() };
        let mut last = None;
        wait_until(Duration::from_secs(60), || {
            watch.ticks = system::cpu_ticks(server.pid).map_or(watch.ticks, |now| now.saturating_sub(before));
            let part = watch.begun.elapsed().as_millis() as usize / 100;
            // skip parts without any look, when a busy machine did not run this process
            if last.replace(part) != Some(part) {
                watch.parts.push(0);
            }
            let look = if system::is_runnable(server.pid) { 1 } else { -1 };
            *watch.parts.last_mut().expect("a part was pushed") += look;
            server.ended().is_some() || watch.spins().is_some() || part >= CpuWatch::LAST_PART
        });
        watch
    }

    /// Whether it spins; `None` if that is not known yet. On a busy machine, a spinning server may get little CPU time,
    /// but it never sleeps.
    fn spins(&self) -> Option<bool> {
        // leave out the current part, which is not complete
        let complete = &self.parts[..self.parts.len().saturating_sub(1)];
        let recent = complete.last_chunk::<{ CpuWatch::RECENT_PARTS }>()?;
        let sleeps = recent.iter().filter(|part| **part > 0).count() < CpuWatch::RECENT_PARTS / 2;
        (sleeps || self.ticks >= CpuWatch::SPIN_TICKS).then_some(!sleeps)
    }
}

/// When fork fails, only the client that would get the child is lost.
pub fn fork_fails(experiment: &Experiment<'_>) -> Outcome {
    let mut server = experiment.start_visible()?;
    experiment.serves(&server);
    let before = settled_descriptors(&server, None);
    let Some(failure) = ForkFailure::begin(&mut server) else {
        return not_observable(NO_STRACE);
    };
    experiment.step(format!("{} makes fork() fail with EAGAIN", failure.name()));
    let (connected, lost) = connect_while_fork_fails(experiment, &server);
    let calls = failure.end(&server);
    // if the failed calls are not counted, a client without an answer shows that fork() failed
    if calls.map_or(lost == 0, |calls| calls == 0) && server.ended().is_none() {
        return not_observable("the process that listens does not call fork() for a client");
    }
    let verdict = still_serves(experiment, &mut server, "fork() failed with EAGAIN")?;
    if matches!(verdict, Verdict::Holds(_))
        && let Some(more) = descriptors_lost(experiment, &server, before, lost)
    {
        drop(server);
        // if it also loses them when fork() succeeds, that is another check
        if experiment.also_fails(descriptors)? {
            return Ok(verdict);
        }
        return fails_mended_by(
            "when fork() returns -1: close() all that was opened for that client, above all its socket",
            "the descriptors of clients for which fork() failed are closed",
            format!("{more} more descriptors are open than before, after {lost} clients had no answer"),
        );
    }
    Ok(match verdict {
        Verdict::Holds(seen) => Verdict::Holds(match calls {
            Some(calls) => format!("{seen}, {calls} times"),
            None => seen,
        }),
        Verdict::Fails(mut failure) => {
            failure.seen += &format!(" ({lost} of {connected} clients had no answer before)");
            if server.ended().is_none() {
                failure.mend =
                    Some("when fork() returns -1: close that client's socket, and count no child for it");
            }
            Verdict::Fails(failure)
        }
        not_observable => not_observable,
    })
}

/// Connect clients that may get no answer; returns how many connected, and how many got none. They are more than 40: a
/// server that limits its children, usually to 30 or 40, must not count a child for a fork() that failed.
fn connect_while_fork_fails(experiment: &Experiment<'_>, server: &Subject) -> (usize, usize) {
    let deadline = Instant::now() + Duration::from_secs(6);
    let (mut connected, mut lost) = (0, 0);
    while connected < 45 && Instant::now() < deadline {
        let Ok(mut client) = Peer::dial(server.port, experiment.timeout()) else { break };
        client.send(experiment.message());
        let answer = client.read_until(Duration::from_millis(500), |bytes| experiment.is_answer(bytes));
        connected += 1;
        lost += usize::from(!experiment.is_answer(&answer.bytes));
    }
    experiment.step(format!("{connected} clients connect"));
    (connected, lost)
}

/// How many more descriptors stay open than before, if there are about as many as clients that got no answer.
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

/// What makes fork fail: a limit, which does not apply to root, or strace.
enum ForkFailure {
    Limit(u64),
    Strace(Strace),
}

impl ForkFailure {
    fn begin(server: &mut Subject) -> Option<ForkFailure> {
        if !nix::unistd::geteuid().is_root()
            && let Ok(limit) = prlimit(server.pid, Resource::Processes, 0)
        {
            return Some(ForkFailure::Limit(limit));
        }
        Strace::attach(server, server.pid, FORK, "EAGAIN", Times::ForEver).map(ForkFailure::Strace)
    }

    fn name(&self) -> &'static str {
        match self {
            ForkFailure::Limit(_) => "prlimit(RLIMIT_NPROC, 0)",
            ForkFailure::Strace(_) => "strace",
        }
    }

    /// Let fork succeed again; returns how many calls failed, if they were counted.
    fn end(self, server: &Subject) -> Option<usize> {
        match self {
            ForkFailure::Limit(limit) => {
                // this fails if the server has ended
                let _ = prlimit(server.pid, Resource::Processes, limit);
                None
            }
            ForkFailure::Strace(strace) => Some(strace.detach()),
        }
    }
}
