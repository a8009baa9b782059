//! The README: its console blocks are run and must print what they show, its code excerpts must be in the sources, and
//! its links must lead to files.

mod support;

use std::process::Command;

use nix::sys::signal::Signal;
use regex::Regex;
use support::console::{blocks, commands};

fn shell(command: &str) -> Command {
    let mut shell = support::console::shell(env!("CARGO_BIN_EXE_prise"));
    shell.args(["-c", command]);
    shell
}

/// A terminal's text with N for ports, process ids, times and memory, which vary.
fn normalised(text: &str) -> String {
    let varies = Regex::new(r"(127\.0\.0\.1:|pid=|seconds=|cpu=|maxrss=)[\d.]+").expect("a pattern");
    varies.replace_all(text, "${1}N").replace("\r\n", "\n").trim_end().to_string()
}

/// Run a server and its clients, press Ctrl-C if the transcript shows it, and compare the output.
fn play((server, shown): (String, String), clients: &[(String, String)]) {
    let mut running = support::start(&mut shell(&format!("exec {server} 2>&1")));
    running.wait_stdout(if server.starts_with("prise server") { "waiting" } else { "127.0.0.1:" });
    for (command, printed) in clients {
        let output = shell(command).output().expect("sh runs");
        // the document cannot show whether the last line ends in a newline
        let seen = String::from_utf8_lossy(&output.stdout);
        pretty_assertions::assert_eq!(
            seen.trim_end_matches('\n'),
            printed.trim_end_matches('\n'),
            "$ {command}"
        );
    }
    let (before, after) = shown.split_once("^C\n").unwrap_or((&shown, ""));
    // the server may log after the client already has its reply
    let lines = normalised(before).lines().count();
    support::wait_until("the log has a line for each one shown", || {
        normalised(&running.stdout()).lines().count() >= lines
    });
    if !after.is_empty() {
        running.signal(Signal::SIGINT);
        running.all_stdout();
    }
    pretty_assertions::assert_eq!(normalised(&running.stdout()), normalised(&format!("{before}{after}")));
}

#[test]
fn the_programs_print_what_the_transcripts_show() {
    if !support::has("nc", "netcat-openbsd") {
        return;
    }
    let port = support::free_port().to_string();
    let transcript = blocks("README.md", "console");
    let transcript = transcript.iter().flat_map(|block| commands(&block.replace("8888", &port)));
    let mut servers = 0;
    let mut rest = transcript.peekable();
    while let Some(server) = rest.next() {
        assert!(server.0.starts_with("prise serve"), "a server must come first, not {server:?}");
        let mut clients = Vec::new();
        while let Some(client) = rest.next_if(|command| !command.0.starts_with("prise serve")) {
            clients.push(client);
        }
        assert!(!clients.is_empty(), "{server:?} has no client");
        play(server, &clients);
        servers += 1;
    }
    assert_eq!(servers, 2, "the README shows the tutorial's server, and prise serve");
}

#[test]
fn the_excerpts_are_in_the_sources() {
    for (kind, file) in [("c", "c/server/fork.c"), ("rust", "src/server/fork.rs")] {
        let source = support::read_file(file);
        let excerpts = blocks("README.md", kind);
        assert!(!excerpts.is_empty());
        let up_to_date = excerpts.iter().all(|excerpt| source.contains(excerpt));
        assert!(up_to_date, "README.md quotes an old version of {file}");
    }
}

#[test]
fn every_link_leads_to_a_file() {
    let readme = support::read_file("README.md");
    let links: Vec<_> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 20);
    let file = |link: &&&str| support::root().join(link.split('#').next().unwrap_or_default());
    let missing: Vec<_> = links.iter().filter(|link| !file(link).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
