//! Tests of `make mirror`, which shows the C twin and the Rust side by side.

use std::process::Command;

use crate::support::columns::{align, compared};
use crate::support::{example, read_file};

/// The output of `make mirror` for a program, on a terminal of this width.
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
fn every_step_of_fork_is_beside_its_twin() {
    let text = shown("server/fork", 260);
    let source = read_file("c/server/fork.c");
    let main = source.split_once("int main").expect("the program has a main").1;
    let steps: Vec<&str> = main.lines().map(str::trim).filter(|line| line.starts_with("// ")).collect();
    assert!(steps.len() > 10);
    for step in steps.iter().filter(|step| !step.contains("the handler of SIGCHLD")) {
        let row =
            text.lines().find(|row| row.contains(step)).unwrap_or_else(|| panic!("{step} is not shown"));
        assert_eq!(row.matches(step).count(), 2, "{row}");
    }
}

#[test]
fn every_line_is_shown_and_fits_the_terminal() {
    let text = shown("client/message", 100);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let wide = shown("client/message", 300);
    for file in ["c/client/message.c", "src/client/message.rs"] {
        let source = read_file(file);
        let first = source.find("main(").expect("the program has a main");
        for line in source[first..].lines().skip(1).map(str::trim) {
            assert!(wide.contains(line), "{file}: {line:?} is not shown");
        }
    }
}

#[test]
fn an_unknown_program_is_refused_with_the_list_of_programs() {
    let output = Command::new(example("mirror")).arg("server/nosuch").output().expect("the example runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("server/fork"));
}

#[test]
fn lines_with_the_same_key_are_in_the_same_row() {
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
fn rows_with_different_cells_are_marked() {
    let titles = column(&["left", "right"]);
    let text = compared(&titles, &[column(&["same", "one"]), column(&["same", "other", "more"])], 40);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["left", "right"]);
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["same", "same"]);
    assert!(lines[2..].iter().all(|line| line.starts_with("| ")), "{text}");
}
