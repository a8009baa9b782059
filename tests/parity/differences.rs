//! Reads docs/differences.md, the only table of allowed differences, and compares outcomes with it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use similar::{ChangeTag, TextDiff};

use crate::rewrite::REWRITES;
use crate::stage::Outcome;
use crate::support;

/// The channels that are compared.
pub const CHANNELS: [&str; 5] = ["stdout", "stderr", "exit", "wire", "calls"];

/// The two editions of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Between {
    ListingAndRust,
    ListingAndTwin,
    TwinAndRust,
}

/// The editions that depart from the listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Editions {
    C,
    Rust,
    Both,
}

impl Editions {
    fn parse(cell: &str) -> Editions {
        match cell {
            "C" => Editions::C,
            "Rust" => Editions::Rust,
            "both" => Editions::Both,
            _ => panic!("docs/differences.md: unknown edition {cell:?}"),
        }
    }

    /// Whether such a departure is visible between these two.
    fn visible(self, between: Between) -> bool {
        match between {
            Between::ListingAndRust => self != Editions::C,
            Between::ListingAndTwin => self != Editions::Rust,
            // both have the departure, so they do not differ from each other
            Between::TwinAndRust => self != Editions::Both,
        }
    }
}

/// A row of the table.
pub struct Row {
    pub id: String,
    departs: Editions,
    programs: Vec<String>,
    places: Vec<Place>,
    /// The tests that show it, as `parity:SCENARIO`, `process:TEST` or `errors:TEST`.
    pub tests: Vec<String>,
}

/// Where a row's difference may be visible: `stdout`, `stdout,exit:scenario,…`, `calls:close,…`, `?stdout` if it is not
/// always visible, or `~wire` if `rewrite.rs` describes it exactly.
struct Place {
    channels: Vec<String>,
    only: Vec<String>,
}

/// A difference between two outcomes, and the rows that allow it. Without such a row, the test fails.
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
                departs: Editions::parse(cells[2]),
                places: words(cells[3]).iter().map(|word| Place::parse(word)).collect(),
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

impl Place {
    fn parse(word: &str) -> Place {
        let list = |text: &str| text.split(',').filter(|item| !item.is_empty()).map(String::from).collect();
        let (channels, only) = word.split_once(':').unwrap_or((word, ""));
        let place = Place { channels: list(channels), only: list(only) };
        for channel in &place.channels {
            let known = CHANNELS.contains(&channel.trim_start_matches(['~', '?'])) || channel == "-";
            assert!(known, "docs/differences.md: unknown channel {channel:?}");
        }
        place
    }
}

impl Row {
    fn is_about(&self, between: Between, program: &str) -> bool {
        self.departs.visible(between) && self.programs.iter().any(|pattern| matches_pattern(pattern, program))
    }

    /// Whether the row allows a channel to differ: in every scenario, in this one, or in lines with this call.
    fn allows(&self, channel: &str, scenario: &str, call: &str) -> bool {
        let same_channel = |listed: &String| listed.trim_start_matches('?') == channel;
        self.places.iter().filter(|place| place.channels.iter().any(same_channel)).any(|place| {
            place.only.is_empty()
                || place.only.iter().any(|only| only == call || matches_pattern(only, scenario))
        })
    }
}

/// Whether a name matches a pattern, which may begin or end in `*`.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => name.ends_with(suffix),
        (None, Some(prefix)) => name.starts_with(prefix),
        (None, None) => pattern == name,
    }
}

/// All differences between two outcomes of a program in a scenario.
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
        .expect("no thread panics while it holds the lock")
        .extend(differences.iter().map(|difference| (between, program, difference.channel)));
    USED.lock()
        .expect("no thread panics while it holds the lock")
        .extend(differences.iter().flat_map(|difference| difference.rows.clone()));
    differences
}

/// A listing's text without the differences that [`REWRITES`] describes exactly, and the rows of these.
fn rewritten(program: &str, channel: &str, ours: &str, theirs: &str) -> (String, Vec<String>) {
    let mut text = theirs.to_string();
    let mut rows = Vec::new();
    for rewrite in REWRITES.iter().filter(|one| one.channel == channel && one.programs.contains(&program)) {
        let rewritten = (rewrite.rewrite)(&text, ours);
        if rewritten != text {
            rows.push(rewrite.row.to_string());
            text = rewritten;
        }
    }
    (text, rows)
}

/// Compare the calls: each line that differs must have a row that allows its call to differ.
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

/// A diff of lines: `-` marks the first edition's, `+` the second's.
fn diff(ours: &str, theirs: &str) -> String {
    let diff = TextDiff::from_lines(theirs, ours);
    diff.iter_all_changes()
        .map(|change| format!("      {} {}\n", change.tag(), change.value().trim_end_matches('\n')))
        .collect()
}

/// The rows that no comparison has used, although their difference is always visible.
pub fn unused(rows: &[Row]) -> Vec<String> {
    let used = USED.lock().expect("no thread panics while it holds the lock");
    let always_visible = |row: &&Row| {
        row.places.iter().any(|place| place.channels.iter().all(|channel| !channel.starts_with(['-', '?'])))
    };
    rows.iter().filter(always_visible).map(|row| row.id.clone()).filter(|id| !used.contains(id)).collect()
}

/// The programs and channels in which two editions differed.
pub fn seen(between: Between) -> BTreeSet<(&'static str, &'static str)> {
    let seen = SEEN.lock().expect("no thread panics while it holds the lock");
    let of_these = seen.iter().filter(|one| one.0 == between);
    of_these.map(|(_, program, channel)| (*program, *channel)).collect()
}
