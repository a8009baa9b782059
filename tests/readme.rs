//! The README's console blocks are run as they stand, and print what they show; its excerpts are in the sources.

mod support;

use std::process::{Command, Stdio};

use regex::Regex;

/// The fenced blocks of a kind, in order.
fn blocks(kind: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(support::root().join("README.md")).expect("there is a README");
    let fence = format!("```{kind}\n");
    readme
        .split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default().to_string())
        .collect()
}

/// A shell that finds `prise` where cargo has built it.
fn shell(command: &str) -> Command {
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_prise")).parent().expect("it is in a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("PATH", format!("{}:{path}", programs.display()));
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// The commands of a block, each with what it prints.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.into(), String::new())),
            (None, Some((_, printed))) => printed.push_str(&format!("{line}\n")),
            (None, None) => panic!("a console block begins with a command, not with {line:?}"),
        }
    }
    commands
}

/// As it looks on a terminal, whatever the ports.
fn as_seen(text: &str) -> String {
    let ports = Regex::new(r"127\.0\.0\.1:\d+").expect("a pattern");
    ports.replace_all(text, "127.0.0.1:PORT").replace("\r\n", "\n").trim_end().to_string()
}

#[test]
fn the_transcript_is_what_the_programs_print() {
    if !support::has("nc", "netcat-openbsd") {
        return;
    }
    let port = support::free_port().to_string();
    let transcript: Vec<_> =
        blocks("console").iter().flat_map(|block| commands(&block.replace("8888", &port))).collect();
    let (server, clients) = transcript.split_first().expect("the README shows a transcript");
    assert!(server.0.starts_with("prise server fork") && clients.len() > 1, "{transcript:?}");

    let mut running = support::start(&mut shell(&format!("exec {}", server.0)));
    running.wait_stdout("waiting");
    for (command, printed) in clients {
        let output = shell(command).output().expect("sh runs");
        // a last line without a newline looks the same
        let seen = String::from_utf8_lossy(&output.stdout);
        pretty_assertions::assert_eq!(
            seen.trim_end_matches('\n'),
            printed.trim_end_matches('\n'),
            "$ {command}"
        );
    }
    pretty_assertions::assert_eq!(as_seen(&running.stdout()), as_seen(&server.1));
}

#[test]
fn the_excerpts_stand_in_the_sources() {
    for (kind, file) in [("c", "c/server/fork.c"), ("rust", "src/server/fork.rs")] {
        let source = std::fs::read_to_string(support::root().join(file)).expect("the source is there");
        let excerpts = blocks(kind);
        assert!(!excerpts.is_empty());
        assert!(excerpts.iter().all(|excerpt| source.contains(excerpt)), "README.md quotes {file} as it was");
    }
}

#[test]
fn every_link_leads_to_a_file() {
    let readme = std::fs::read_to_string(support::root().join("README.md")).expect("there is a README");
    let links: Vec<_> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 20);
    let missing: Vec<_> = links.iter().filter(|link| !support::root().join(link).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
