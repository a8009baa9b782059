//! `prise check`: whether any server that forks per client is right, and which mistake it makes.
//!
//! Each check is an experiment of its own: a fresh server, a client that would expose one mistake, a look
//! at the wire and at the process table. They stand in [`mod@list`], and the faults of `--faults` in
//! [`matrix`].

mod conversation;
mod experiment;
mod faults;
mod lifecycle;
mod list;
mod matrix;
mod options;
mod processes;
mod report;
mod shortage;
mod strace;
mod text;
mod trouble;
mod verdict;

use std::time::Instant;

use clap::builder::PossibleValuesParser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use self::experiment::Experiment;
use self::list::{CHECKS, Check};
use self::matrix::FAULTS;
pub use self::options::Options;
use self::report::Report;
use self::verdict::{Cut, Verdict};
use crate::error::{Error, Exit};
use crate::ffi::{Handler, adopt_orphans, is_ignored, sigaction};
use crate::stdio::{flush_stdout, say};
use crate::subject::system;

/// `prise check`
///
/// # Errors
/// [`Error::NotStarted`] when there is no server to examine, [`Error::Stopped`] by Ctrl-C.
pub fn main(options: &Options) -> Result<Exit, Error> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP] {
        // nohup means it
        if signal != Signal::SIGHUP || !is_ignored(signal) {
            sigaction(signal, Handler::NoteStop).ok();
        }
    }
    // who has started us may ignore it: then no child that ends is told of, nor is one to the server
    sigaction(Signal::SIGCHLD, Handler::Default).ok();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).ok();
    as_much_as_allowed();

    let checks = options.checks();
    let mut report = Report::new(options, &checks);
    if let Err(error) = make(options, &checks, &mut report) {
        let error = explained(options, error);
        report.cut_short(&error);
        return Err(error);
    }
    let failed = report.end();
    flush_stdout()?;
    Ok(if failed { Exit::Failure } else { Exit::Success })
}

/// Make one check after the other.
fn make(options: &Options, checks: &[&Check], report: &mut Report) -> Result<(), Error> {
    let mut answered = None;
    for check in checks {
        let experiment = Experiment::new(options);
        report.begins(check);
        if check.needs_answer && answered.is_none() {
            answered = Some(conversation::is_answered(&experiment)?);
        }
        let begun = Instant::now();
        let verdict = if check.needs_answer && answered == Some(false) {
            Verdict::NotObservable(UNANSWERED.into())
        } else {
            match (check.run)(&experiment) {
                Ok(verdict) | Err(Cut::Found(verdict)) => verdict,
                Err(Cut::Trouble(error)) => return Err(error),
            }
        };
        // what Ctrl-C has cut short says nothing of the server
        experiment.interrupted().map_or(Ok(()), Err)?;
        let verdict = match experiment.ended() {
            Some(status) => verdict.of_one_that_ended(status),
            None => verdict,
        };
        answered = experiment.answered.get().or(answered);
        report.found(check, &verdict, begun.elapsed(), &experiment.steps());
    }
    Ok(())
}

/// Why no more is said of a server that does not speak as it is meant to.
const UNANSWERED: &str = "a client is not answered as expected: see answers, --send, --expect";

/// `prise check --list`
///
/// # Errors
/// [`Error::Stdout`]
pub fn list(faults: bool) -> Result<Exit, Error> {
    let faults = if faults { FAULTS } else { &[] };
    for check in CHECKS.iter().chain(faults) {
        say!("{:<29}{}\n", check.name, check.claim);
    }
    flush_stdout().map(|()| Exit::Success)
}

/// All checks, and all faults.
fn all() -> impl Iterator<Item = &'static Check> {
    CHECKS.iter().chain(FAULTS)
}

/// The command line of `prise check`, in which `--only` takes the names of checks and a shell completes them.
pub fn with_names(command: clap::Command) -> clap::Command {
    let names = all().map(|check| check.name).collect::<Vec<_>>();
    let parser = PossibleValuesParser::from(names);
    command.mut_arg("only", |only| only.value_parser(parser).hide_possible_values(true))
}

impl Options {
    /// What is to be made: what is named, or everything.
    fn checks(&self) -> Vec<&'static Check> {
        let asked = |check: &&Check| self.only.iter().any(|name| name == check.name);
        match (self.only.is_empty(), self.faults) {
            (true, false) => CHECKS.iter().collect(),
            (true, true) => all().collect(),
            (false, _) => all().filter(asked).collect(),
        }
    }
}

/// A server that did not start is started once more, to hear what it says.
fn explained(options: &Options, error: Error) -> Error {
    // it cannot say more where another has its port
    let taken = options.port.is_some_and(system::listens);
    match error {
        Error::NotStarted(why) if !taken => match experiment::last_words(options) {
            Ok(words) if !words.is_empty() => Error::NotStarted(format!(
                "{why}; it says: {}",
                crate::visible::visible_line(words.as_bytes())
            )),
            _ => Error::NotStarted(why),
        },
        other => other,
    }
}

/// Become the one to whom orphans go, and open as many descriptors as the user may: a server that
/// leaves processes behind is not left with them.
fn as_much_as_allowed() {
    adopt_orphans();
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // less is enough for all checks but one, which says so
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard);
    }
}
