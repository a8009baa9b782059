//! The command line: what clap refuses, what the C twin of `server robust` refuses in the same way, and what the other
//! C twins accept.

use std::ffi::{OsStr, OsString};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use pretty_assertions::assert_eq;

use super::{Outcome, PRISE, both, listener, outcome, output, prise, redirected};
use crate::support::listings::PROGRAMS;
use crate::support::{free_port, root, start_piped, twin, wait_until};

/// All servers that refuse a wrong command line: the tutorial's four in Rust, and robust in Rust and in C.
fn strict_servers() -> Vec<Command> {
    let tutorial = ["accept", "reply", "loop", "fork"].map(|server| prise(&format!("server {server}")));
    tutorial.into_iter().chain(both("server/robust")).collect()
}

/// Assert that the arguments are refused: exit code 2, an error message on stderr, nothing on stdout. Gives the
/// message.
#[track_caller]
fn refusal(mut command: Command, arguments: &[&OsStr]) -> String {
    let outcome = outcome(command.args(arguments));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{command:?}: {}", outcome.stderr);
    assert!(!outcome.stderr.is_empty(), "{command:?}");
    outcome.stderr
}

fn words(line: &str) -> Vec<&OsStr> {
    line.split_whitespace().map(OsStr::new).collect()
}

const BAD_PORTS: [&str; 9] = ["80x", "x", "65536", "-1", "", "99999999999", " 80", "80 ", "8.0"];

#[test]
fn clients_with_an_address_refuse_an_invalid_port() {
    for program in ["connect", "send", "recv"] {
        for port in BAD_PORTS {
            let command = prise(&format!("client {program}"));
            let message = refusal(command, &["127.0.0.1", port].map(OsStr::new));
            // clap takes -1 for an option
            let expected = format!("error: invalid value '{port}' for '");
            assert!(message.starts_with(&expected) || port == "-1", "{message}");
        }
    }
}

#[test]
fn servers_refuse_an_invalid_port_or_backlog() {
    let assert_refused = |option: &str, value: &str| {
        for command in strict_servers() {
            let message = refusal(command, &[OsStr::new(&format!("{option}={value}"))]);
            assert!(message.starts_with(&format!("error: invalid value '{value}' for '")), "{message}");
        }
        for command in strict_servers() {
            refusal(command, &[option, value].map(OsStr::new));
        }
    };
    BAD_PORTS.iter().for_each(|port| assert_refused("--port", port));
    let backlogs = ["-1", "3x", "", "2147483648", "99999999999"];
    backlogs.iter().for_each(|backlog| assert_refused("--backlog", backlog));
}

#[test]
fn missing_extra_and_unknown_arguments_are_refused() {
    let refused = [
        ("client socket", vec!["extra", "--reply", "--port 1"]),
        ("client connect", vec!["127.0.0.1 80 extra", "--reply", "--host x", "--nosuch"]),
        ("client send", vec!["127.0.0.1 80 extra", "--reply", "--host x", "--nosuch"]),
        ("client recv", vec!["127.0.0.1 80 extra", "--reply", "--host", "--nosuch"]),
        ("client resolve", vec!["localhost extra", "--reply", "--nosuch"]),
        ("client message", vec!["localhost 80 extra", "--nosuch", "localhost 80 --nosuch"]),
        ("server fork", vec!["--no-reap=1"]),
        ("server robust", vec!["--no-reap"]),
    ];
    for (program, lines) in refused {
        for line in lines {
            let message = refusal(prise(program), &words(line));
            assert!(message.starts_with("error: "), "{message}");
        }
    }
    for line in ["extra", "8888", "--port", "--backlog", "--nosuch"] {
        for command in strict_servers() {
            refusal(command, &words(line));
        }
    }
    for line in ["extra", "8888", "--port", "--backlog", "--no-reap", "--nosuch", "--por 8888"] {
        let message = refusal(Command::new(twin("server/robust")), &words(line));
        assert_eq!(message, "Usage: robust [--port PORT] [--backlog N]\n");
    }
}

#[test]
fn arguments_that_are_not_utf_8_are_refused() {
    let not_utf8 = OsStr::from_bytes(b"\xff\xfe");
    let local = OsStr::new("127.0.0.1");
    for program in ["connect", "send", "recv", "message"] {
        refusal(prise(&format!("client {program}")), &[not_utf8]);
        refusal(prise(&format!("client {program}")), &[local, not_utf8]);
    }
    refusal(prise("client recv"), &[local, OsStr::new("80"), OsStr::new("--host"), not_utf8]);
    for not_utf8 in [not_utf8, OsStr::from_bytes(b"--port=\xff")] {
        strict_servers().into_iter().for_each(|command| drop(refusal(command, &[not_utf8])));
    }
    for line in ["", "client", "server", "client resolve"] {
        let message = refusal(prise(line), &[not_utf8]);
        assert!(message.starts_with("error: "), "{message}");
    }
}

#[test]
fn the_c_twins_of_the_clients_accept_any_arguments() {
    let (_listener, port) = listener();
    let twin = |program: &str| Command::new(twin(program));
    assert_eq!(outcome(twin("client/socket").args(["extra", "--nosuch"])), output("", 0));
    let words = ["127.0.0.1", &port, "extra", "--nosuch"];
    assert_eq!(outcome(twin("client/connect").args(words)), output("Connected\n", 0));
    assert_eq!(outcome(twin("client/send").args(words)), output("Connected\n\nData Send\n\n", 0));
    let resolved = "127.0.0.1 resolved to : 127.0.0.1\n";
    assert_eq!(outcome(twin("client/resolve").args(["127.0.0.1", "extra"])), output(resolved, 0));
    let not_utf8 = OsStr::from_bytes(b"\xff\xfe");
    assert_eq!(outcome(twin("client/connect").args([not_utf8])), output("connect error\n", 1));
}

#[test]
fn the_c_twins_of_the_tutorials_servers_accept_any_arguments() {
    let not_utf8 = OsStr::from_bytes(b"\xff\xfe");
    for number in [|port: u16| format!("{port}x"), |port| format!("{}", 65_536 + u32::from(port))] {
        let port = free_port();
        let mut accept = Command::new(twin("server/accept"));
        let mut running = start_piped(accept.args([number(port).as_str(), "x", "extra"]).arg(not_utf8));
        wait_until("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        // it ends after one client
        assert_eq!(running.wait().code(), Some(0), "{accept:?}");
    }
}

#[test]
fn an_unknown_or_a_missing_subcommand_is_refused() {
    for line in [
        "nosuch",
        "client nosuch",
        "server nosuch",
        "fork",
        "server fork server",
        "server robust server",
        "--nosuch",
    ] {
        let outcome = outcome(&mut prise(line));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{line}");
        assert!(outcome.stderr.starts_with("error: "), "{outcome:?}");
    }
    for line in ["", "client", "server"] {
        let outcome = outcome(&mut prise(line));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{line}");
        assert!(outcome.stderr.contains("Usage: prise"), "{outcome:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    for line in ["--help", "-h", "help", "client --help", "help client", "server -h", "help help"] {
        let outcome = outcome(&mut prise(line));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{line}");
        assert!(outcome.stdout.contains("Usage: prise"), "{outcome:?}");
    }
    let version = concat!("prise ", env!("CARGO_PKG_VERSION"), "\n");
    for line in ["--version", "-V"] {
        let expected = Outcome { code: Some(0), stdout: version.into(), stderr: String::new() };
        assert_eq!(outcome(&mut prise(line)), expected);
    }
}

#[test]
fn every_help_text_names_the_section_the_twin_and_an_example() {
    for program in PROGRAMS.into_iter().chain(["server/robust"]) {
        let command = program.replace('/', " ");
        let help = outcome(&mut prise(&format!("{command} --help")));
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{program}");
        assert_eq!(outcome(&mut prise(&format!("help {command}"))), help);
        let source = format!("c/{program}.c");
        assert!(root().join(&source).is_file(), "{source}");
        // the help text is not wrapped, so these texts are in one piece
        let about = ["Tutorial: ", "section", &format!("Twin: {source}."), "Usage: prise ", "Example:\n"];
        for text in about {
            assert!(help.stdout.contains(text), "{text:?} is not in {}", help.stdout);
        }
        let (_, example) = help.stdout.split_once("Example:\n").unwrap();
        assert!(example.contains(&format!("prise {command}")), "{example}");
    }
}

#[test]
fn an_unwritable_stdout_or_stderr_never_causes_a_panic() {
    let mut targets = vec![">&-", "2>&-", "<&-", "<&- >&- 2>&-"];
    if Path::new("/dev/full").exists() {
        targets.extend([">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full"]);
    }
    let lines = [
        "--help",
        "--version",
        "help server fork",
        "nosuch",
        "",
        "client connect x",
        "client message",
        "server fork --port x",
    ];
    for redirection in targets {
        for line in lines {
            let arguments: Vec<OsString> = words(line).into_iter().map(OsString::from).collect();
            let found = outcome(&mut redirected(redirection, Path::new(PRISE), &arguments));
            let plain = outcome(&mut prise(line));
            // an error's exit code does not depend on whether its message can be written
            if plain.code != Some(0) {
                assert_eq!(found.code, plain.code, "{line} {redirection}");
            }
            // help that cannot be written is an error
            if line.contains("help") && redirection == ">/dev/full" {
                assert_eq!(found.code, Some(1), "{line} {redirection}");
                assert_eq!(found.stderr, "stdout: No space left on device\n", "{line} {redirection}");
            }
        }
    }
}
