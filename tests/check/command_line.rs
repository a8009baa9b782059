//! The command line of `prise check`.

use std::process::Command;

use crate::PRISE;
use crate::support::examiner::check;

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for options in [
        &["--only", "nosuch"][..],
        &["--send", ""],
        &["--send", "\\q"],
        &["--timeout", "0"],
        &["--format", "xml"],
        &["--port", "0"],
    ] {
        let findings = check(options, &["true", "{port}"]);
        assert_eq!(findings.code, Some(2), "{options:?}: {}", findings.stderr);
        assert_eq!(findings.stdout, "");
    }
    // neither {port} nor --port: the server cannot know where to listen
    let findings = check(&[], &["true"]);
    assert_eq!((findings.code, findings.stdout.as_str()), (Some(2), ""), "{}", findings.stderr);
    assert!(findings.stderr.contains("{port}") && findings.stderr.contains("--port"), "{}", findings.stderr);
    let nothing = Command::new(PRISE).arg("check").output().expect("prise runs");
    assert_eq!(nothing.status.code(), Some(2));
    let list = Command::new(PRISE).args(["check", "--list"]).output().expect("prise runs");
    assert_eq!(list.status.code(), Some(0));
    let names = String::from_utf8_lossy(&list.stdout);
    assert!(names.lines().next().is_some_and(|line| line.trim_start().starts_with("answers ")), "{names}");
    assert!(
        names.lines().all(|line| line.split_whitespace().count() > 2),
        "a name and what it claims: {names}"
    );
}
