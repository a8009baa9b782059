//! The checks of `--faults`: a call of the parent or of a child fails with an errno, first once, then three times in a
//! row and, for shortages and lasting errors, then every time for a second. [`crate::check::matrix`] lists the calls.

use std::time::{Duration, Instant};

use crate::check::experiment::Experiment;
use crate::check::processes::{
    descriptors as keeps_descriptors, left_zombies, no_zombies, settled_descriptors,
};
use crate::check::shortage::out_of_descriptors;
use crate::check::strace::{NO_STRACE, Strace, Times};
use crate::check::verdict::{EarlyExit, Failure, Outcome, Verdict, holds, not_observable};
use crate::subject::peer::Peer;
use crate::subject::system::{self, Process};
use crate::subject::{Subject, wait_until};

/// How long a call fails with [`Times::ForEver`].
const FOR_EVER: Duration = Duration::from_secs(1);

/// How long a client waits if it may get no answer.
const SHORT_WAIT: Duration = Duration::from_millis(300);

/// A server with more failing calls per second and thread than this is spinning. A server that waits 2 ms before each
/// retry makes fewer; one that spins makes thousands, even on a busy machine.
const SPIN_RATE: f64 = 1000.0;
/// The number of additional descriptors that a server may keep open, such as a log for errors.
const MAY_KEEP: usize = 2;

/// A fault: a line of the matrix.
pub struct Fault {
    /// The process whose call fails.
    pub role: Role,
    /// The call.
    pub call: &'static Call,
    /// The errno that it fails with.
    pub errno: &'static str,
    /// How often it fails; the fault is tried once for each entry.
    pub times: &'static [Times],
}

/// A call that can fail, and what the report says about it.
pub struct Call {
    /// The system calls, in strace's notation: `?` before a call that not every system has.
    pub syscalls: &'static str,
    /// Why it matters, in one sentence.
    pub why: &'static str,
    /// How to mend a server that fails.
    pub mend: &'static str,
    /// The manual pages to read.
    pub page: &'static str,
}

impl Call {
    /// close() is special: strace makes it fail by skipping it, so the descriptor stays open.
    fn is_close(&self) -> bool {
        self.syscalls == "close"
    }
}

/// The role of the process whose call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The parent, which accepts clients.
    Parent,
    /// A child, which serves a client.
    Child,
}

/// What happened while a call failed.
struct Observation {
    /// The number of calls that failed.
    calls: usize,
    /// If the server was spinning, what was seen.
    spins: Option<String>,
}

impl Times {
    fn words(self) -> &'static str {
        match self {
            Times::Once => "once",
            Times::Thrice => "three times in a row",
            Times::ForEver => "for a second",
        }
    }
}

impl Fault {
    /// Inject the fault into one server, for each entry of `times`, and check that it recovers each time.
    pub fn inject(&self, experiment: &Experiment<'_>) -> Outcome {
        let mut server = experiment.start_visible()?;
        // it may keep descriptors and processes that it opens or starts for its first client
        experiment.serves(&server);
        server.update_idle_processes();
        let Some(descriptors) = settled_descriptors(&server, None) else {
            return not_observable("the descriptors of a process cannot be listed on this system");
        };
        // do not look for zombies if the server leaves some without any fault, which no-zombies reports, nor after
        // ECHILD, which tells the server that it has no child
        let reaps = self.errno != "ECHILD" && left_zombies(experiment, &server).is_none();
        let mut failed_calls = Vec::new();
        for &times in self.times {
            let Observation { calls, spins } = self.serve_with_fault(experiment, &mut server, times)?;
            if let Some(seen) = spins {
                drop(server);
                return self.spin_verdict(experiment, times, seen);
            }
            if calls > 0 {
                failed_calls.push(calls);
            }
            self.check_recovery(experiment, &mut server, times)?;
            // a close() that strace made fail has left its descriptor open
            if !self.call.is_close()
                && let Some(now) = descriptors_left(experiment, &server, descriptors)
            {
                drop(server);
                return self.descriptor_verdict(experiment, times, descriptors, now);
            }
            if calls > 0
                && reaps
                && let Some(zombies) = left_zombies(experiment, &server)
            {
                drop(server);
                return self.zombie_verdict(experiment, times, zombies);
            }
        }
        match failed_calls.as_slice() {
            [] => not_observable(format!("{} never makes that call", self.process())),
            counts => {
                let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
                holds(format!("served the next client after {} failing calls", counts.join(", then ")))
            }
        }
    }

    fn process(&self) -> &'static str {
        match self.role {
            Role::Parent => "the parent",
            Role::Child => "a child",
        }
    }

    fn fails(&self, times: Times, expected: &str, seen: String) -> EarlyExit {
        let expected = format!("{} {}: {expected}", self.errno, times.words());
        EarlyExit::Verdict(Verdict::Fails(Failure::new(expected, seen)))
    }

    /// The verdict on a server that spins. With EMFILE and ENFILE, a real shortage is tried too: a server may keep a
    /// descriptor in reserve and close it to accept the client, which does not help when strace makes accept() fail.
    fn spin_verdict(&self, experiment: &Experiment<'_>, times: Times, seen: String) -> Outcome {
        if ["EMFILE", "ENFILE"].contains(&self.errno) {
            match out_of_descriptors(&experiment.another()) {
                Ok(Verdict::Holds(_)) => {
                    return not_observable("it retries at once, but waits when descriptors really run out");
                }
                Err(EarlyExit::Error(error)) => return Err(error.into()),
                _ => {}
            }
        }
        Err(self.fails(times, "it waits before it retries", seen))
    }

    /// The verdict on a server that has zombies afterwards: it may also leave some without any fault, when several
    /// children end together.
    fn zombie_verdict(&self, experiment: &Experiment<'_>, times: Times, zombies: usize) -> Outcome {
        if experiment.also_fails(no_zombies)? {
            return not_observable("it also leaves zombies without any fault");
        }
        Err(self.fails(times, "no zombie", format!("{zombies} zombies")))
    }

    /// The verdict on a server that has more descriptors afterwards: it may also lose some without any fault.
    fn descriptor_verdict(
        &self,
        experiment: &Experiment<'_>,
        times: Times,
        before: usize,
        now: usize,
    ) -> Outcome {
        if experiment.also_fails(keeps_descriptors)? {
            return not_observable("it also loses descriptors without any fault");
        }
        Err(self.fails(times, &format!("{before} descriptors"), format!("{now} descriptors")))
    }

    /// Make the call fail while clients connect.
    fn serve_with_fault(
        &self,
        experiment: &Experiment<'_>,
        server: &mut Subject,
        times: Times,
    ) -> Result<Observation, EarlyExit> {
        let (target, client) = match self.role {
            Role::Parent => (server.pid, None),
            Role::Child => match child_serving_client(experiment, server)? {
                Some((child, client)) => (child, Some(client)),
                None => return unobservable("no separate process serves a client"),
            },
        };
        // each thread retries on its own
        let threads = system::threads(target).len() as f64;
        let Some(strace) = Strace::attach(server, target, self.call.syscalls, self.errno, times) else {
            return unobservable(NO_STRACE);
        };
        experiment.step(format!(
            "strace: {} of {} fails with {}, {}",
            self.call.syscalls,
            self.process(),
            self.errno,
            times.words()
        ));
        let begun = Instant::now();
        let ticks = system::cpu_ticks(target).unwrap_or(0);
        match client {
            Some(mut client) => {
                client.send(experiment.message());
                client.half_close();
                client.read_until(SHORT_WAIT, |_| false);
                drop(client);
                server.wait_until(SHORT_WAIT, || server.is_idle());
            }
            None => (0..4).for_each(|_| connect_client(experiment, server)),
        }
        if times == Times::ForEver {
            wait_until(FOR_EVER.saturating_sub(begun.elapsed()), || server.ended().is_some());
        }
        let ticks = system::cpu_ticks(target).unwrap_or(ticks).saturating_sub(ticks);
        let seconds = begun.elapsed().as_secs_f64();
        let calls = strace.detach();
        let again_and_again = !self.call.is_close() && calls as f64 > SPIN_RATE * threads * seconds;
        let spins = (times == Times::ForEver && again_and_again)
            .then(|| format!("{calls} failing calls and {} ms of CPU in {seconds:.1} s", ticks * 10));
        Ok(Observation { calls, spins })
    }

    /// Check that the server works again, once the call succeeds again.
    fn check_recovery(
        &self,
        experiment: &Experiment<'_>,
        server: &mut Subject,
        times: Times,
    ) -> Result<(), EarlyExit> {
        if let Some(status) = server.ended() {
            server.expect_exit();
            return Err(self.fails(times, "the server keeps running", format!("it has ended: {status}")));
        }
        let serves = experiment.serves(server);
        if self.call.is_close() {
            // strace skipped close(), so the socket is still open, and its peer may wait for end of file without end
            return if serves {
                Ok(())
            } else {
                unobservable("it waits for an end of file, which the skipped close() did not send")
            };
        }
        if !serves {
            return Err(self.fails(times, "the next client is served", "no answer".into()));
        }
        // after ECHILD it may believe that its children are gone, and start others
        if self.errno != "ECHILD" && !server.wait_until(experiment.timeout(), || server.is_idle()) {
            let seen = format!(
                "{} of its processes are still running after {:?}",
                server.live_descendants(),
                experiment.timeout()
            );
            return Err(self.fails(times, "a child ends once its client is gone", seen));
        }
        Ok(())
    }
}

/// The number of descriptors that the server keeps open, if there are too many. Some servers close them only after a
/// timer, or when the next client connects: this waits for both.
fn descriptors_left(experiment: &Experiment<'_>, server: &Subject, before: usize) -> Option<usize> {
    let many = |now: &usize| *now > before + MAY_KEEP;
    settled_descriptors(server, Some(before)).filter(many)?;
    experiment.serves(server);
    server
        .wait_until(experiment.timeout(), || !system::descriptors(server.pid).is_some_and(|now| many(&now)));
    system::descriptors(server.pid).filter(many)
}

fn unobservable<T>(why: &str) -> Result<T, EarlyExit> {
    Err(EarlyExit::Verdict(Verdict::NotObservable(why.into())))
}

/// Connect a client that may get no answer.
fn connect_client(experiment: &Experiment<'_>, server: &Subject) {
    if let Ok(mut client) = Peer::dial(server.port, SHORT_WAIT) {
        client.send(experiment.message());
        client.read_until(SHORT_WAIT, |bytes| experiment.is_answer(bytes));
    }
}

/// Connect a silent client, and find the process that serves it. `None`: no process serves only this client.
fn child_serving_client(
    experiment: &Experiment<'_>,
    server: &Subject,
) -> Result<Option<(i32, Peer)>, EarlyExit> {
    let before = server.descendants();
    let client = experiment.dial(server)?;
    let find_child = || {
        let all = server.descendants();
        let is_new = |process: &&Process| before.iter().all(|old| old.pid != process.pid);
        // look first for the process that has the client's socket: a server with a pool of children may use an old one,
        // and start a new one for the pool
        let socket = system::connected_sockets(server.port, client.port());
        let has_socket = |process: &&Process| system::has_any_open(process.pid, &socket);
        let found = all.iter().find(has_socket).or_else(|| all.iter().find(is_new)).cloned();
        // asleep: it has finished its preparations, such as exec, and waits for its client
        found.filter(|process| process.state == 'S')
    };
    let mut child = None;
    server.wait_until(Duration::from_secs(1), || {
        child = find_child();
        child.is_some()
    });
    Ok(child.map(|child| (child.pid, client)))
}
