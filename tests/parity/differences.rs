//! docs/differences.md, read: the one table of the differences that are allowed.

use std::collections::BTreeSet;
use std::sync::Mutex;

use similar::{ChangeTag, TextDiff};

use crate::rewrite::REWRITES;
use crate::stage::Outcome;
use crate::support;

/// What is compared.
pub const CHANNELS: [&str; 5] = ["stdout", "stderr", "exit", "wire", "calls"];

/// Which two editions are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Between {
    ListingAndRust,
    ListingAndTwin,
    TwinAndRust,
}

/// Which editions depart from the listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum In {
    C,
    Rust,
    Both,
}

impl In {
    fn parse(cell: &str) -> In {
        match cell {
            "C" => In::C,
            "Rust" => In::Rust,
            "both" => In::Both,
            _ => panic!("docs/differences.md: no edition {cell:?}"),
        }
    }

    /// Whether such a departure shows between these two.
    fn shows(self, between: Between) -> bool {
        match between {
            Between::ListingAndRust => self != In::C,
            Between::ListingAndTwin => self != In::Rust,
            // of an option both have the form of their command line
            Between::TwinAndRust => self != In::Both,
        }
    }
}

/// A row of the table.
pub struct Row {
    pub id: String,
    departs: In,
    programs: Vec<String>,
    shows: Vec<Shows>,
    /// The tests that show it, as `parity:SCENARIO`, `process:TEST` or `errors:TEST`.
    pub tests: Vec<String>,
}

/// Where a row may be seen: `stdout`, `stdout,exit:scenario,…`, `calls:close,…`, `?stdout` for what need not be
/// seen, or `~wire` for what `rewrite.rs` says exactly.
struct Shows {
    channels: Vec<String>,
    only: Vec<String>,
}

/// A difference that was seen, and the rows that allow it; none is a failure.
pub struct Difference {
    pub channel: &'static str,
    pub rows: Vec<String>,
    pub diff: String,
}

static USED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static SEEN: Mutex<Vec<(Between, &str, &str)>> = Mutex::new(Vec::new());

/// Read the document's table.
pub fn rows() -> Vec<Row> {
    let path = support::root().join("docs/differences.md");
    let document = std::fs::read_to_string(&path).expect("docs/differences.md can be read");
    let mut rows = Vec::new();
    for line in document.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let is_row = cells.len() == 8
            && cells[0].len() == 2
            && cells[0][1..].bytes().all(|byte| byte.is_ascii_digit());
        if is_row {
            rows.push(Row {
                id: cells[0].into(),
                programs: words(cells[1]),
                departs: In::parse(cells[2]),
                shows: words(cells[3]).iter().map(|word| Shows::parse(word)).collect(),
                tests: words(cells[7]),
            });
        }
    }
    rows
}

/// The words of a cell, without their backticks.
fn words(cell: &str) -> Vec<String> {
    cell.split(' ').map(|word| word.trim_matches('`').to_string()).filter(|word| !word.is_empty()).collect()
}

impl Shows {
    fn parse(word: &str) -> Shows {
        let list = |text: &str| text.split(',').filter(|item| !item.is_empty()).map(String::from).collect();
        let (channels, only) = word.split_once(':').unwrap_or((word, ""));
        let shows = Shows { channels: list(channels), only: list(only) };
        for channel in &shows.channels {
            let known = CHANNELS.contains(&channel.trim_start_matches(['~', '?'])) || channel == "-";
            assert!(known, "docs/differences.md: no channel {channel:?}");
        }
        shows
    }
}

impl Row {
    fn is_about(&self, between: Between, program: &str) -> bool {
        self.departs.shows(between) && self.programs.iter().any(|pattern| fits(pattern, program))
    }

    /// Whether the row allows a channel to differ: always, in this scenario, or in lines that make this call.
    fn allows(&self, channel: &str, scenario: &str, call: &str) -> bool {
        let of_channel = |shown: &String| shown.trim_start_matches('?') == channel;
        self.shows.iter().filter(|shows| shows.channels.iter().any(of_channel)).any(|shows| {
            shows.only.is_empty() || shows.only.iter().any(|only| only == call || fits(only, scenario))
        })
    }
}

/// Whether a pattern that may begin or end in `*` is this name.
fn fits(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => name.ends_with(suffix),
        (None, Some(prefix)) => name.starts_with(prefix),
        (None, None) => pattern == name,
    }
}

/// Every difference between two outcomes of a program in a scenario.
pub fn compare(
    rows: &[Row],
    between: Between,
    program: &'static str,
    scenario: &str,
    ours: &Outcome,
    theirs: &Outcome,
) -> Vec<Difference> {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.is_about(between, program)).collect();
    let allowing = |channel: &str, call: &str| -> Vec<String> {
        rows.iter().filter(|row| row.allows(channel, scenario, call)).map(|row| row.id.clone()).collect()
    };
    let mut differences = Vec::new();
    for (channel, ours, theirs) in [
        ("stdout", &ours.stdout, &theirs.stdout),
        ("stderr", &ours.stderr, &theirs.stderr),
        ("exit", &ours.exit, &theirs.exit),
        ("wire", &ours.wire.join("\n"), &theirs.wire.join("\n")),
    ] {
        if ours == theirs {
            continue;
        }
        let (theirs, mut used) = match between {
            Between::TwinAndRust => (theirs.clone(), Vec::new()),
            Between::ListingAndRust | Between::ListingAndTwin => rewritten(program, channel, ours, theirs),
        };
        if *ours != theirs {
            used = allowing(channel, "");
        }
        differences.push(Difference { channel, rows: used, diff: diff(ours, &theirs) });
    }
    if let (Some(ours), Some(theirs)) = (&ours.calls, &theirs.calls)
        && ours != theirs
    {
        differences.push(calls(ours, theirs, allowing));
    }
    SEEN.lock()
        .expect("no test panics here")
        .extend(differences.iter().map(|difference| (between, program, difference.channel)));
    USED.lock()
        .expect("no test panics here")
        .extend(differences.iter().flat_map(|difference| difference.rows.clone()));
    differences
}

/// What a listing shows, without the differences that its rows say exactly, and those rows.
fn rewritten(program: &str, channel: &str, ours: &str, theirs: &str) -> (String, Vec<String>) {
    let mut text = theirs.to_string();
    let mut rows = Vec::new();
    for rewrite in REWRITES.iter().filter(|one| one.channel == channel && one.programs.contains(&program)) {
        let without = (rewrite.without)(&text, ours);
        if without != text {
            rows.push(rewrite.row.to_string());
            text = without;
        }
    }
    (text, rows)
}

/// A line of calls may differ where a row names its call; each must.
fn calls(ours: &[String], theirs: &[String], allowing: impl Fn(&str, &str) -> Vec<String>) -> Difference {
    let ours: Vec<String> = ours.iter().map(|line| format!("{line}\n")).collect();
    let theirs: Vec<String> = theirs.iter().map(|line| format!("{line}\n")).collect();
    let (ours, theirs) = (ours.concat(), theirs.concat());
    let text = TextDiff::from_lines(&theirs, &ours);
    let mut rows = BTreeSet::new();
    let mut all_allowed = true;
    for change in text.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal) {
        let name = change.value().trim().split(['(', ':']).next().unwrap_or_default().to_string();
        let allowed = allowing("calls", &name);
        all_allowed &= !allowed.is_empty();
        rows.extend(allowed);
    }
    let rows = if all_allowed { rows.into_iter().collect() } else { Vec::new() };
    Difference { channel: "calls", rows, diff: diff(&ours, &theirs) }
}

/// Two columns of lines as a diff: `-` the first edition's, `+` the second's.
fn diff(ours: &str, theirs: &str) -> String {
    let diff = TextDiff::from_lines(theirs, ours);
    diff.iter_all_changes()
        .map(|change| format!("      {} {}\n", change.tag(), change.value().trim_end_matches('\n')))
        .collect()
}

/// The rows that no comparison has needed.
pub fn unused(rows: &[Row]) -> Vec<String> {
    let used = USED.lock().expect("no test panics here");
    let seen_here = |row: &&Row| {
        row.shows.iter().any(|shows| shows.channels.iter().all(|shown| !shown.starts_with(['-', '?'])))
    };
    rows.iter().filter(seen_here).map(|row| row.id.clone()).filter(|id| !used.contains(id)).collect()
}

/// The programs and channels in which two editions were seen to differ.
pub fn seen(between: Between) -> BTreeSet<(&'static str, &'static str)> {
    let seen = SEEN.lock().expect("no test panics here");
    let of_these = seen.iter().filter(|one| one.0 == between);
    of_these.map(|(_, program, channel)| (*program, *channel)).collect()
}
