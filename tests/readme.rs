//! The README's console blocks are run as they stand, and print what they show; its excerpts are in the sources.

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

/// As it looks on a terminal, whatever the ports, the processes, and what they have used.
fn as_seen(text: &str) -> String {
    let varies = Regex::new(r"(127\.0\.0\.1:|pid=|seconds=|cpu=|maxrss=)[\d.]+").expect("a pattern");
    varies.replace_all(text, "${1}N").replace("\r\n", "\n").trim_end().to_string()
}

/// Run a server, its clients, and Ctrl-C where the transcript shows it.
fn play((server, shown): (String, String), clients: &[(String, String)]) {
    let mut running = support::start(&mut shell(&format!("exec {server} 2>&1")));
    running.wait_stdout(if server.starts_with("prise server") { "waiting" } else { "127.0.0.1:" });
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
    let (before, after) = shown.split_once("^C\n").unwrap_or((&shown, ""));
    // a log may come a little after the reply that the client has
    let lines = as_seen(before).lines().count();
    support::wait_until("the log of the clients", || as_seen(&running.stdout()).lines().count() >= lines);
    if !after.is_empty() {
        running.signal(Signal::SIGINT);
        running.all_stdout();
    }
    pretty_assertions::assert_eq!(as_seen(&running.stdout()), as_seen(&format!("{before}{after}")));
}

#[test]
fn the_transcripts_are_what_the_programs_print() {
    if !support::has("nc", "netcat-openbsd") {
        return;
    }
    let port = support::free_port().to_string();
    let transcript = blocks("README.md", "console");
    let transcript = transcript.iter().flat_map(|block| commands(&block.replace("8888", &port)));
    let mut servers = 0;
    let mut rest = transcript.peekable();
    while let Some(server) = rest.next() {
        assert!(server.0.starts_with("prise serve"), "a server comes first, not {server:?}");
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
fn the_excerpts_stand_in_the_sources() {
    for (kind, file) in [("c", "c/server/fork.c"), ("rust", "src/server/fork.rs")] {
        let source = std::fs::read_to_string(support::root().join(file)).expect("the source is there");
        let excerpts = blocks("README.md", kind);
        assert!(!excerpts.is_empty());
        assert!(excerpts.iter().all(|excerpt| source.contains(excerpt)), "README.md quotes {file} as it was");
    }
}

#[test]
fn every_link_leads_to_a_file() {
    let readme = std::fs::read_to_string(support::root().join("README.md")).expect("there is a README");
    let links: Vec<_> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 20);
    let file = |link: &&&str| support::root().join(link.split('#').next().unwrap_or_default());
    let missing: Vec<_> = links.iter().filter(|link| !file(link).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
