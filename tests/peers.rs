//! The example `handler`, which superservers run in these tests, and scripts/examine-peers.sh, which examines the
//! superservers that are installed.

mod support;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::{DEADLINE, REPLY, Stream, example, has, read_file, root, start};

fn handler() -> PathBuf {
    example("handler")
}

#[test]
fn on_pipes_the_handler_closes_its_output_before_the_client_closes() {
    let mut command = Command::new(handler());
    let mut running = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
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
fn on_a_socket_the_handler_answers_and_half_closes() {
    let (mut client, server) = UnixStream::pair().expect("a pair of sockets can be created");
    client.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
    let output = server.try_clone().expect("a descriptor can be copied");
    let mut command = Command::new(handler());
    command.stdin(OwnedFd::from(server)).stdout(OwnedFd::from(output)).stderr(Stdio::null());
    let mut running = start(&mut command);
    drop(command); // it holds this process's copies of the server's end
    client.write_all(b"hello\n").expect("the handler reads");
    let mut answer = Stream::new(client.try_clone().expect("a descriptor can be copied"));
    assert_eq!(answer.read_to_end(), REPLY);
    // the handler keeps reading: otherwise late bytes would reset the connection
    client.write_all(&[b'x'; 1000]).expect("the handler still reads");
    client.shutdown(std::net::Shutdown::Write).expect("a socket can be half-closed");
    assert!(running.wait().success());
}

/// Run scripts/examine-peers.sh with this PATH.
fn examine(arguments: &[&str], path: &std::ffi::OsStr) -> Output {
    let mut command = Command::new("bash");
    command.arg(root().join("scripts/examine-peers.sh")).args(arguments).env("PATH", path);
    command.env("PRISE", env!("CARGO_BIN_EXE_prise")).env("HANDLER", handler());
    command.stdin(Stdio::null()).output().expect("bash runs")
}

/// The cells of the table's row with this name, without the name.
fn row<'a>(report: &'a str, name: &str) -> Vec<&'a str> {
    let row = report.lines().find(|line| line.starts_with(&format!("| {name} |")));
    let row = row.unwrap_or_else(|| panic!("there is no row {name} in {report}"));
    row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).skip(1).collect()
}

/// Whether all superservers are installed, and jq, which the script needs.
fn can_examine() -> bool {
    has("jq", "jq")
        && has("tcpserver", "ucspi-tcp")
        && has("tcpsvd", "ipsvd")
        && has("socat", "socat")
        && has("ncat", "ncat")
        && has("xinetd", "xinetd")
}

#[test]
fn every_peer_is_started_in_a_way_that_works() {
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
    let page = read_file("docs/peers.md");
    for peer in peers {
        let command = row(&report, peer)[1];
        assert!(page.contains(&format!("| {command} |\n")), "docs/peers.md does not have {command}");
    }
}

#[test]
fn footnotes_below_the_table_explain_failed_checks() {
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
fn a_peer_that_is_not_installed_is_listed_with_its_package() {
    if !has("jq", "jq") {
        return;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bare = tempfile::tempdir().expect("a temporary folder can be created");
    for tool in ["bash", "jq", "dirname", "realpath", "mktemp", "cp", "rm", "id", "cat", "date", "uname"] {
        let found = std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file());
        symlink(found.expect("the tool is installed"), bare.path().join(tool))
            .expect("a link can be created");
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
