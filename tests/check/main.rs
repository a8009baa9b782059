//! The examiner: its command line, its formats, and what it does with subjects that are no servers at all.
//! What it says of servers stands in examinations.rs.

#[path = "../support/mod.rs"]
mod support;

mod command_line;
mod examiner;
mod guilty;
mod innocent;
mod logs;
mod python;
mod report;
mod subjects;

const PRISE: &str = env!("CARGO_BIN_EXE_prise");

/// No process of a test's own is left: each has a word of its own in its arguments.
#[track_caller]
fn assert_nothing_left(word: &str) {
    let left: Vec<_> =
        support::processes().into_iter().filter(|process| process.command.contains(word)).collect();
    assert!(left.is_empty(), "{left:?}");
}
