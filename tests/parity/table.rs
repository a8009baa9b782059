//! `make compare`: the comparison for people.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use crate::Comparison;
use crate::differences::{Between, CHANNELS};
use crate::resolver;
use crate::scenarios::{SCENARIOS, Scenario};
use crate::subject::{PROGRAMS, Subject};

/// The program that `--table` asks for: none asks for the whole table.
pub fn asked_for() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == "--table").then(|| arguments.next().unwrap_or_default())
}

/// Print the table, or the calls of one program side by side.
pub fn print(comparison: &Comparison, program: &str) -> ExitCode {
    if program.is_empty() {
        return whole(comparison);
    }
    match PROGRAMS.iter().find(|known| known.split('/').any(|part| part == program) || **known == program) {
        Some(known) => side_by_side(comparison, known),
        None => {
            eprintln!("there is no program {program:?}; there are {}", PROGRAMS.join(", "));
            ExitCode::from(2)
        }
    }
}

fn playable(comparison: &Comparison, program: &str) -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS.iter().filter(move |scenario| {
        scenario.programs.contains(&program)
            && (!scenario.resolver || resolver::available().is_ok())
            && (scenario.inject.is_none() || comparison.traced)
    })
}

/// What a channel showed over all scenarios.
#[derive(Default)]
struct Cell {
    rows: BTreeSet<String>,
    /// Differences that no row allows.
    unexplained: Vec<String>,
}

fn whole(comparison: &Comparison) -> ExitCode {
    let mut unexplained = Vec::new();
    for (between, title) in [
        (Between::RustAndTwin, "Rust and its C twin"),
        (Between::RustAndListing, "Rust and the tutorial's listing"),
    ] {
        if between == Between::RustAndListing && comparison.listings.is_none() {
            println!("\nTUTORIAL=FILE compares with the tutorial's listings too.");
            continue;
        }
        let mut lines =
            vec![["program", "scenarios"].into_iter().chain(CHANNELS).map(String::from).collect()];
        for program in PROGRAMS {
            let mut cells = cells(comparison, between, program);
            let mut line = vec![program.to_string(), playable(comparison, program).count().to_string()];
            line.extend(CHANNELS.iter().map(|channel| show(cells.get(channel), comparison, channel)));
            lines.push(line);
            unexplained.extend(cells.values_mut().flat_map(|cell| std::mem::take(&mut cell.unexplained)));
        }
        println!("\n{title}\n");
        aligned(&lines);
    }
    println!("\n=  the same in every scenario; otherwise the rows of docs/differences.md that say why");
    if unexplained.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("!  differences that docs/differences.md does not name:\n\n{}", unexplained.join("\n"));
    ExitCode::FAILURE
}

/// Print lines of cells, each column as wide as its widest cell.
fn aligned(lines: &[Vec<String>]) {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    for line in lines {
        let cells = line.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

fn cells(comparison: &Comparison, between: Between, program: &'static str) -> BTreeMap<&'static str, Cell> {
    let mut cells: BTreeMap<&str, Cell> = BTreeMap::new();
    for scenario in playable(comparison, program) {
        let ours = comparison.play(Subject::rust(program), scenario);
        let theirs = match (between, &comparison.listings) {
            (Between::RustAndListing, Some(listings)) => Subject::listing(listings, program),
            _ => Subject::twin(program),
        };
        let theirs = comparison.play(theirs, scenario);
        for difference in comparison.compare(between, program, scenario, &ours, &theirs) {
            let cell = cells.entry(difference.channel).or_default();
            if difference.rows.is_empty() {
                cell.unexplained
                    .push(format!("{program} {}: - C, + Rust\n{}", scenario.name, difference.diff));
            }
            cell.rows.extend(difference.rows);
        }
    }
    cells
}

fn show(cell: Option<&Cell>, comparison: &Comparison, channel: &str) -> String {
    match cell {
        None if channel == "calls" && !comparison.traced => "no strace".into(),
        None => "=".into(),
        Some(cell) if !cell.unexplained.is_empty() => "!".into(),
        Some(cell) => {
            let mut rows: Vec<&String> = cell.rows.iter().collect();
            // O9 before O10
            rows.sort_by_key(|row| (row.len(), *row));
            rows.into_iter().cloned().collect::<Vec<_>>().join(" ")
        }
    }
}

/// The calls of one program, in the scenario that shows most of it: Rust left, C right.
fn side_by_side(comparison: &Comparison, program: &'static str) -> ExitCode {
    let scenario = playable(comparison, program)
        .find(|scenario| shows_most(scenario))
        .or_else(|| playable(comparison, program).next());
    let scenario = scenario.expect("every program has a scenario");
    let mut editions = vec![("Rust", Subject::rust(program)), ("C twin", Subject::twin(program))];
    if let Some(listings) = &comparison.listings {
        editions.push(("listing", Subject::listing(listings, program)));
    }
    let columns: Vec<(&str, Vec<String>)> = editions
        .into_iter()
        .map(|(title, subject)| (title, comparison.play(subject, scenario).calls.unwrap_or_default()))
        .collect();
    println!("{program}, {}\n", scenario.name.replace('_', " "));
    for other in &columns[1..] {
        two_columns(&columns[0], other);
    }
    ExitCode::SUCCESS
}

fn shows_most(scenario: &Scenario) -> bool {
    matches!(scenario.name, "client_sends_a_line" | "server_answers_1_byte" | "message" | "dotted_quad")
}

fn two_columns(left: &(&str, Vec<String>), right: &(&str, Vec<String>)) {
    let width = left.1.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    println!("{:<width$}   {}", left.0, right.0);
    for change in similar::capture_diff_slices(similar::Algorithm::Myers, &left.1, &right.1) {
        let (tag, ours, theirs) = change.as_tag_tuple();
        let mark = if tag == similar::DiffTag::Equal { ' ' } else { '|' };
        let (ours, theirs) = (&left.1[ours], &right.1[theirs]);
        for i in 0..ours.len().max(theirs.len()) {
            let cell = |lines: &[String]| lines.get(i).cloned().unwrap_or_default();
            println!("{}", format!("{:<width$} {mark} {}", cell(ours), cell(theirs)).trim_end());
        }
    }
    println!();
}
