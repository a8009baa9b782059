//! Tests of `prise check` itself: its command line, its report formats, and its verdicts on small servers written for
//! these tests and on programs that are no servers. Full examinations of real servers are in examinations.rs.

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

/// Assert that no process of a test is left; the test's processes have a unique word in their arguments.
#[track_caller]
fn assert_nothing_left(word: &str) {
    let left: Vec<_> =
        support::processes().into_iter().filter(|process| process.command.contains(word)).collect();
    assert!(left.is_empty(), "{left:?}");
}
