//! Runs each program in all its editions through every scenario. Every difference must be in docs/differences.md. With
//! `--table`, it prints tables for people to read.

#[path = "../support/mod.rs"]
mod support;

mod differences;
mod resolver;
mod rewrite;
mod scenarios;
mod share;
mod stage;
mod subject;
mod table;
mod trace;

use std::process::ExitCode;
use std::sync::Arc;

use differences::{Between, CHANNELS, Difference, Row};
use libtest_mimic::{Arguments, Failed, Trial};
use scenarios::{About, SCENARIOS, Scenario};
use stage::{Outcome, Stage};
use subject::{Edition, Listings, PROGRAMS, Subject};

/// How many of the 50 cells in the first table of `make compare` must be equal in every scenario.
const SAME_CELLS: usize = 40;

/// The inputs of every comparison.
pub struct Comparison {
    rows: Vec<Row>,
    listings: Option<Listings>,
    /// Whether strace is installed, so that system calls are compared, too.
    traced: bool,
}

fn main() -> ExitCode {
    let listings = match Listings::from_environment() {
        Ok(listings) => listings,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let comparison = Arc::new(Comparison {
        rows: differences::rows(),
        listings,
        traced: support::has("strace", "strace"),
    });
    if let Some(program) = table::asked_for() {
        return table::print(&comparison, &program);
    }
    let mut arguments = Arguments::from_args();
    // the scenarios mostly wait, so run several at a time
    arguments.test_threads = arguments.test_threads.or(Some(6));
    let everything = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials(&comparison));
    if conclusion.has_failed() {
        return ExitCode::from(101);
    }
    if everything && comparison.is_complete() { check_whole_run(&comparison) } else { ExitCode::SUCCESS }
}

/// The checks that need a run of all comparisons.
fn check_whole_run(comparison: &Comparison) -> ExitCode {
    let unused = differences::unused(&comparison.rows);
    if !unused.is_empty() {
        eprintln!("docs/differences.md has rows that no comparison shows: {}", unused.join(" "));
        return ExitCode::from(101);
    }
    let cells = PROGRAMS.len() * CHANNELS.len();
    let same = cells - differences::seen(Between::ListingAndRust).len();
    if same < SAME_CELLS {
        eprintln!(
            "only {same} of {cells} cells equal the listing's in every scenario; at least {SAME_CELLS} must"
        );
        return ExitCode::from(101);
    }
    ExitCode::SUCCESS
}

fn trials(comparison: &Arc<Comparison>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| comparison.traced || scenario.inject.is_none()) {
        for &program in scenario.programs {
            let comparison = Arc::clone(comparison);
            trials.push(Trial::test(format!("{program} {}", scenario.name), move || {
                comparison.run(program, scenario)
            }));
        }
    }
    let named = Arc::clone(comparison);
    trials.push(Trial::test("every test that docs/differences.md names exists", move || named.named_tests()));
    let shared = Arc::clone(comparison);
    trials.push(Trial::test(
        "the C and the Rust have the listing's calls and texts in the same order",
        move || match &shared.listings {
            Some(listings) => share::check(listings),
            None => {
                support::skipped("without TUTORIAL=FILE, the programs are not compared with the listings");
                Ok(())
            }
        },
    ));
    trials
}

impl Comparison {
    /// Whether every comparison is possible here.
    fn is_complete(&self) -> bool {
        self.traced && self.listings.is_some() && resolver::available().is_ok()
    }

    /// Each row names tests that show its difference; they must exist.
    fn named_tests(&self) -> Result<(), Failed> {
        let process = support::source_of("tests/process");
        let errors = support::source_of("tests");
        for row in &self.rows {
            let exists = |test: &String| match test.split_once(':') {
                Some(("parity", name)) => SCENARIOS.iter().any(|scenario| scenario.name == name),
                Some(("process", name)) => process.contains(&format!("fn {name}(")),
                Some(("errors", name)) => errors.contains(&format!("fn {name}(")),
                _ => false,
            };
            if row.tests.is_empty() || !row.tests.iter().all(exists) {
                return Err(format!("row {} must name tests that exist, not {:?}", row.id, row.tests).into());
            }
        }
        Ok(())
    }

    /// Run a scenario for a program in all its editions, and compare them.
    fn run(&self, program: &'static str, scenario: &Scenario) -> Result<(), Failed> {
        if scenario.resolver
            && let Err(why) = resolver::available()
        {
            assert!(std::env::var_os("CI").is_none(), "the test's name server cannot run: {why}");
            support::skipped(&format!("{}: {why}", scenario.name));
            return Ok(());
        }
        let mut report = String::new();
        let mut note = |between: Between, first: &(Edition, Outcome), second: &(Edition, Outcome)| {
            let differences = self.compare(between, program, scenario, &second.1, &first.1);
            for difference in differences.iter().filter(|difference| difference.rows.is_empty()) {
                let (first, second) = (first.0.title(), second.0.title());
                report.push_str(&format!(
                    "\n  {}: - {first}, + {second}\n{}",
                    difference.channel, difference.diff
                ));
            }
        };
        let [rust, twin] = [Subject::rust(program), Subject::twin(program)]
            .map(|subject| (subject.edition, self.play(subject, scenario)));
        note(Between::TwinAndRust, &twin, &rust);
        // a scenario with a fault needs strace, under which LeakSanitizer cannot work
        if scenario.inject.is_none() {
            let sanitized = (Edition::Sanitized, self.play(Subject::sanitized(program), scenario));
            note(Between::TwinAndRust, &sanitized, &rust);
        }
        if let Some(listing) = self.listing(program, scenario) {
            let listing = (Edition::Listing, self.play(listing, scenario));
            note(Between::ListingAndRust, &listing, &rust);
            note(Between::ListingAndTwin, &listing, &twin);
        }
        if report.is_empty() { Ok(()) } else { Err(report.into()) }
    }

    /// The listing, if TUTORIAL is set and the scenario applies to listings.
    fn listing(&self, program: &'static str, scenario: &Scenario) -> Option<Subject> {
        let listings = self.listings.as_ref().filter(|_| scenario.about == About::Behaviour)?;
        Subject::listing(listings, program)
    }

    /// Run one edition of a program through a scenario.
    fn play(&self, subject: Subject, scenario: &Scenario) -> Outcome {
        let traced = self.traced && subject.edition != Edition::Sanitized;
        let mut stage = Stage::new(subject, scenario.sink, traced);
        if let Some(fault) = scenario.inject {
            stage.inject(fault);
        }
        (scenario.act)(stage)
    }

    fn compare(
        &self,
        between: Between,
        program: &'static str,
        scenario: &Scenario,
        ours: &Outcome,
        theirs: &Outcome,
    ) -> Vec<Difference> {
        differences::compare(&self.rows, between, program, scenario.name, ours, theirs)
    }
}
