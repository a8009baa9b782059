//! The report: for people, as TAP, as JSON; and after an interruption.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::examiner::check;
use crate::support::start_piped;
use crate::{PRISE, assert_nothing_left};

#[test]
fn steps_that_cannot_be_printed_do_not_disturb_an_examination() {
    let examine = format!(
        "'{PRISE}' check --only answers --format tap --verbose -- \
         '{PRISE}' server robust --port {{port}} --backlog 65 2>/dev/full"
    );
    let output = Command::new("sh").args(["-c", &examine]).output().expect("sh runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_nothing_left("--backlog 65");
}

#[test]
fn an_interrupted_examination_reports_what_it_found() {
    for (format, ends) in [("json", "]}\n"), ("tap", "Bail out! stopped by SIGINT\n"), ("human", "here\n")] {
        let mut command = Command::new(PRISE);
        command.args(["check", "--format", format, "--only", "answers,idle-clients", "--timeout", "60"]);
        command.args(["--", PRISE, "server", "robust", "--port", "{port}", "--backlog", "66"]);
        let mut running = start_piped(&mut command);
        crate::support::wait_until("the server has many children", || {
            crate::support::processes()
                .iter()
                .filter(|process| process.command.contains("--backlog 66"))
                .count()
                > 20
        });
        running.signal(Signal::SIGINT);
        assert_eq!(running.wait().code(), Some(130), "{format}: {}", running.stderr());
        let found = String::from_utf8_lossy(&running.all_stdout()).into_owned();
        assert!(found.contains("answers") && found.ends_with(ends), "{format}: {found}");
        if format == "json" && crate::support::has("python3", "python3") {
            let query = "import json, sys
found = json.loads(sys.argv[1])
assert found['cut_short'] == 'stopped by SIGINT' and found['checks'][0]['name'] == 'answers'";
            let read = Command::new("python3").args(["-c", query, &found]).status().expect("python3 runs");
            assert!(read.success(), "{found}");
        }
        assert_nothing_left("--backlog 66");
    }
}

#[test]
fn colours_are_printed_only_to_terminals_that_support_them() {
    if !crate::support::has("script", "bsdutils") {
        return;
    }
    let examine = format!("'{PRISE}' check --only answers -- '{PRISE}' server robust --port {{port}}");
    let on_terminal = |colour: (&str, &str)| {
        let mut script = Command::new("script");
        script.args(["-qec", &examine, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
        script.env(colour.0, colour.1).stdin(std::process::Stdio::null());
        String::from_utf8_lossy(&script.output().expect("script runs").stdout).into_owned()
    };
    let coloured = "\x1b[32mholds";
    assert!(on_terminal(("NO_COLOR", "")).contains(coloured), "{:?}", on_terminal(("NO_COLOR", "")));
    assert!(!on_terminal(("NO_COLOR", "1")).contains(coloured));
    assert!(!on_terminal(("TERM", "dumb")).contains(coloured));
    let redirected = check(&["--only", "answers"], &[PRISE, "server", "robust", "--port", "{port}"]);
    assert!(!redirected.stdout.contains('\x1b') && redirected.stdout.contains("  holds   answers"));
}

#[test]
fn the_tap_report_is_valid_tap() {
    if !crate::support::has("prove", "perl") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let findings = folder.path().join("findings.tap");
    for (server, all_hold) in [(&["server", "robust"][..], true), (&["server", "fork", "--no-reap"], false)] {
        let words = [&[PRISE], server, &["--port", "{port}"]].concat();
        let found = check(&["--format", "tap", "--only", "answers,no-zombies"], &words);
        std::fs::write(&findings, &found.stdout).expect("a temporary file can be written");
        let output =
            Command::new("prove").args(["--exec", "cat"]).arg(&findings).output().expect("prove runs");
        let summary = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), all_hold, "{summary}\n{}", found.stdout);
        let valid = summary.contains("Tests=2") && !summary.contains("Parse errors");
        assert!(valid, "{summary}\n{}", found.stdout);
    }
}

#[test]
fn the_json_report_is_valid_json() {
    if !crate::support::has("python3", "python3") {
        return;
    }
    let findings = check(
        &["--format", "json", "--verbose", "--only", "answers,no-zombies"],
        &[PRISE, "server", "fork", "--no-reap", "--port", "{port}"],
    );
    let query = "import json, sys
found = json.loads(sys.argv[1])
print(found['holds'], found['fails'], [(one['name'], one['verdict']) for one in found['checks']])";
    let output =
        Command::new("python3").args(["-c", query, &findings.stdout]).output().expect("python3 runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1 1 [('answers', 'holds'), ('no-zombies', 'fails')]\n",
        "{}",
        findings.stdout
    );
}
