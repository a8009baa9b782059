//! The manual pages and the completions are those of the command line, the manual tells of the whole log, and
//! all are installed where they are looked for.

mod support;
#[path = "../examples/docs.rs"]
#[allow(dead_code)]
mod docs;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;
use support::{has, root};

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Run a program in the project's folder, and give what it printed.
#[track_caller]
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().expect(program);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The files below a folder, each as it is named from there.
fn files_below(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder can be read").map(|entry| entry.expect("an entry"));
    let mut files = BTreeSet::new();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(files_below(&path).iter().map(|file| format!("{name}/{file}")));
        } else {
            files.insert(name);
        }
    }
    files
}

#[test]
fn pages_and_completions_are_those_of_the_command_line() {
    let files = docs::files();
    for (file, text) in &files {
        assert!(read(file) == *text, "{file} is not what `make docs` makes");
    }
    let made: BTreeSet<_> = files.iter().map(|(file, _)| file.clone()).collect();
    for folder in ["man", "completions"] {
        let there = files_below(&root().join(folder)).into_iter().map(|file| format!("{folder}/{file}"));
        let others: Vec<_> = there.filter(|file| !file.ends_with(".man") && !made.contains(file)).collect();
        assert!(others.is_empty(), "`make docs` does not make {others:?}");
    }
}

#[test]
fn the_readme_has_every_option_of_serve_with_its_default() {
    let readme = read("README.md");
    let rows = readme.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    // (option, default) of the table's rows; one row may name several options
    let told: BTreeSet<(String, String)> = cells
        .flat_map(|cells| {
            let default = cells[3].to_string();
            all("`--([a-z-]+)", cells[1]).into_iter().map(move |name| (name.into(), default.clone()))
        })
        .collect();
    let tree = prise::inside::command();
    let serve = tree.find_subcommand("serve").expect("there is prise serve");
    for option in serve.get_arguments().filter(|option| !option.is_positional()) {
        let name = option.get_long().expect("each has a long name");
        let row = told.iter().find(|(told, _)| told == name);
        let (_, default) = row.unwrap_or_else(|| panic!("the README's table does not have --{name}"));
        if let [value] = option.get_default_values()
            && option.get_action().takes_values()
        {
            assert_eq!(*default, value.to_string_lossy(), "the default of --{name}");
        }
    }
    for (name, _) in &told {
        assert!(serve.get_arguments().any(|one| one.get_long() == Some(name)), "there is no --{name}");
    }
}

#[test]
fn mandoc_finds_nothing_wrong_with_the_pages() {
    if !has("mandoc", "mandoc") {
        return;
    }
    let pages: Vec<_> =
        docs::files().into_iter().map(|(file, _)| file).filter(|file| file.ends_with(".1")).collect();
    let mut arguments = vec!["-Tlint", "-W", "warning"];
    arguments.extend(pages.iter().map(String::as_str));
    assert_eq!(printed("mandoc", &arguments), "");
}

/// The LOG section of the manual, as a reader sees it but for line breaks: a paragraph for each event.
fn log_section() -> Vec<String> {
    let page = read("man/sections/prise-serve.man");
    let section = page.split("\n.SH ").find(|section| section.starts_with("LOG\n")).expect("it is there");
    let macros = Regex::new(r#"(?m)^\.[A-Z]+ ?|"|\\fR"#).expect("a pattern");
    section
        .split("\n.TP\n")
        .skip(1)
        .map(|event| macros.replace_all(event, "").replace("\\-", "-").replace("\\ ", " "))
        .collect()
}

/// What a pattern's group matches in a text.
fn all<'a>(pattern: &str, text: &'a str) -> Vec<&'a str> {
    let pattern = Regex::new(pattern).expect("a pattern");
    pattern.captures_iter(text).map(|found| found.get(1).expect("it has a group").as_str()).collect()
}

#[test]
fn the_manual_tells_of_every_line_of_the_log_and_its_keys_in_order() {
    let section = log_section();
    let source = read("src/serve/log.rs");
    let counters = read("src/serve/counters.rs");
    let [counters] = all(r#""(accepted=[^"]*)""#, &counters)[..] else { panic!("the counters are one text") };
    let lines = all(r#"(?s)line\(format_args!\(\s*"([^"]*)""#, &source);
    assert_eq!(lines.len(), source.matches("    line(").count(), "{lines:?}");
    assert_eq!(lines.len(), section.len(), "{lines:?}");
    for line in lines {
        let line = line.replace("{counters}", counters).replace(" {} ", " exit={} ");
        let event = line.split_whitespace().take_while(|word| !word.contains('='));
        let event = event.collect::<Vec<_>>().join(" ");
        let told = section.iter().find(|told| told.starts_with(&format!("{event} ")));
        let told = told.unwrap_or_else(|| panic!("the manual does not tell of {event:?}"));
        let first_line = told.lines().next().expect("it has one");
        assert_eq!(all("([a-z-]+)=", first_line), all("([a-z-]+)=", &line), "the keys of {event:?}");
    }
}

#[test]
fn the_manual_tells_of_every_reason_in_the_log() {
    let section = log_section().join("\n");
    let words: BTreeSet<_> = section.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    let reasons = [
        // what stands after `why=` or `step=`, where it is said
        ("parent.rs", r#"(?:refuse|refuse_all|end_all|pause|failed)\([^";]*"([a-z-]+)""#),
        ("children.rs", r#"(?:tell_if|ending)\([^";]*"([a-z-]+)""#),
        ("proxied.rs", r#"(?:Bad|Refused)\([^";]*"([a-z-]+)""#),
        ("child.rs", r#"(?:\bat|Some\(name\)\) => )\("([a-z0-9-]+)""#),
        ("../ffi/processes.rs", r#"\("(set[a-z]+)", errno\)"#),
        ("notify.rs", r#"failed\([^";]*"([a-z]+)""#),
        ("builtin.rs", r#"failed\([^";]*"([a-z]+)""#),
        ("limits.rs", r#"Refusal::\w+ => "([a-z-]+)""#),
        ("proxy.rs", r#"Fault::\w+ => "([a-z-]+)""#),
    ];
    for (file, pattern) in reasons {
        let source = read(&format!("src/serve/{file}"));
        let said = all(pattern, &source);
        assert!(!said.is_empty(), "{file} says no reason any more");
        let untold: Vec<_> = said.iter().filter(|reason| !words.contains(*reason)).collect();
        assert!(untold.is_empty(), "the manual does not tell of {untold:?} in {file}");
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
fn fish_completes_an_option_and_says_what_it_is() {
    if !has("fish", "fish") {
        return;
    }
    let complete = "source completions/prise.fish; complete -C 'prise serve --max-'";
    let offered = printed("fish", &["--no-config", "-c", complete]);
    assert!(offered.starts_with("--max-children\t") && offered.lines().count() == 1, "{offered}");
}

#[test]
fn zsh_finds_the_completion_by_its_place() {
    if !has("zsh", "zsh") {
        return;
    }
    printed("zsh", &["-n", "completions/_prise"]);
    let find = "fpath=($PWD/completions $fpath); autoload -Uz compinit; compinit -u -D; print $_comps[prise]";
    assert_eq!(printed("zsh", &["-fc", find]), "_prise\n");
}

#[test]
fn everything_is_installed_and_nothing_of_it_is_left() {
    let stage = tempfile::tempdir().expect("a temporary folder can be made");
    let make = |target: &str| {
        let mut command = Command::new("make");
        command.arg("--silent").arg(target).arg("PREFIX=/usr").current_dir(root());
        command.arg(format!("DESTDIR={}", stage.path().display()));
        command.arg(format!("BUILT={}", env!("CARGO_BIN_EXE_prise")));
        // a make that runs this test must not hand its job server and its variables down
        command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
        let output = command.output().expect("make runs");
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
