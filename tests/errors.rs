//! What the programs say when something fails, and how they end: the tutorial's ten as its listings do, in C and in Rust
//! alike, and robust.

mod support;

#[path = "errors/command_line.rs"]
mod command_line; // what is refused, and what is taken

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use pretty_assertions::assert_eq;
use support::{Stream, broken_pipe, free_port, start, start_piped, twin};

const PRISE: &str = env!("CARGO_BIN_EXE_prise");
const TEN: [&str; 10] = [
    "client/socket",
    "client/connect",
    "client/send",
    "client/recv",
    "client/resolve",
    "client/message",
    "server/accept",
    "server/reply",
    "server/loop",
    "server/fork",
];

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

/// A text on stdout, nothing on stderr.
fn prints(text: &str, code: i32) -> Outcome {
    Outcome { code: Some(code), stdout: text.into(), stderr: String::new() }
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

/// The same server in Rust and in C, on a port.
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
fn a_refused_connection_is_said_as_the_listing_says_it() {
    // nobody listens on it, and nobody will connect from it
    let port = free_port().to_string();
    for (program, expected) in [
        ("connect", prints("connect error\n", 1)),
        ("send", prints("connect error\n\n", 1)),
        ("recv", prints("connect error\n\n", 1)),
        ("message", says("ERROR connecting: Connection refused", 1)),
    ] {
        for mut command in both(&format!("client/{program}")) {
            assert_eq!(outcome(command.args(["127.0.0.1", &port])), expected, "{command:?}");
        }
    }
}

#[test]
fn a_port_in_use_ends_fork_and_robust_and_no_other_server() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for server in ["accept", "reply", "loop", "fork", "robust"] {
        for mut command in both_on(server, &port) {
            assert_cannot_bind(server, &mut command, "Address already in use");
        }
    }
}

/// A server that cannot bind ends, or goes on without its port, as its listing does.
#[track_caller]
fn assert_cannot_bind(server: &str, command: &mut Command, why: &str) {
    if server == "fork" || server == "robust" {
        return assert_eq!(outcome(command), says(&format!("ERROR on binding: {why}"), 1), "{command:?}");
    }
    // on a pipe, the C would keep back what it prints
    let (terminal, mut printed) = terminal();
    let mut running = start(command.stdin(Stdio::null()).stdout(terminal).stderr(Stdio::piped()));
    let expected = "\nbind failded\n\n\nbind done\n\nWaiting for incoming connections...\n\n";
    printed.wait_for(expected);
    assert_eq!(String::from_utf8_lossy(printed.so_far()), expected, "{command:?}");
    assert_eq!(running.stderr(), "", "{command:?}");
    assert_eq!(running.try_wait(), None, "{command:?}");
}

/// A raw terminal for a program, and what is printed on it.
fn terminal() -> (OwnedFd, Stream) {
    let pty = openpty(None, None).expect("a terminal can be had");
    let mut raw = tcgetattr(&pty.slave).expect("a terminal has settings");
    cfmakeraw(&mut raw);
    tcsetattr(&pty.slave, SetArg::TCSANOW, &raw).expect("they can be set");
    (pty.slave, Stream::new(fs::File::from(pty.master)))
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
    for server in ["accept", "reply", "loop", "fork", "robust"] {
        for (n, original) in both_on(server, "80").into_iter().enumerate() {
            let copy = folder.path().join(format!("{server}-{n}"));
            copy_program(original.get_program(), &copy);
            let mut command = Command::new(&copy);
            command.args(original.get_args()).current_dir("/");
            if am_root {
                command.uid(61_719);
            }
            assert_cannot_bind(server, &mut command, "Permission denied");
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
fn a_host_that_is_no_dotted_quad_cannot_be_connected_to() {
    for (program, said) in
        [("connect", "connect error\n"), ("send", "connect error\n\n"), ("recv", "connect error\n\n")]
    {
        for host in ["localhost", "", "1.2.3.4.5", "1.2.3.256", "::1", "127.0.0.1x"] {
            for mut command in both(&format!("client/{program}")) {
                assert_eq!(outcome(command.arg(host)), prints(said, 1), "{command:?}");
            }
        }
    }
}

#[test]
fn a_host_is_read_as_inet_addr_reads_it() {
    let (_listener, port) = listener();
    for host in ["127.1", "0x7f.0.0.1", "2130706433"] {
        for mut command in both("client/connect") {
            assert_eq!(outcome(command.args([host, &port])), prints("Connected\n", 0), "{command:?}");
        }
    }
}

#[test]
fn a_port_is_what_atoi_makes_of_it_cut_to_16_bits() {
    let (listener, port) = listener();
    let number = i32::from(listener.local_addr().unwrap().port());
    let spelled = [number + 65_536, number - 65_536].map(|number| number.to_string());
    for port in [format!("{port}x"), format!(" {port}"), format!("+{port}")].into_iter().chain(spelled) {
        for mut command in both("client/message") {
            let expected = prints("Please enter a message: \n", 0);
            assert_eq!(outcome(command.args(["127.0.0.1", &port])), expected, "{command:?}");
        }
        let mut command = Command::new(twin("client/connect"));
        assert_eq!(outcome(command.args(["127.0.0.1", &port])), prints("Connected\n", 0), "{command:?}");
    }
}

#[test]
fn message_without_a_host_or_a_port_says_how_it_is_used_and_exits_with_0() {
    // what is argv[0] in C
    let names = ["prise client message".into(), twin("client/message").display().to_string()];
    for arguments in [&[][..], &["localhost"]] {
        for (mut command, name) in both("client/message").into_iter().zip(&names) {
            let expected = says(&format!("usage {name} hostname port"), 0);
            assert_eq!(outcome(command.args(arguments)), expected, "{command:?}");
        }
    }
}

/// Looks like an address and is none: nobody asks a name server for it.
const UNKNOWN: &str = "256.256.256.256";

#[test]
fn message_exits_with_0_when_the_host_is_unknown() {
    for mut command in both("client/message") {
        assert_eq!(outcome(command.args([UNKNOWN, "80"])), says("ERROR, no such host", 0), "{command:?}");
    }
}

#[test]
fn resolve_exits_with_1_when_the_host_is_unknown() {
    for mut command in both("client/resolve") {
        assert_eq!(outcome(command.arg(UNKNOWN)), says("gethostbyname: Unknown host", 1), "{command:?}");
    }
}

/// A command that runs a program with some of its descriptors redirected.
fn redirected(redirection: &str, program: &Path, arguments: &[OsString]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$@\" {redirection}"), "sh"]).arg(program).args(arguments);
    command
}

/// A server that takes connections and says nothing; it ends with this value.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

/// The same client in Rust and in C, connecting to this machine, with some of its descriptors redirected.
fn both_redirected(program: &str, redirection: &str, port: &str) -> [Command; 2] {
    both(program).map(|client| {
        let mut arguments: Vec<OsString> = client.get_args().map(OsString::from).collect();
        arguments.extend(["127.0.0.1", port].map(OsString::from));
        redirected(redirection, Path::new(client.get_program()), &arguments)
    })
}

#[test]
fn a_client_whose_reader_is_gone_ends_by_sigpipe() {
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
fn a_client_does_not_notice_that_stdout_is_full() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let (_listener, port) = listener();
    for program in ["client/connect", "client/send"] {
        for mut command in both_redirected(program, ">/dev/full", &port) {
            assert_eq!(outcome(&mut command), prints("", 0), "{command:?}");
        }
    }
}

#[test]
fn a_client_with_nothing_open_ends_as_it_would() {
    let (_listener, port) = listener();
    for program in ["client/connect", "client/send"] {
        for mut command in both_redirected(program, "<&- >&- 2>&-", &port) {
            assert_eq!(outcome(&mut command).code, Some(0), "{command:?}");
        }
    }
}

#[test]
fn with_stdout_closed_the_c_prints_to_its_server_and_rust_to_nobody() {
    let (listener, port) = listener();
    let clients = both_redirected("client/connect", ">&-", &port);
    for (mut command, printed) in clients.into_iter().zip(["", "Connected\n"]) {
        assert_eq!(outcome(&mut command), prints("", 0), "{command:?}");
        let mut received = String::new();
        listener.accept().unwrap().0.read_to_string(&mut received).unwrap();
        assert_eq!(received, printed, "{command:?}");
    }
}
