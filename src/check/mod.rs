//! `prise check`: examines any server that forks one process per client, and reports its mistakes.
//!
//! Each check is a separate experiment: it starts a fresh server, acts as a client that would expose one mistake, and
//! observes the connection and the process table. [`mod@list`] has the checks, [`matrix`] the faults of `--faults`.

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
use self::verdict::{EarlyExit, Verdict};
use crate::error::{Error, Exit};
use crate::ffi::{Handler, adopt_orphans, note_stop_signals, sigaction};
use crate::stdio::{flush_stdout, say};
use crate::subject::system;

/// `prise check`
///
/// # Errors
/// [`Error::NotStarted`] when there is no server to examine, [`Error::Stopped`] by Ctrl-C.
pub fn main(options: &Options) -> Result<Exit, Error> {
    note_stop_signals().ok();
    // undo an inherited "ignore": with SIGCHLD ignored, neither this process nor the server could wait for its children
    sigaction(Signal::SIGCHLD, Handler::Default).ok();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).ok();
    adopt_orphans();
    raise_descriptor_limit();

    let checks = options.checks();
    let mut report = Report::new(options, &checks);
    if let Err(error) = run_checks(options, &checks, &mut report) {
        let error = with_startup_output(options, error);
        report.cut_short(&error);
        return Err(error);
    }
    let failed = report.end();
    flush_stdout()?;
    Ok(if failed { Exit::Failure } else { Exit::Success })
}

/// Run the checks one after the other.
fn run_checks(options: &Options, checks: &[&Check], report: &mut Report) -> Result<(), Error> {
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
                Ok(verdict) | Err(EarlyExit::Verdict(verdict)) => verdict,
                Err(EarlyExit::Error(error)) => return Err(error),
            }
        };
        // a check that Ctrl-C ended early says nothing about the server
        experiment.interrupted().map_or(Ok(()), Err)?;
        let verdict = match experiment.unexpected_exit() {
            Some(status) => verdict.with_unexpected_exit(status),
            None => verdict,
        };
        answered = experiment.answered.get().or(answered);
        report.found(check, &verdict, begun.elapsed(), &experiment.steps());
    }
    Ok(())
}

/// The reason printed when a check needs an answer that the server does not give.
const UNANSWERED: &str = "a client does not get the expected answer: see answers, --send, --expect";

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

/// All checks, including the faults.
fn all() -> impl Iterator<Item = &'static Check> {
    CHECKS.iter().chain(FAULTS)
}

/// Add the check names to `--only` of the command line, so that it accepts only these and shells complete them.
pub fn with_names(command: clap::Command) -> clap::Command {
    let names = all().map(|check| check.name).collect::<Vec<_>>();
    let parser = PossibleValuesParser::from(names);
    command.mut_arg("only", |only| only.value_parser(parser).hide_possible_values(true))
}

impl Options {
    /// The checks to run: those that `--only` names, otherwise all, with the faults if `--faults` is given.
    fn checks(&self) -> Vec<&'static Check> {
        let asked = |check: &&Check| self.only.iter().any(|name| name == check.name);
        match (self.only.is_empty(), self.faults) {
            (true, false) => CHECKS.iter().collect(),
            (true, true) => all().collect(),
            (false, _) => all().filter(asked).collect(),
        }
    }
}

/// If the server did not start, start it once more and add what it prints to the error.
fn with_startup_output(options: &Options, error: Error) -> Error {
    // skip this if another process has the port: the server would only print that
    let taken = options.port.is_some_and(system::listens);
    match error {
        Error::NotStarted(why) if !taken => match experiment::startup_output(options) {
            Ok(words) if !words.is_empty() => Error::NotStarted(format!(
                "{why}; it says: {}",
                crate::visible::visible_line(words.as_bytes())
            )),
            _ => Error::NotStarted(why),
        },
        other => other,
    }
}

/// Set the limit on open descriptors to the highest that this user may set, at most 65536.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // if this fails, only idle-clients may need more descriptors, and it reports that
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard);
    }
}
