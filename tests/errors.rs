//! Error messages and exit codes of the programs, in C and in Rust: the tutorial's ten behave as its listings, and
//! `server robust` behaves the same in both languages.

mod support;

#[path = "errors/command_line.rs"]
mod command_line; // which arguments are refused, which are accepted

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use pretty_assertions::assert_eq;
use support::{
    Stream, am_root, broken_pipe, copy_program, free_port, raw_terminal, start, start_piped, twin,
};

const PRISE: &str = env!("CARGO_BIN_EXE_prise");

/// A program's exit code and output.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// One line on stderr, nothing on stdout.
fn error_line(line: &str, code: i32) -> Outcome {
    Outcome { code: Some(code), stdout: String::new(), stderr: format!("{line}\n") }
}

/// A text on stdout, nothing on stderr.
fn output(text: &str, code: i32) -> Outcome {
    Outcome { code: Some(code), stdout: text.into(), stderr: String::new() }
}

/// Run a program to its end; it must not panic.
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

/// `prise` with the arguments in `words`, separated by spaces.
fn prise(words: &str) -> Command {
    let mut command = Command::new(PRISE);
    command.args(words.split_whitespace());
    command
}

/// A program in Rust and in C: `both("client/connect")`.
fn both(program: &str) -> [Command; 2] {
    [prise(&program.replace('/', " ")), Command::new(twin(program))]
}

/// A server in Rust and in C, on a port.
fn both_on(server: &str, port: &str) -> [Command; 2] {
    let [mut rust, mut c] = both(&format!("server/{server}"));
    rust.args(["--port", port]);
    if server == "robust" {
        c.arg("--port");
    }
    c.arg(port);
    [rust, c]
}

#[test]
fn a_refused_connection_is_reported_as_in_the_listing() {
    // no process listens on this port, and no client gets it as its own port
    let port = free_port().to_string();
    for (program, expected) in [
        ("connect", output("connect error\n", 1)),
        ("send", output("connect error\n\n", 1)),
        ("recv", output("connect error\n\n", 1)),
        ("message", error_line("ERROR connecting: Connection refused", 1)),
    ] {
        for mut command in both(&format!("client/{program}")) {
            assert_eq!(outcome(command.args(["127.0.0.1", &port])), expected, "{command:?}");
        }
    }
}

#[test]
fn a_port_in_use_ends_only_fork_and_robust() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for server in ["accept", "reply", "loop", "fork", "robust"] {
        for mut command in both_on(server, &port) {
            assert_cannot_bind(server, &mut command, "Address already in use");
        }
    }
}

/// Assert that a server that cannot bind does what its listing does: `fork` and `robust` end, the others go on.
#[track_caller]
fn assert_cannot_bind(server: &str, command: &mut Command, why: &str) {
    if server == "fork" || server == "robust" {
        return assert_eq!(
            outcome(command),
            error_line(&format!("ERROR on binding: {why}"), 1),
            "{command:?}"
        );
    }
    // on a terminal, because C buffers its output on a pipe
    let terminal = raw_terminal();
    let mut printed = Stream::new(fs::File::from(terminal.master));
    let mut running = start(command.stdin(Stdio::null()).stdout(terminal.slave).stderr(Stdio::piped()));
    let expected = "\nbind failded\n\n\nbind done\n\nWaiting for incoming connections...\n\n";
    printed.wait_for(expected);
    assert_eq!(String::from_utf8_lossy(printed.so_far()), expected, "{command:?}");
    assert_eq!(running.stderr(), "", "{command:?}");
    assert_eq!(running.try_wait(), None, "{command:?}");
}

#[test]
fn only_root_may_bind_a_port_below_1024() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim().parse().is_ok_and(|first: u32| first <= 80) {
        support::skipped("any user may bind port 80 here (net.ipv4.ip_unprivileged_port_start)");
        return;
    }
    // copy the programs into a folder that another user can read
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    for server in ["accept", "reply", "loop", "fork", "robust"] {
        for (n, original) in both_on(server, "80").into_iter().enumerate() {
            let copy = folder.path().join(format!("{server}-{n}"));
            copy_program(original.get_program(), &copy);
            let mut command = Command::new(&copy);
            command.args(original.get_args()).current_dir("/");
            if am_root() {
                command.uid(61_719);
            }
            assert_cannot_bind(server, &mut command, "Permission denied");
        }
    }
}

#[test]
fn clients_with_an_address_accept_no_host_name() {
    for (program, printed) in
        [("connect", "connect error\n"), ("send", "connect error\n\n"), ("recv", "connect error\n\n")]
    {
        for host in ["localhost", "", "1.2.3.4.5", "1.2.3.256", "::1", "127.0.0.1x"] {
            for mut command in both(&format!("client/{program}")) {
                assert_eq!(outcome(command.arg(host)), output(printed, 1), "{command:?}");
            }
        }
    }
}

#[test]
fn an_address_may_have_any_form_that_inet_addr_accepts() {
    let (_listener, port) = listener();
    for host in ["127.1", "0x7f.0.0.1", "2130706433"] {
        for mut command in both("client/connect") {
            assert_eq!(outcome(command.args([host, &port])), output("Connected\n", 0), "{command:?}");
        }
    }
}

#[test]
fn a_port_is_the_result_of_atoi_cut_to_16_bits() {
    let (listener, port) = listener();
    let number = i32::from(listener.local_addr().unwrap().port());
    let spelled = [number + 65_536, number - 65_536].map(|number| number.to_string());
    for port in [format!("{port}x"), format!(" {port}"), format!("+{port}")].into_iter().chain(spelled) {
        for mut command in both("client/message") {
            let expected = output("Please enter a message: \n", 0);
            assert_eq!(outcome(command.args(["127.0.0.1", &port])), expected, "{command:?}");
        }
        let mut command = Command::new(twin("client/connect"));
        assert_eq!(outcome(command.args(["127.0.0.1", &port])), output("Connected\n", 0), "{command:?}");
    }
}

#[test]
fn message_without_a_host_or_a_port_prints_its_usage_and_exits_with_0() {
    // argv[0] in C, and what the Rust prints in its place
    let names = ["prise client message".into(), twin("client/message").display().to_string()];
    for arguments in [&[][..], &["localhost"]] {
        for (mut command, name) in both("client/message").into_iter().zip(&names) {
            let expected = error_line(&format!("usage {name} hostname port"), 0);
            assert_eq!(outcome(command.args(arguments)), expected, "{command:?}");
        }
    }
}

/// Looks like an address but is invalid: the resolver asks no name server for it.
const UNKNOWN: &str = "256.256.256.256";

#[test]
fn message_exits_with_0_when_the_host_is_unknown() {
    for mut command in both("client/message") {
        assert_eq!(
            outcome(command.args([UNKNOWN, "80"])),
            error_line("ERROR, no such host", 0),
            "{command:?}"
        );
    }
}

#[test]
fn resolve_exits_with_1_when_the_host_is_unknown() {
    for mut command in both("client/resolve") {
        assert_eq!(
            outcome(command.arg(UNKNOWN)),
            error_line("gethostbyname: Unknown host", 1),
            "{command:?}"
        );
    }
}

/// A command that runs a program with redirections in sh's syntax.
fn redirected(redirection: &str, program: &Path, arguments: &[OsString]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$@\" {redirection}"), "sh"]).arg(program).args(arguments);
    command
}

/// A listener, which never answers, and its port. Dropping the listener closes it.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

/// A client in Rust and in C, which connects to this machine, with redirections in sh's syntax.
fn both_redirected(program: &str, redirection: &str, port: &str) -> [Command; 2] {
    both(program).map(|client| {
        let mut arguments: Vec<OsString> = client.get_args().map(OsString::from).collect();
        arguments.extend(["127.0.0.1", port].map(OsString::from));
        redirected(redirection, Path::new(client.get_program()), &arguments)
    })
}

#[test]
fn sigpipe_kills_a_client_whose_stdout_has_no_reader() {
    let (_listener, port) = listener();
    for program in ["client/connect", "client/send"] {
        for mut command in both_redirected(program, "", &port) {
            command.stdin(Stdio::null()).stdout(broken_pipe()).stderr(Stdio::piped());
            let mut running = start(&mut command);
            assert_eq!(running.wait().signal(), Some(Signal::SIGPIPE as i32), "{command:?}");
            assert_eq!(running.stderr(), "", "{command:?}");
        }
    }
}

#[test]
fn a_client_ignores_a_full_stdout() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let (_listener, port) = listener();
    for program in ["client/connect", "client/send"] {
        for mut command in both_redirected(program, ">/dev/full", &port) {
            assert_eq!(outcome(&mut command), output("", 0), "{command:?}");
        }
    }
}

#[test]
fn a_client_without_open_descriptors_exits_with_0() {
    let (_listener, port) = listener();
    for program in ["client/connect", "client/send"] {
        for mut command in both_redirected(program, "<&- >&- 2>&-", &port) {
            assert_eq!(outcome(&mut command).code, Some(0), "{command:?}");
        }
    }
}

#[test]
fn with_stdout_closed_c_prints_into_its_connection_and_rust_does_not() {
    let (listener, port) = listener();
    let clients = both_redirected("client/connect", ">&-", &port);
    // in C, the socket becomes descriptor 1
    for (mut command, printed) in clients.into_iter().zip(["", "Connected\n"]) {
        assert_eq!(outcome(&mut command), output("", 0), "{command:?}");
        let mut received = String::new();
        listener.accept().unwrap().0.read_to_string(&mut received).unwrap();
        assert_eq!(received, printed, "{command:?}");
    }
}
