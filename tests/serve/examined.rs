//! `prise check` examines `prise serve`: every check holds, and the server survives every fault.

use std::process::Command;

use crate::fixture::{Reaper, quiet_machine};
use crate::support::examiner::check;
use crate::support::{example, has};

trials!(
    both: every_check_holds_without_a_program,
        it_survives_every_fault_of_the_parent;
    once: it_survives_every_fault_of_a_child,
        every_check_holds_with_cat,
        every_check_holds_with_the_handler;
);

/// Examine `prise serve` with a program, and assert that all checks hold but those in `fails`. `options` are for `prise
/// check`, `serve` for `prise serve`.
#[track_caller]
fn assert_holds(options: &[&str], serve: &[&str], program: &[&str], fails: &[&str]) {
    if !has("strace", "strace") {
        return;
    }
    let _quiet = quiet_machine();
    let server =
        [&[env!("CARGO_BIN_EXE_prise"), "serve", "--max-children", "2000"], serve, &["{port}"], program];
    let findings = check(&[&["--format", "tap", "--timeout", "10"], options].concat(), &server.concat());
    assert_eq!(findings.failed(), fails, "{}{}", findings.stdout, findings.stderr);
    assert_eq!(findings.code, Some(i32::from(!fails.is_empty())), "{}{}", findings.stdout, findings.stderr);
    // some faults never occur: the parent calls no read(); and on a busy machine strace may attach too late
    let unseen = findings.unseen();
    assert!(unseen.iter().all(|name| name.contains(':')) && unseen.len() <= 4, "{}", findings.stdout);
}

fn every_check_holds_without_a_program(reaper: Reaper) {
    assert_holds(&[], &["--reaper", reaper.name()], &[], &[]);
}

/// The names of all faults that begin with `process:`, which is `parent` or `child`, separated by commas.
fn faults_of(process: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prise"));
    let output = command.args(["check", "--list", "--faults"]).output().expect("prise runs");
    let list = String::from_utf8(output.stdout).expect("a list is text");
    let names = list.lines().filter_map(|line| line.split(' ').next());
    let names: Vec<&str> = names.filter(|name| name.starts_with(&format!("{process}:"))).collect();
    assert!(names.len() > 5, "{list}");
    names.join(",")
}

fn it_survives_every_fault_of_the_parent(reaper: Reaper) {
    let options = ["--faults", "--only", &faults_of("parent")];
    assert_holds(&options, &["--reaper", reaper.name()], &[], &[]);
}

fn it_survives_every_fault_of_a_child() {
    assert_holds(&["--faults", "--only", &faults_of("child")], &[], &[], &[]);
}

fn every_check_holds_with_cat() {
    assert_holds(&["--send", "hello\\n", "--expect", "hello"], &[], &["--", "cat"], &[]);
}

fn every_check_holds_with_the_handler() {
    let handler = example("handler").display().to_string();
    assert_holds(&[], &[], &["--", &handler], &[]);
}
