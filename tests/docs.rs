//! The manual pages and the shell completions match the command line, the manual describes every log line, and `make
//! install` installs all of them.

mod support;
#[path = "../examples/docs.rs"]
#[allow(dead_code)]
mod docs;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;
use support::{has, read_file, root, without_make_variables};

/// Run a program in the project's folder; it must succeed. Gives its stdout.
#[track_caller]
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().expect(program);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The files below a folder, as paths relative to it.
fn files_below(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder can be read").map(|entry| entry.expect("an entry"));
    let mut files = BTreeSet::new();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(files_below(&path).iter().map(|file| format!("{name}/{file}")));
        } else {
            files.insert(name);
        }
    }
    files
}

#[test]
fn pages_and_completions_match_the_command_line() {
    let files = docs::files();
    for (file, text) in &files {
        assert!(read_file(file) == *text, "{file} is not up to date: run `make docs`");
    }
    let made: BTreeSet<_> = files.iter().map(|(file, _)| file.clone()).collect();
    for folder in ["man", "completions"] {
        let there = files_below(&root().join(folder)).into_iter().map(|file| format!("{folder}/{file}"));
        let others: Vec<_> = there.filter(|file| !file.ends_with(".man") && !made.contains(file)).collect();
        assert!(others.is_empty(), "`make docs` does not make these files: {others:?}");
    }
}

#[test]
fn the_readme_lists_every_option_of_serve_with_its_default() {
    let readme = read_file("README.md");
    let rows = readme.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    // the table's options with their defaults; a row may name several options
    let listed: BTreeSet<(String, String)> = cells
        .flat_map(|cells| {
            let default = cells[3].to_string();
            captures("`--([a-z-]+)", cells[1]).into_iter().map(move |name| (name.into(), default.clone()))
        })
        .collect();
    let tree = prise::inside::command();
    let serve = tree.find_subcommand("serve").expect("there is prise serve");
    for option in serve.get_arguments().filter(|option| !option.is_positional()) {
        let name = option.get_long().expect("each has a long name");
        let row = listed.iter().find(|(listed, _)| listed == name);
        let (_, default) = row.unwrap_or_else(|| panic!("the README's table does not have --{name}"));
        if let [value] = option.get_default_values()
            && option.get_action().takes_values()
        {
            assert_eq!(*default, value.to_string_lossy(), "the default of --{name}");
        }
    }
    for (name, _) in &listed {
        assert!(serve.get_arguments().any(|one| one.get_long() == Some(name)), "there is no --{name}");
    }
}

#[test]
fn mandoc_finds_no_mistake_in_the_pages() {
    if !has("mandoc", "mandoc") {
        return;
    }
    let pages: Vec<_> =
        docs::files().into_iter().map(|(file, _)| file).filter(|file| file.ends_with(".1")).collect();
    let mut arguments = vec!["-Tlint", "-W", "warning"];
    arguments.extend(pages.iter().map(String::as_str));
    assert_eq!(printed("mandoc", &arguments), "");
}

/// The manual's LOG section without markup: a paragraph for each event.
fn log_section() -> Vec<String> {
    let page = read_file("man/sections/prise-serve.man");
    let section = page.split("\n.SH ").find(|section| section.starts_with("LOG\n"));
    let section = section.expect("the page has a section LOG");
    let macros = Regex::new(r#"(?m)^\.[A-Z]+ ?|"|\\fR"#).expect("a pattern");
    section
        .split("\n.TP\n")
        .skip(1)
        .map(|event| macros.replace_all(event, "").replace("\\-", "-").replace("\\ ", " "))
        .collect()
}

/// The first group of each match of a pattern in a text.
fn captures<'a>(pattern: &str, text: &'a str) -> Vec<&'a str> {
    let pattern = Regex::new(pattern).expect("a pattern");
    pattern.captures_iter(text).map(|found| found.get(1).expect("the pattern has a group").as_str()).collect()
}

#[test]
fn the_manual_describes_every_log_line_with_its_keys_in_order() {
    let section = log_section();
    let source = read_file("src/serve/log.rs");
    let counters = read_file("src/serve/counters.rs");
    let [counters] = captures(r#""(accepted=[^"]*)""#, &counters)[..] else {
        panic!("the counters are one text")
    };
    let lines = captures(r#"(?s)line\(format_args!\(\s*"([^"]*)""#, &source);
    assert_eq!(lines.len(), source.matches("    line(").count(), "{lines:?}");
    assert_eq!(lines.len(), section.len(), "{lines:?}");
    for line in lines {
        let line = line.replace("{counters}", counters).replace(" {} ", " exit={} ");
        let event = line.split_whitespace().take_while(|word| !word.contains('='));
        let event = event.collect::<Vec<_>>().join(" ");
        let paragraph = section.iter().find(|paragraph| paragraph.starts_with(&format!("{event} ")));
        let paragraph = paragraph.unwrap_or_else(|| panic!("the manual does not describe {event:?}"));
        let first_line = paragraph.lines().next().expect("a paragraph has a line");
        assert_eq!(
            captures("([a-z-]+)=", first_line),
            captures("([a-z-]+)=", &line),
            "the keys of {event:?}"
        );
    }
}

#[test]
fn the_manual_names_every_reason_in_the_log() {
    let section = log_section().join("\n");
    let words: BTreeSet<_> = section.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    let reasons = [
        // the values of `why=` and `step=`, and the source files that contain them
        ("parent.rs", r#"(?:refuse|refuse_all|terminate_all|pause|failed)\([^";]*"([a-z-]+)""#),
        ("children.rs", r#"(?:terminate|terminate_if_live|ending)\([^";]*"([a-z-]+)""#),
        ("proxied.rs", r#"(?:Bad|Refused)\([^";]*"([a-z-]+)""#),
        ("child.rs", r#"(?:\bat|Some\(name\)\) => )\("([a-z0-9-]+)""#),
        ("../ffi/processes.rs", r#"\("(set[a-z]+)", errno\)"#),
        ("notify.rs", r#"failed\([^";]*"([a-z]+)""#),
        ("builtin.rs", r#"failed\([^";]*"([a-z]+)""#),
        ("limits.rs", r#"Refusal::\w+ => "([a-z-]+)""#),
        ("proxy.rs", r#"Fault::\w+ => "([a-z-]+)""#),
    ];
    for (file, pattern) in reasons {
        let source = read_file(&format!("src/serve/{file}"));
        let found = captures(pattern, &source);
        assert!(!found.is_empty(), "no reason is found in {file}: has the code changed?");
        let missing: Vec<_> = found.iter().filter(|reason| !words.contains(*reason)).collect();
        assert!(missing.is_empty(), "the manual does not name {missing:?} of {file}");
    }
}

#[test]
fn bash_completes_an_option() {
    let complete = "source completions/prise.bash
        COMP_WORDS=(prise serve --max-); COMP_CWORD=2
        _prise prise --max- serve
        printf '%s\\n' \"${COMPREPLY[@]}\"
        complete -p prise";
    let offered = printed("bash", &["--norc", "-c", complete]);
    let (options, registered) = offered.split_once('\n').expect("two lines");
    assert_eq!(options, "--max-children");
    assert!(registered.contains("-F _prise"), "{registered}");
}

#[test]
fn fish_completes_an_option_and_describes_it() {
    if !has("fish", "fish") {
        return;
    }
    let complete = "source completions/prise.fish; complete -C 'prise serve --max-'";
    let offered = printed("fish", &["--no-config", "-c", complete]);
    assert!(offered.starts_with("--max-children\t") && offered.lines().count() == 1, "{offered}");
}

#[test]
fn zsh_finds_the_completion_in_its_fpath() {
    if !has("zsh", "zsh") {
        return;
    }
    printed("zsh", &["-n", "completions/_prise"]);
    let find = "fpath=($PWD/completions $fpath); autoload -Uz compinit; compinit -u -D; print $_comps[prise]";
    assert_eq!(printed("zsh", &["-fc", find]), "_prise\n");
}

#[test]
fn make_install_installs_all_files_and_make_uninstall_removes_them() {
    let stage = tempfile::tempdir().expect("a temporary folder can be created");
    let make = |target: &str| {
        let mut command = Command::new("make");
        command.arg("--silent").arg(target).arg("PREFIX=/usr").current_dir(root());
        command.arg(format!("DESTDIR={}", stage.path().display()));
        command.arg(format!("BUILT={}", env!("CARGO_BIN_EXE_prise")));
        let output = without_make_variables(&mut command).output().expect("make runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    make("install");
    let mut expected: BTreeSet<String> = [
        "usr/bin/prise",
        "usr/share/bash-completion/completions/prise",
        "usr/share/zsh/site-functions/_prise",
        "usr/share/fish/vendor_completions.d/prise.fish",
    ]
    .map(String::from)
    .into();
    for page in ["prise", "prise-client", "prise-server", "prise-serve", "prise-check"] {
        expected.insert(format!("usr/share/man/man1/{page}.1"));
    }
    assert_eq!(files_below(stage.path()), expected);
    let installed = stage.path().join("usr/bin/prise");
    let version = printed(installed.to_str().expect("a plain name"), &["--version"]);
    assert_eq!(version, format!("prise {}\n", env!("CARGO_PKG_VERSION")));
    make("uninstall");
    assert_eq!(files_below(stage.path()), BTreeSet::new());
}
