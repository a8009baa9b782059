//! The handler that superservers run, and the examination of those that are installed.

mod support;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::{DEADLINE, Stream, example, has, root};

const REPLY: [u8; 18] = *b"ok\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The handler.
fn handler() -> PathBuf {
    example("handler")
}

#[test]
fn handler_answers_on_pipes_and_ends_its_output_while_the_client_is_there() {
    let mut command = Command::new(handler());
    let mut running =
        support::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut client = running.stdin();
    client.write_all(b"hel").expect("the handler reads");
    client.write_all(b"lo\n").expect("the handler reads");
    assert_eq!(running.all_stdout(), REPLY);
    assert_eq!(running.try_wait(), None);
    drop(client);
    assert!(running.wait().success());
    assert_eq!(running.all_stderr(), b"");
}

#[test]
fn handler_answers_on_a_socket_and_half_closes_it() {
    let (mut client, server) = UnixStream::pair().expect("a pair of sockets can be made");
    client.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
    let output = server.try_clone().expect("a descriptor can be copied");
    let mut command = Command::new(handler());
    command.stdin(OwnedFd::from(server)).stdout(OwnedFd::from(output)).stderr(Stdio::null());
    let mut running = support::start(&mut command);
    drop(command); // and with it this process's own copies of the server's end
    client.write_all(b"hello\n").expect("the handler reads");
    let mut answer = Stream::new(client.try_clone().expect("a descriptor can be copied"));
    assert_eq!(answer.read_to_end(), REPLY);
    // it reads on, so that nothing that comes late resets the connection
    client.write_all(&[b'x'; 1000]).expect("the handler still reads");
    client.shutdown(std::net::Shutdown::Write).expect("the client can say that this was all");
    assert!(running.wait().success());
}

/// Examine peers, with that in the PATH.
fn examine(arguments: &[&str], path: &std::ffi::OsStr) -> Output {
    let mut command = Command::new("bash");
    command.arg(root().join("scripts/examine-peers.sh")).args(arguments).env("PATH", path);
    command.env("PRISE", env!("CARGO_BIN_EXE_prise")).env("HANDLER", handler());
    command.stdin(Stdio::null()).output().expect("bash runs")
}

/// The cells of the table's row of that name.
fn row<'a>(report: &'a str, name: &str) -> Vec<&'a str> {
    let row = report.lines().find(|line| line.starts_with(&format!("| {name} |")));
    let row = row.unwrap_or_else(|| panic!("no row {name} in {report}"));
    row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).skip(1).collect()
}

/// Whether there is something to examine, and to read findings with.
fn can_examine() -> bool {
    has("jq", "jq")
        && has("tcpserver", "ucspi-tcp")
        && has("tcpsvd", "ipsvd")
        && has("socat", "socat")
        && has("ncat", "ncat")
        && has("xinetd", "xinetd")
}

#[test]
fn every_peer_is_started_so_that_it_answers() {
    if !can_examine() {
        return;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let peers = ["tcpserver", "tcpsvd", "socat", "socat-nofork", "ncat", "xinetd"];
    let output = examine(&[&["--only", "answers,concurrent,end-of-file"][..], &peers].concat(), &path);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(row(&report, "check"), peers);
    for check in ["answers", "concurrent", "end-of-file"] {
        assert_eq!(row(&report, check), ["holds"; 6], "{report}");
    }
    let page = std::fs::read_to_string(root().join("docs/peers.md")).expect("the page is there");
    for peer in peers {
        let command = row(&report, peer)[1];
        assert!(page.contains(&format!("| {command} |\n")), "docs/peers.md does not have {command}");
    }
}

#[test]
fn what_a_peer_fails_stands_below_the_table() {
    if !can_examine() {
        return;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let output = examine(&["--only", "fork-fails,log-once", "socat", "tcpserver"], &path);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(row(&report, "log-once"), ["unseen[^1]", "unseen[^1]"], "{report}");
    assert!(report.contains("\n[^1]: log-once: it prints nothing on stdout"), "{report}");
    if has("strace", "strace") {
        assert_eq!(row(&report, "fork-fails"), ["FAILS[^2]", "holds"], "{report}");
        assert!(report.contains("\n[^2]: fork-fails: the server has ended: exit status: 1 "), "{report}");
    }
}

#[test]
fn a_peer_that_is_not_installed_is_named_with_its_package() {
    if !has("jq", "jq") {
        return;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bare = tempfile::tempdir().expect("a temporary folder can be made");
    for tool in ["bash", "jq", "dirname", "realpath", "mktemp", "cp", "rm", "id", "cat", "date", "uname"] {
        let found = std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file());
        symlink(found.expect("a machine has it"), bare.path().join(tool)).expect("a link can be made");
    }
    let output = examine(&["tcpserver", "inetd"], bare.path().as_os_str());
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    let (_, missing) = report.split_once("\nNot examined:\n\n").expect("some are not examined");
    assert_eq!(
        missing,
        "- tcpserver: not installed: apt-get install ucspi-tcp\n\
         - inetd: not installed: apt-get install openbsd-inetd\n"
    );
}
