//! Every program in every edition through every scenario: what is not the same must stand in
//! docs/differences.md. With `--table`, the same for people to read.

#[path = "../support/mod.rs"]
mod support;

mod differences;
mod resolver;
mod rewrite;
mod scenarios;
mod stage;
mod subject;
mod table;
mod trace;

use std::process::ExitCode;
use std::sync::Arc;

use differences::{Between, Difference, Row};
use libtest_mimic::{Arguments, Failed, Trial};
use scenarios::{SCENARIOS, Scenario};
use stage::{Outcome, Stage};
use subject::{Edition, Listings, Subject};

/// What every comparison needs.
pub struct Comparison {
    rows: Vec<Row>,
    listings: Option<Listings>,
    /// Whether strace is there to compare system calls.
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
    // the scenarios wait more than they work
    arguments.test_threads = arguments.test_threads.or(Some(6));
    let everything = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials(&comparison));
    if conclusion.has_failed() {
        return ExitCode::from(101);
    }
    let unused = differences::unused(&comparison.rows);
    if everything
        && comparison.traced
        && comparison.listings.is_some()
        && resolver::available().is_ok()
        && !unused.is_empty()
    {
        eprintln!("docs/differences.md has rows that no comparison shows: {}", unused.join(" "));
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
    let comparison = Arc::clone(comparison);
    trials.push(Trial::test("every test that docs/differences.md names is there", move || {
        comparison.named_tests()
    }));
    trials
}

impl Comparison {
    /// A row is shown by tests, which must exist.
    fn named_tests(&self) -> Result<(), Failed> {
        let process = support::source_of("tests/process");
        let errors = support::source_of("tests");
        for row in &self.rows {
            let is_there = |test: &String| match test.split_once(':') {
                Some(("parity", name)) => SCENARIOS.iter().any(|scenario| scenario.name == name),
                Some(("process", name)) => process.contains(&format!("fn {name}(")),
                Some(("errors", name)) => errors.contains(&format!("fn {name}(")),
                _ => false,
            };
            if row.tests.is_empty() || !row.tests.iter().all(is_there) {
                return Err(format!("row {} names {:?}", row.id, row.tests).into());
            }
        }
        Ok(())
    }

    /// A scenario for a program, as a test.
    fn run(&self, program: &'static str, scenario: &Scenario) -> Result<(), Failed> {
        if scenario.resolver
            && let Err(why) = resolver::available()
        {
            assert!(std::env::var_os("CI").is_none(), "no name server of our own: {why}");
            support::skipped(&format!("{}: {why}", scenario.name));
            return Ok(());
        }
        let ours = self.play(Subject::rust(program), scenario);
        let mut report = String::new();
        let mut note = |title: &str, differences: Vec<Difference>| {
            for difference in differences.iter().filter(|difference| difference.rows.is_empty()) {
                report
                    .push_str(&format!("\n  {}: - {title}, + Rust\n{}", difference.channel, difference.diff));
            }
        };
        let twin = self.play(Subject::twin(program), scenario);
        note("C twin", self.compare(Between::RustAndTwin, program, scenario, &ours, &twin));
        // LeakSanitizer cannot work under a tracer, which is what makes calls fail
        if scenario.inject.is_none() {
            let sanitized = self.play(Subject::sanitized(program), scenario);
            note(
                "C twin with sanitizers",
                self.compare(Between::RustAndTwin, program, scenario, &ours, &sanitized),
            );
        }
        if let Some(listings) = &self.listings {
            let listing = self.play(Subject::listing(listings, program), scenario);
            note("listing", self.compare(Between::RustAndListing, program, scenario, &ours, &listing));
        }
        if report.is_empty() { Ok(()) } else { Err(report.into()) }
    }

    /// What is seen of an edition of a program in a scenario.
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
        program: &str,
        scenario: &Scenario,
        ours: &Outcome,
        theirs: &Outcome,
    ) -> Vec<Difference> {
        differences::compare(&self.rows, between, program, scenario.name, ours, theirs)
    }
}
