//! mirror: shows one of the tutorial's programs side by side: the listing, the C twin and the Rust.
//! Usage: make mirror PROGRAM=server/fork [TUTORIAL=FILE]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::process::ExitCode;

use support::columns::{align, terminal_width, text};
use support::listings::{ALL, Listings, PROGRAMS};
use support::root;
use support::syntax::{Side, line_keys};

/// One edition of the program: its lines, and a key for each line, by which the editions are aligned.
struct Column {
    title: String,
    lines: Vec<String>,
    keys: Vec<String>,
}

impl Column {
    /// The lines from main on; the lines before main differ between the languages.
    fn new(title: String, side: Side, source: &str) -> Column {
        let keys = line_keys(side, &title, source);
        let lines: Vec<String> = source.lines().map(|line| line.trim_end().replace('\t', "    ")).collect();
        let begins = |line: &String| line.starts_with("int main") || line.starts_with("pub fn main");
        let first = lines.iter().position(begins).unwrap_or(0);
        Column { title, lines: lines[first..].to_vec(), keys: keys[first..].to_vec() }
    }

    /// Give the step comments of a listing, which are in French, the keys of the twin's comments before the same
    /// code.
    fn copy_step_keys(&mut self, twin: &Column) {
        let is_comment = |line: &String| line.trim_start().starts_with("// ");
        let blank = |line: &String| line.trim().is_empty();
        let rows = align(&[self.keys.clone(), twin.keys.clone()]);
        for row in rows {
            let [Some(here), Some(there)] = row[..] else { continue };
            let before = |lines: &[String], at: usize| lines[..at].iter().rposition(|line| !blank(line));
            let (own, theirs) = (before(&self.lines, here), before(&twin.lines, there));
            if let (Some(own), Some(theirs)) = (own, theirs)
                && is_comment(&self.lines[own])
                && is_comment(&twin.lines[theirs])
            {
                self.keys[own] = twin.keys[theirs].clone();
            }
        }
    }
}

fn main() -> ExitCode {
    let requested = std::env::args().nth(1).unwrap_or_default();
    let matches = |known: &&&str| **known == requested || known.split('/').nth(1) == Some(requested.as_str());
    let Some(program) = ALL.iter().find(matches) else {
        eprintln!("PROGRAM= can be {}", ALL.join(", "));
        return ExitCode::from(2);
    };
    match columns(program) {
        Ok(columns) => {
            print!("{}", side_by_side(&columns));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// The C twin, the Rust, and the listing if TUTORIAL is set.
fn columns(program: &str) -> Result<Vec<Column>, String> {
    let read = |path: String, side| {
        let source = fs::read_to_string(root().join(&path)).map_err(|error| format!("{path}: {error}"))?;
        Ok::<_, String>(Column::new(path, side, &source))
    };
    let mut columns =
        vec![read(format!("c/{program}.c"), Side::C)?, read(format!("src/{program}.rs"), Side::Rust)?];
    match Listings::from_environment()?.filter(|_| PROGRAMS.contains(&program)) {
        Some(listings) => {
            let mut listing = Column::new("the listing".into(), Side::C, &listings.source(program));
            listing.copy_step_keys(&columns[0]);
            columns.push(listing);
        }
        None if PROGRAMS.contains(&program) => {
            eprintln!("With TUTORIAL=FILE, the tutorial's listing is shown beside them.\n");
        }
        None => {}
    }
    Ok(columns)
}

/// The columns side by side: the listing, the twin, the Rust. The listing and the Rust are aligned with the twin.
fn side_by_side(columns: &[Column]) -> String {
    let [twin, rust, listing @ ..] = columns else { return String::new() };
    let others: Vec<&Column> = listing.iter().chain([rust]).collect();
    let keys: Vec<Vec<String>> = others.iter().chain([&twin]).map(|column| column.keys.clone()).collect();
    let cell = |column: &Column, line: Option<usize>| line.map_or(String::new(), |i| column.lines[i].clone());
    let row = |lines: &[Option<usize>]| {
        let (ours, theirs) = lines.split_last().expect("the twin is one");
        let mut cells: Vec<String> =
            others.iter().zip(theirs).map(|(column, line)| cell(column, *line)).collect();
        cells.insert(cells.len() - 1, cell(twin, *ours));
        (' ', cells)
    };
    let mut titles: Vec<String> = others.iter().map(|column| column.title.clone()).collect();
    titles.insert(titles.len() - 1, twin.title.clone());
    let blank = (' ', vec![String::new(); titles.len()]);
    let rows = align(&keys).into_iter().map(|lines| row(&lines));
    text(&[(' ', titles), blank].into_iter().chain(rows).collect::<Vec<_>>(), terminal_width())
}
