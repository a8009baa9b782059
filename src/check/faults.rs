//! What `--faults` does: a call of the parent or of a child fails with an errno, once, three times in a row,
//! and for ever until it is released. Which do stands in [`crate::check::matrix`].

use std::time::{Duration, Instant};

use crate::check::experiment::Experiment;
use crate::check::processes::{
    descriptors as keeps_descriptors, left_zombies, no_zombies, settled_descriptors,
};
use crate::check::shortage::out_of_descriptors;
use crate::check::strace::{NO_STRACE, Strace, Times};
use crate::check::verdict::{Cut, Failure, Outcome, Verdict, holds, not_observable};
use crate::subject::peer::Peer;
use crate::subject::system::{self, Process};
use crate::subject::{Subject, wait_until};

/// How long a call fails that fails for ever.
const FOR_EVER: Duration = Duration::from_secs(1);

/// How long a client waits that need not be answered.
const PATIENCE: Duration = Duration::from_millis(300);

/// Failing calls a second: a server that waits 2 ms between two tries makes fewer, and one that spins makes
/// some thousands, on a busy machine too.
const SPINNING: f64 = 1000.0;
/// What a server may open once, such as a log for errors, is no descriptor lost for each.
const KEPT: usize = 2;

/// A line of the matrix.
pub struct Fault {
    /// The process whose call fails.
    pub whose: Whose,
    /// The call.
    pub call: &'static Call,
    /// What it fails with.
    pub errno: &'static str,
    /// How often.
    pub times: &'static [Times],
}

/// A call that fails, and what the report says of it.
pub struct Call {
    /// As strace takes them; `?` where not all systems have it.
    pub syscalls: &'static str,
    /// Why it matters, in a sentence.
    pub why: &'static str,
    /// What mends it.
    pub mend: &'static str,
    /// Where to read more.
    pub page: &'static str,
}

impl Call {
    /// close() is different: strace makes it fail by not making it, so the descriptor stays open.
    fn is_close(&self) -> bool {
        self.syscalls == "close"
    }
}

/// Whose call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The parent's, which accepts.
    Parent,
    /// A child's, which serves a client.
    Child,
}

/// How a server has met a call that fails.
struct Met {
    /// How many times it did.
    calls: usize,
    /// What was seen of a server that tries again and again.
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
    /// One server meets the fault once, three times, for ever.
    pub fn inject(&self, experiment: &Experiment<'_>) -> Outcome {
        let mut server = experiment.start_in_sight()?;
        // what it opens for its first client, or starts, it may keep
        experiment.serves(&server);
        server.settle();
        let Some(descriptors) = settled_descriptors(&server, None) else {
            return not_observable("the descriptors of a process cannot be listed on this system");
        };
        // one that leaves zombies without any fault has a check of its own for that; and whoever is told that it has no
        // child may believe it
        let reaps = self.errno != "ECHILD" && left_zombies(experiment, &server).is_none();
        let mut met = Vec::new();
        for &times in self.times {
            let Met { calls, spins } = self.meet(experiment, &mut server, times)?;
            if let Some(seen) = spins {
                drop(server);
                return self.spins(experiment, times, seen);
            }
            if calls > 0 {
                met.push(calls);
            }
            self.aftermath(experiment, &mut server, times)?;
            // a close() that is made to fail is not made
            if !self.call.is_close()
                && let Some(now) = descriptors_left(experiment, &server, descriptors)
            {
                drop(server);
                return self.loses_descriptors(experiment, times, descriptors, now);
            }
            if calls > 0
                && reaps
                && let Some(zombies) = left_zombies(experiment, &server)
            {
                drop(server);
                return self.leaves_zombies(experiment, times, zombies);
            }
        }
        match met.as_slice() {
            [] => not_observable(format!("{} never makes that call", self.who())),
            met => {
                let met: Vec<String> = met.iter().map(usize::to_string).collect();
                holds(format!("served the next client after {} failing calls", met.join(", then ")))
            }
        }
    }

    fn who(&self) -> &'static str {
        match self.whose {
            Whose::Parent => "the parent",
            Whose::Child => "a child",
        }
    }

    fn fails(&self, times: Times, expected: &str, seen: String) -> Cut {
        let expected = format!("{} {}: {expected}", self.errno, times.words());
        Cut::Found(Verdict::Fails(Failure::new(expected, seen)))
    }

    /// It tries again at once. A descriptor that is kept in reserve makes room where one is missing, and none where
    /// accept() is made to fail.
    fn spins(&self, experiment: &Experiment<'_>, times: Times, seen: String) -> Outcome {
        if ["EMFILE", "ENFILE"].contains(&self.errno) {
            match out_of_descriptors(&experiment.another()) {
                Ok(Verdict::Holds(_)) => {
                    return not_observable("it tries again at once, but waits when descriptors do run out");
                }
                Err(Cut::Trouble(error)) => return Err(error.into()),
                _ => {}
            }
        }
        Err(self.fails(times, "it waits before it tries again", seen))
    }

    /// It has zombies afterwards, which it may have without any fault as well, once some of its children end together.
    fn leaves_zombies(&self, experiment: &Experiment<'_>, times: Times, zombies: usize) -> Outcome {
        if experiment.also_fails(no_zombies)? {
            return not_observable("it leaves zombies without any fault, too");
        }
        Err(self.fails(times, "no zombie", format!("{zombies} zombies")))
    }

    /// It has more descriptors afterwards, which it may have without any fault as well.
    fn loses_descriptors(
        &self,
        experiment: &Experiment<'_>,
        times: Times,
        before: usize,
        now: usize,
    ) -> Outcome {
        if experiment.also_fails(keeps_descriptors)? {
            return not_observable("it loses descriptors without any fault, too");
        }
        Err(self.fails(times, &format!("{before} descriptors"), format!("{now} descriptors")))
    }

    /// Let the call fail while clients come.
    fn meet(&self, experiment: &Experiment<'_>, server: &mut Subject, times: Times) -> Result<Met, Cut> {
        let (target, client) = match self.whose {
            Whose::Parent => (server.pid, None),
            Whose::Child => match child_of_a_client(experiment, server)? {
                Some((child, client)) => (child, Some(client)),
                None => return unobservable("no process of its own serves a client"),
            },
        };
        // each tries again for itself
        let threads = system::threads(target).len() as f64;
        let Some(strace) = Strace::attach(server, target, self.call.syscalls, self.errno, times) else {
            return unobservable(NO_STRACE);
        };
        experiment.step(format!(
            "strace: {} of {} gives {}, {}",
            self.call.syscalls,
            self.who(),
            self.errno,
            times.words()
        ));
        let begun = Instant::now();
        let ticks = system::cpu_ticks(target).unwrap_or(0);
        match client {
            Some(mut client) => {
                client.send(experiment.message());
                client.half_close();
                client.read_until(PATIENCE, |_| false);
                drop(client);
                server.wait_until(PATIENCE, || server.is_at_rest());
            }
            None => (0..4).for_each(|_| a_client_comes(experiment, server)),
        }
        if times == Times::ForEver {
            wait_until(FOR_EVER.saturating_sub(begun.elapsed()), || server.ended().is_some());
        }
        let ticks = system::cpu_ticks(target).unwrap_or(ticks).saturating_sub(ticks);
        let seconds = begun.elapsed().as_secs_f64();
        let calls = strace.detach();
        let again_and_again = !self.call.is_close() && calls as f64 > SPINNING * threads * seconds;
        let spins = (times == Times::ForEver && again_and_again)
            .then(|| format!("{calls} failing calls and {} ms of CPU in {seconds:.1} s", ticks * 10));
        Ok(Met { calls, spins })
    }

    /// What must be so once the call succeeds again.
    fn aftermath(&self, experiment: &Experiment<'_>, server: &mut Subject, times: Times) -> Result<(), Cut> {
        if let Some(status) = server.ended() {
            server.may_end();
            return Err(self.fails(times, "the server goes on", format!("it has ended: {status}")));
        }
        let serves = experiment.serves(server);
        if self.call.is_close() {
            // a close() that is made to fail is not made, and whoever waits for the end of file waits on
            return if serves {
                Ok(())
            } else {
                unobservable("it waits for an end that no close() has made")
            };
        }
        if !serves {
            return Err(self.fails(times, "the next client is served", "no answer".into()));
        }
        // after ECHILD it may think its children gone, and start others
        if self.errno != "ECHILD" && !server.wait_until(experiment.timeout(), || server.is_at_rest()) {
            let seen = format!(
                "{} of its processes are there after {:?}",
                server.busy_children(),
                experiment.timeout()
            );
            return Err(self.fails(times, "a child ends once its client is gone", seen));
        }
        Ok(())
    }
}

/// How many descriptors it has for good, if that is too many. Some are closed by a clock, or when the next client comes.
fn descriptors_left(experiment: &Experiment<'_>, server: &Subject, before: usize) -> Option<usize> {
    let many = |now: &usize| *now > before + KEPT;
    settled_descriptors(server, Some(before)).filter(many)?;
    experiment.serves(server);
    server
        .wait_until(experiment.timeout(), || !system::descriptors(server.pid).is_some_and(|now| many(&now)));
    system::descriptors(server.pid).filter(many)
}

fn unobservable<T>(why: &str) -> Result<T, Cut> {
    Err(Cut::Found(Verdict::NotObservable(why.into())))
}

/// A client that is not sure of an answer.
fn a_client_comes(experiment: &Experiment<'_>, server: &Subject) {
    if let Ok(mut client) = Peer::dial(server.port, PATIENCE) {
        client.send(experiment.message());
        client.read_until(PATIENCE, |bytes| experiment.is_answer(bytes));
    }
}

/// A silent client, and the process that serves it and nobody else.
fn child_of_a_client(experiment: &Experiment<'_>, server: &Subject) -> Result<Option<(i32, Peer)>, Cut> {
    let before = server.descendants();
    let client = experiment.dial(server)?;
    let whose = || {
        let all = server.descendants();
        let is_new = |process: &&Process| before.iter().all(|old| old.pid != process.pid);
        // one that was there before, where some are kept in reserve: a newcomer is then the next in reserve
        let socket = system::connected_sockets(server.port, client.port());
        let has_it = |process: &&Process| system::has_open(process.pid, &socket);
        let its = all.iter().find(has_it).or_else(|| all.iter().find(is_new)).cloned();
        // asleep: it waits for its client, whatever it had to do or to execute before that
        its.filter(|process| process.state == 'S')
    };
    let mut child = None;
    server.wait_until(Duration::from_secs(1), || {
        child = whose();
        child.is_some()
    });
    Ok(child.map(|child| (child.pid, client)))
}
