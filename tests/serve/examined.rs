//! What `prise check` says of `prise serve`: every check holds, and every fault is survived.

use std::process::Command;

use crate::fixture::{Reaper, no_crowd};
use crate::support::examiner::check;
use crate::support::{example, has};

trials!(
    both: every_check_of_the_tutorials_child_holds,
        every_fault_of_the_parent_is_survived;
    once: every_fault_of_a_child_is_survived,
        every_check_of_cat_holds,
        every_check_of_the_handler_holds;
);

/// Examine a server with a program, by options of the examination, and find that it fails these checks.
#[track_caller]
fn assert_holds(options: &[&str], serve: &[&str], program: &[&str], fails: &[&str]) {
    if !has("strace", "strace") {
        return;
    }
    let _no_crowd = no_crowd();
    let server =
        [&[env!("CARGO_BIN_EXE_prise"), "serve", "--max-children", "2000"], serve, &["{port}"], program];
    let findings = check(&[&["--format", "tap", "--timeout", "10"], options].concat(), &server.concat());
    assert_eq!(findings.failed(), fails, "{}{}", findings.stdout, findings.stderr);
    assert_eq!(findings.code, Some(i32::from(!fails.is_empty())), "{}{}", findings.stdout, findings.stderr);
    // it prints without reading; and where a machine is busy, strace may come too late for a call
    let unseen = findings.unseen();
    assert!(unseen.iter().all(|name| name.contains(':')) && unseen.len() <= 4, "{}", findings.stdout);
}

fn every_check_of_the_tutorials_child_holds(reaper: Reaper) {
    assert_holds(&[], &["--reaper", reaper.name()], &[], &[]);
}

/// The names of all faults of the parent, or of a child.
fn faults_of(whose: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prise"));
    let output = command.args(["check", "--list", "--faults"]).output().expect("prise runs");
    let list = String::from_utf8(output.stdout).expect("a list is text");
    let names = list.lines().filter_map(|line| line.split(' ').next());
    let names: Vec<&str> = names.filter(|name| name.starts_with(&format!("{whose}:"))).collect();
    assert!(names.len() > 5, "{list}");
    names.join(",")
}

fn every_fault_of_the_parent_is_survived(reaper: Reaper) {
    let options = ["--faults", "--only", &faults_of("parent")];
    assert_holds(&options, &["--reaper", reaper.name()], &[], &[]);
}

fn every_fault_of_a_child_is_survived() {
    assert_holds(&["--faults", "--only", &faults_of("child")], &[], &[], &[]);
}

fn every_check_of_cat_holds() {
    assert_holds(&["--send", "hello\\n", "--expect", "hello"], &[], &["--", "cat"], &[]);
}

fn every_check_of_the_handler_holds() {
    let handler = example("handler").display().to_string();
    assert_holds(&[], &[], &["--", &handler], &[]);
}
