//! The command line, and what is said when something fails: the Rust programs, and their C twins
//! where the words are perror's.

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use pretty_assertions::assert_eq;
use support::{broken_pipe, free_port, root, start, start_piped, twin};

const PRISE: &str = env!("CARGO_BIN_EXE_prise");
const CLIENTS: [&str; 6] = ["socket", "connect", "send", "recv", "resolve", "message"];
const SERVERS: [&str; 4] = ["accept", "reply", "loop", "fork"];

/// How a program ended, and what it said.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// One line on stderr, nothing on stdout.
fn says(line: &str, code: i32) -> Outcome {
    Outcome { code: Some(code), stdout: String::new(), stderr: format!("{line}\n") }
}

/// Run a program to its end, which is never a panic.
#[track_caller]
fn outcome(command: &mut Command) -> Outcome {
    let mut running = start_piped(command);
    let code = running.wait().code();
    let [stdout, stderr] = [running.all_stdout(), running.all_stderr()]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        !stderr.contains("panicked") && code.is_some_and(|code| code < 3),
        "{command:?}: {code:?} {stderr}"
    );
    Outcome { code, stdout, stderr }
}

/// `prise` with the words of a command line.
fn prise(words: &str) -> Command {
    let mut command = Command::new(PRISE);
    command.args(words.split_whitespace());
    command
}

/// The same program in Rust and in C: `client/connect`.
fn both(program: &str) -> [Command; 2] {
    [prise(&program.replace('/', " ")), Command::new(twin(program))]
}

/// Both programs refuse their arguments: status 2, an explanation on stderr, nothing on stdout.
#[track_caller]
fn both_refuse(program: &str, arguments: &[&OsStr]) -> [Outcome; 2] {
    both(program).map(|mut command| {
        let outcome = outcome(command.args(arguments));
        assert_eq!(outcome.code, Some(2), "{command:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{command:?}");
        assert!(!outcome.stderr.is_empty(), "{command:?}");
        outcome
    })
}

fn words(line: &str) -> Vec<&OsStr> {
    line.split_whitespace().map(OsStr::new).collect()
}

#[test]
fn a_refused_connection_is_said_as_perror_says_it() {
    // nobody listens on it, and nobody will connect from it
    let port = free_port().to_string();
    for program in ["connect", "send", "recv", "message"] {
        let what = if program == "message" { "ERROR connecting" } else { "connect error" };
        for mut command in both(&format!("client/{program}")) {
            let outcome = outcome(command.args(["127.0.0.1", &port]));
            assert_eq!(outcome, says(&format!("{what}: Connection refused"), 1), "{command:?}");
        }
    }
}

#[test]
fn a_port_in_use_is_said_as_perror_says_it() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for program in SERVERS {
        for mut command in both(&format!("server/{program}")) {
            let outcome = outcome(command.args(["--port", &port]));
            assert_eq!(
                outcome,
                says(&format!("{}: Address already in use", bind_failed(program)), 1),
                "{command:?}"
            );
        }
    }
}

fn bind_failed(program: &str) -> &str {
    if program == "fork" { "ERROR on binding" } else { "bind failed" }
}

#[test]
fn a_port_below_1024_is_denied_to_all_but_root() {
    let free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if free.trim().parse().is_ok_and(|first: u32| first <= 80) {
        support::skipped("any user may bind port 80 here (net.ipv4.ip_unprivileged_port_start)");
        return;
    }
    // where another user can read them
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let am_root = fs::metadata(folder.path()).unwrap().uid() == 0;
    for program in SERVERS {
        for original in both(&format!("server/{program}")) {
            let copy = folder.path().join("program");
            copy_program(original.get_program(), &copy);
            let mut command = Command::new(&copy);
            command.args(original.get_args()).args(["--port", "80"]).current_dir("/");
            if am_root {
                command.uid(61_719);
            }
            let outcome = outcome(&mut command);
            assert_eq!(
                outcome,
                says(&format!("{}: Permission denied", bind_failed(program)), 1),
                "{command:?}"
            );
        }
    }
}

/// Copy a program by a process of its own: a descriptor that is open for writing here, and that a test
/// in another thread happens to fork, would make the copy a busy text file.
fn copy_program(from: &OsStr, to: &Path) {
    let status = Command::new("cp").args([from, to.as_os_str()]).status().expect("cp runs");
    assert!(status.success(), "{} can be copied", from.display());
}

#[test]
fn an_address_that_is_no_dotted_quad_is_refused() {
    for program in ["connect", "send", "recv"] {
        for host in ["localhost", "", "1.2.3.4.5", "1.2.3.256", "::1", "127.0.0.1x"] {
            for outcome in both_refuse(&format!("client/{program}"), &[OsStr::new(host)]) {
                assert_eq!(outcome, says(&format!("inet_addr: bad address '{host}'"), 2));
            }
        }
    }
}

const BAD_PORTS: [&str; 9] = ["80x", "x", "65536", "-1", "", "99999999999", " 80", "80 ", "8.0"];

#[test]
fn a_port_that_is_no_port_is_refused_by_the_clients() {
    for program in ["connect", "send", "recv", "message"] {
        for port in BAD_PORTS {
            for outcome in both_refuse(&format!("client/{program}"), &words("127.0.0.1").and(port)) {
                // what begins with a minus is taken for an option
                let expected = format!("error: invalid value '{port}' for '");
                assert!(outcome.stderr.starts_with(&expected) || port == "-1", "{outcome:?}");
            }
        }
    }
}

#[test]
fn a_port_or_a_backlog_that_is_none_is_refused_by_the_servers() {
    for program in SERVERS {
        for port in BAD_PORTS {
            both_refuse(&format!("server/{program}"), &words("--port").and(port));
            let glued = format!("--port={port}");
            for outcome in both_refuse(&format!("server/{program}"), &[OsStr::new(&glued)]) {
                assert!(
                    outcome.stderr.starts_with(&format!("error: invalid value '{port}' for '")),
                    "{outcome:?}"
                );
            }
        }
        for backlog in ["-1", "3x", "", "2147483648", "99999999999"] {
            let glued = format!("--backlog={backlog}");
            for outcome in both_refuse(&format!("server/{program}"), &[OsStr::new(&glued)]) {
                assert!(
                    outcome.stderr.starts_with(&format!("error: invalid value '{backlog}' for '")),
                    "{outcome:?}"
                );
            }
        }
    }
}

/// One argument more.
trait And<'a> {
    fn and(self, argument: &'a str) -> Self;
}

impl<'a> And<'a> for Vec<&'a OsStr> {
    fn and(mut self, argument: &'a str) -> Self {
        self.push(OsStr::new(argument));
        self
    }
}

#[test]
fn missing_extra_and_unknown_arguments_are_refused() {
    let refused = [
        ("client/socket", vec!["extra", "--reply", "--port 1"]),
        ("client/connect", vec!["127.0.0.1 80 extra", "--reply", "--host x", "--nosuch"]),
        ("client/send", vec!["127.0.0.1 80 extra", "--reply", "--host x", "--nosuch"]),
        ("client/recv", vec!["127.0.0.1 80 extra", "--reply", "--host", "--nosuch"]),
        ("client/resolve", vec!["localhost extra", "--reply", "--nosuch"]),
        ("client/message", vec!["", "localhost", "localhost 80 extra", "--reply", "localhost 80 --nosuch"]),
        ("server/accept", vec!["extra", "--port", "--backlog", "--no-reap", "--nosuch"]),
        ("server/reply", vec!["extra", "--port", "--backlog", "--no-reap", "--nosuch"]),
        ("server/loop", vec!["extra", "--port", "--backlog", "--no-reap", "--nosuch"]),
        ("server/fork", vec!["extra", "--port", "--backlog", "--no-reap=1", "--nosuch", "8888"]),
    ];
    for (program, lines) in refused {
        for line in lines {
            let [rust, c] = both_refuse(program, &words(line));
            assert!(rust.stderr.starts_with("error: "), "{rust:?}");
            assert!(c.stderr.contains("Usage: "), "{c:?}");
        }
    }
}

#[test]
fn arguments_that_are_not_utf_8_are_refused() {
    let odd = OsStr::from_bytes(b"\xff\xfe");
    let glued = OsStr::from_bytes(b"--port=\xff");
    let local = OsStr::new("127.0.0.1");
    for program in ["connect", "send", "recv"] {
        both_refuse(&format!("client/{program}"), &[odd]);
        both_refuse(&format!("client/{program}"), &[local, odd]);
    }
    both_refuse("client/recv", &[local, OsStr::new("80"), OsStr::new("--host"), odd]);
    both_refuse("client/message", &[local, odd]);
    for program in SERVERS {
        both_refuse(&format!("server/{program}"), &[odd]);
        both_refuse(&format!("server/{program}"), &[glued]);
    }
    for line in ["", "client", "server", "client resolve"] {
        let outcome = outcome(prise(line).arg(odd));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{line}");
        assert!(outcome.stderr.starts_with("error: "), "{outcome:?}");
    }
}

#[test]
fn an_unknown_or_a_missing_subcommand_is_refused() {
    for line in ["nosuch", "client nosuch", "server nosuch", "fork", "server fork server", "--nosuch"] {
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
fn every_program_says_its_section_its_twin_and_an_example() {
    let clients = CLIENTS.map(|name| ("client", name));
    let servers = SERVERS.map(|name| ("server", name));
    for (folder, name) in clients.into_iter().chain(servers) {
        let help = outcome(&mut prise(&format!("{folder} {name} --help")));
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{name}");
        assert_eq!(outcome(&mut prise(&format!("help {folder} {name}"))), help);
        let source = format!("c/{folder}/{name}.c");
        assert!(root().join(&source).is_file(), "{source}");
        // the help is wrapped nowhere, so that a word of it can be found
        let about = ["Tutorial: ", "section", &format!("Twin: {source}."), "Usage: prise ", "Example:\n"];
        for text in about {
            assert!(help.stdout.contains(text), "{text:?} is not in {}", help.stdout);
        }
        let (_, example) = help.stdout.split_once("Example:\n").unwrap();
        assert!(example.contains(&format!("prise {folder} {name}")), "{example}");
    }
}

/// A command that runs a program with some of its descriptors redirected.
fn redirected(redirection: &str, program: &Path, arguments: &[OsString]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$@\" {redirection}"), "sh"]).arg(program).args(arguments);
    command
}

#[test]
fn a_stdout_or_stderr_that_fails_never_makes_it_panic() {
    let mut targets = vec![">&-", "2>&-", "<&-", "<&- >&- 2>&-"];
    if Path::new("/dev/full").exists() {
        targets.extend([">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full"]);
    }
    let lines =
        ["--help", "--version", "help server fork", "nosuch", "", "client connect x", "server fork --port x"];
    for redirection in targets {
        for line in lines {
            let arguments: Vec<OsString> = words(line).into_iter().map(OsString::from).collect();
            let found = outcome(&mut redirected(redirection, Path::new(PRISE), &arguments));
            let plain = outcome(&mut prise(line));
            // a wrong command line is one, whoever hears of it
            if plain.code == Some(2) {
                assert_eq!(found.code, Some(2), "{line} {redirection}");
            }
            // help that nobody could read was not given
            if plain.code == Some(0) && redirection == ">/dev/full" {
                assert_eq!(found.code, Some(1), "{line} {redirection}");
                assert_eq!(found.stderr, "stdout: No space left on device\n", "{line} {redirection}");
            }
        }
    }
}

/// A server that takes connections and says nothing; it ends with this value.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

#[test]
fn a_client_whose_reader_is_gone_says_broken_pipe() {
    let (_listener, port) = listener();
    for program in ["connect", "send"] {
        for mut command in both(&format!("client/{program}")) {
            command
                .args(["127.0.0.1", &port])
                .stdin(Stdio::null())
                .stdout(broken_pipe())
                .stderr(Stdio::piped());
            let mut running = start(&mut command);
            drop(command);
            assert_eq!(running.wait().code(), Some(1), "{program}");
            assert_eq!(String::from_utf8_lossy(&running.all_stderr()), "stdout: Broken pipe\n", "{program}");
        }
    }
}

#[test]
fn a_client_whose_stdout_is_full_says_so() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let (_listener, port) = listener();
    for program in ["connect", "send"] {
        for command in both(&format!("client/{program}")) {
            let mut arguments: Vec<OsString> = command.get_args().map(OsString::from).collect();
            arguments.extend(["127.0.0.1".into(), OsString::from(&port)]);
            let outcome =
                outcome(&mut redirected(">/dev/full", Path::new(command.get_program()), &arguments));
            assert_eq!(outcome, says("stdout: No space left on device", 1), "{command:?}");
        }
    }
}

#[test]
fn a_client_with_nothing_open_ends_as_it_would() {
    let (_listener, port) = listener();
    for program in ["connect", "send"] {
        for command in both(&format!("client/{program}")) {
            let mut arguments: Vec<OsString> = command.get_args().map(OsString::from).collect();
            arguments.extend(["127.0.0.1".into(), OsString::from(&port)]);
            let mut closed = redirected("<&- >&- 2>&-", Path::new(command.get_program()), &arguments);
            assert_eq!(outcome(&mut closed).code, Some(0), "{command:?}");
        }
    }
}
