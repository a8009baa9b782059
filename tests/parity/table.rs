//! The tables that `make compare` prints.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use crate::Comparison;
use crate::differences::{Between, CHANNELS};
use crate::resolver;
use crate::scenarios::{About, SCENARIOS, Scenario};
use crate::share;
use crate::stage::Outcome;
use crate::subject::{ALL, PROGRAMS, Subject};
use crate::support::columns;
use crate::trace::NORMALISED;

/// The program after `--table`, empty for all tables; `None` without `--table`.
pub fn asked_for() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == "--table").then(|| arguments.next().unwrap_or_default())
}

/// Print the tables, or a program's scenarios, or the editions side by side in one scenario.
pub fn print(comparison: &Comparison, program: &str) -> ExitCode {
    let scenario = std::env::var("SCENARIO").unwrap_or_default();
    if program.is_empty() && scenario.is_empty() {
        return print_tables(comparison);
    }
    let Some(program) =
        ALL.iter().find(|known| known.split('/').any(|part| part == program) || **known == program)
    else {
        eprintln!("there is no program {program:?}; PROGRAM= can be {}", ALL.join(", "));
        return ExitCode::from(2);
    };
    if scenario.is_empty() {
        return scenarios(comparison, program);
    }
    match playable(comparison, program).find(|known| known.name == scenario) {
        Some(scenario) => side_by_side(comparison, program, scenario),
        None => {
            eprintln!(
                "{program} has no scenario {scenario:?} that can run here; its scenarios are\n{}",
                listed(comparison, program)
            );
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

fn listed(comparison: &Comparison, program: &str) -> String {
    playable(comparison, program).map(|scenario| format!("  {}\n", scenario.name)).collect()
}

fn scenarios(comparison: &Comparison, program: &str) -> ExitCode {
    println!("The scenarios of {program}:\n\n{}", listed(comparison, program));
    println!(
        "make compare PROGRAM={program} SCENARIO=NAME shows all editions in one scenario, side by side."
    );
    ExitCode::SUCCESS
}

/// The differences of one channel over all scenarios.
#[derive(Default)]
struct Cell {
    rows: BTreeSet<String>,
    /// Differences that no row allows.
    unexplained: Vec<String>,
}

/// The cells of a table, by program and channel. Without a cell, the channel is equal in every scenario.
type Cells = BTreeMap<(&'static str, &'static str), Cell>;

/// A table of `make compare`.
struct Table {
    between: Between,
    about: About,
    title: &'static str,
    programs: &'static [&'static str],
}

const TABLES: [Table; 4] = [
    Table {
        between: Between::ListingAndRust,
        about: About::Behaviour,
        title: "The tutorial's listing and the Rust",
        programs: &PROGRAMS,
    },
    Table {
        between: Between::TwinAndRust,
        about: About::CommandLine,
        title: "The C twin and the Rust: the command line and the options, which the listings do not have",
        programs: &ALL,
    },
    Table {
        between: Between::ListingAndTwin,
        about: About::Behaviour,
        title: "The tutorial's listing and the C twin",
        programs: &PROGRAMS,
    },
    Table {
        between: Between::TwinAndRust,
        about: About::Behaviour,
        title: "The C twin and the Rust",
        programs: &ALL,
    },
];

fn print_tables(comparison: &Comparison) -> ExitCode {
    println!("{NORMALISED}");
    if comparison.listings.is_none() {
        println!("\nWith TUTORIAL=FILE, the tutorial's listings are compared, too.");
    }
    let played = play_all(comparison);
    let mut unexplained = Vec::new();
    for table in &TABLES {
        let Some(mut cells) = cells(comparison, table, &played) else { continue };
        println!("\n{}\n", table.title);
        let mut lines =
            vec![["program", "scenarios"].into_iter().chain(CHANNELS).map(String::from).collect()];
        for &program in table.programs {
            let count =
                played.iter().filter(|one| one.program == program && one.scenario.about == table.about);
            let mut line = vec![program.to_string(), count.count().to_string()];
            line.extend(
                CHANNELS.iter().map(|channel| show(cells.get(&(program, *channel)), comparison, channel)),
            );
            lines.push(line);
        }
        lines.retain(|line| line[1] != "0");
        aligned(&lines);
        let all = (lines.len() - 1) * CHANNELS.len();
        if table.about == About::Behaviour {
            println!("\n{} of {all} cells are equal in every scenario.", all - cells.len());
        }
        unexplained.extend(cells.values_mut().flat_map(|cell| std::mem::take(&mut cell.unexplained)));
    }
    println!(
        "\n=  equal in every scenario; otherwise the rows of docs/differences.md that explain the difference"
    );
    if let Some(listings) = &comparison.listings {
        println!("\nThe share of the listing's calls and texts that our sources have in the same order\n");
        let line =
            |name: &str, [c, rust]: [f64; 2]| vec![name.into(), format!("{c:.2}"), format!("{rust:.2}")];
        let mut lines = vec![["program", "C twin", "Rust"].map(String::from).to_vec()];
        let shares = share::of_all(listings);
        lines.extend(PROGRAMS.into_iter().zip(shares).map(|(program, shares)| line(program, shares)));
        lines.push(line("on average", share::average(&shares)));
        aligned(&lines);
    }
    if unexplained.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\n!  differences that docs/differences.md does not explain:\n\n{}", unexplained.join("\n"));
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

/// The outcomes of a program in a scenario.
struct Played {
    program: &'static str,
    scenario: &'static Scenario,
    rust: Outcome,
    twin: Outcome,
    listing: Option<Outcome>,
}

fn play_all(comparison: &Comparison) -> Vec<Played> {
    let played = ALL.iter().flat_map(|&program| {
        playable(comparison, program).map(move |scenario| Played {
            program,
            scenario,
            rust: comparison.play(Subject::rust(program), scenario),
            twin: comparison.play(Subject::twin(program), scenario),
            listing: comparison.listing(program, scenario).map(|listing| comparison.play(listing, scenario)),
        })
    });
    played.collect()
}

/// The cells of a table; `None` if it needs the listings and TUTORIAL is not set.
fn cells(comparison: &Comparison, table: &Table, played: &[Played]) -> Option<Cells> {
    if comparison.listings.is_none() && table.between != Between::TwinAndRust {
        return None;
    }
    let mut cells = Cells::new();
    for one in played.iter().filter(|one| one.scenario.about == table.about) {
        let (first, second) = match table.between {
            Between::ListingAndRust => (one.listing.as_ref(), &one.rust),
            Between::ListingAndTwin => (one.listing.as_ref(), &one.twin),
            Between::TwinAndRust => (Some(&one.twin), &one.rust),
        };
        let Some(first) = first else { continue };
        for difference in comparison.compare(table.between, one.program, one.scenario, second, first) {
            let cell = cells.entry((one.program, difference.channel)).or_default();
            if difference.rows.is_empty() {
                cell.unexplained.push(format!("{} {}\n{}", one.program, one.scenario.name, difference.diff));
            }
            cell.rows.extend(difference.rows);
        }
    }
    Some(cells)
}

fn show(cell: Option<&Cell>, comparison: &Comparison, channel: &str) -> String {
    match cell {
        None if channel == "calls" && !comparison.traced => "no strace".into(),
        None => "=".into(),
        Some(cell) if !cell.unexplained.is_empty() => "!".into(),
        Some(cell) => cell.rows.iter().cloned().collect::<Vec<_>>().join(" "),
    }
}

/// Print all that is observed of one program in one scenario, with one column per edition.
fn side_by_side(comparison: &Comparison, program: &'static str, scenario: &Scenario) -> ExitCode {
    let listing = comparison.listing(program, scenario);
    let editions = listing.into_iter().chain([Subject::twin(program), Subject::rust(program)]);
    let (titles, outcomes): (Vec<&str>, Vec<Outcome>) =
        editions.map(|subject| (subject.edition.title(), comparison.play(subject, scenario))).unzip();
    println!("{program}, {}\n\n{NORMALISED}\n", scenario.name);
    let width = columns::terminal_width();
    for channel in CHANNELS {
        let lines: Vec<Vec<String>> = outcomes.iter().map(|outcome| outcome.channel(channel)).collect();
        let titles: Vec<String> = titles.iter().map(|title| format!("{channel}, {title}")).collect();
        println!("{}", columns::compared(&titles, &lines, width));
    }
    ExitCode::SUCCESS
}
