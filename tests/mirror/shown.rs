//! `make mirror`: twin and Rust side by side, step by step.

use std::process::Command;

use crate::support::columns::{align, compared};
use crate::support::{example, root};

/// What it prints of a program, on a terminal as wide as that.
fn shown(program: &str, columns: usize) -> String {
    let mut mirror = Command::new(example("mirror"));
    mirror.arg(program).env("COLUMNS", columns.to_string()).env_remove("TUTORIAL");
    let output = mirror.output().expect("the example runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn column(column: &[&str]) -> Vec<String> {
    column.iter().map(|line| (*line).into()).collect()
}

#[test]
fn every_step_of_fork_stands_beside_its_twin() {
    let text = shown("server/fork", 260);
    let source = std::fs::read_to_string(root().join("c/server/fork.c")).expect("the twin is there");
    let main = source.split_once("int main").expect("it has a main").1;
    let steps: Vec<&str> = main.lines().map(str::trim).filter(|line| line.starts_with("// ")).collect();
    assert!(steps.len() > 10);
    for step in steps.iter().filter(|step| !step.contains("the handler of SIGCHLD")) {
        let row =
            text.lines().find(|row| row.contains(step)).unwrap_or_else(|| panic!("{step} is not shown"));
        assert_eq!(row.matches(step).count(), 2, "{row}");
    }
}

#[test]
fn every_line_is_shown_and_none_is_wider_than_the_terminal() {
    let text = shown("client/message", 100);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let wide = shown("client/message", 300);
    for file in ["c/client/message.c", "src/client/message.rs"] {
        let source = std::fs::read_to_string(root().join(file)).expect("a source is there");
        let first = source.find("main(").expect("it has a main");
        for line in source[first..].lines().skip(1).map(str::trim) {
            assert!(wide.contains(line), "{file}: {line:?} is not shown");
        }
    }
}

#[test]
fn a_program_that_is_none_is_refused_with_the_list() {
    let output = Command::new(example("mirror")).arg("server/nosuch").output().expect("the example runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("server/fork"));
}

#[test]
fn lines_of_the_same_key_stand_beside_each_other_and_others_between_them() {
    let columns = [column(&["a", "", "b"]), column(&["", "a", "b", ""])];
    let rows = [
        vec![None, Some(0)],
        vec![Some(0), Some(1)],
        vec![Some(1), None],
        vec![Some(2), Some(2)],
        vec![None, Some(3)],
    ];
    pretty_assertions::assert_eq!(align(&columns), rows);
}

#[test]
fn three_columns_are_aligned_with_the_last() {
    let columns = [column(&["a", "x", "c"]), column(&["a", "b", "c"]), column(&["a", "b", "c"])];
    let rows = [
        vec![Some(0), Some(0), Some(0)],
        vec![None, Some(1), Some(1)],
        vec![Some(1), None, None],
        vec![Some(2), Some(2), Some(2)],
    ];
    pretty_assertions::assert_eq!(align(&columns), rows);
}

#[test]
fn rows_that_are_not_all_the_same_are_marked() {
    let titles = column(&["left", "right"]);
    let text = compared(&titles, &[column(&["same", "one"]), column(&["same", "other", "more"])], 40);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["left", "right"]);
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["same", "same"]);
    assert!(lines[2..].iter().all(|line| line.starts_with("| ")), "{text}");
}
