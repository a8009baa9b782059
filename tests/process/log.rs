//! The server's stdout to a file, closed, full, broken: the clients notice nothing.

use std::fs;
use std::fs::OpenOptions;
use std::process::Stdio;

use tempfile::NamedTempFile;

use crate::fixture::{Kind, REPLY, accepted, ask, assert_served, connect_first, exchange, start_with_stdout};
use crate::support::{
    Running, broken_pipe, children, connect, free_port, start, start_piped, wait_broken, wait_until,
};

both!(
    prints_each_line_once_to_a_file,
    serves_with_stdout_closed,
    serves_with_stdin_stdout_and_stderr_closed,
    reports_once_that_stdout_is_full,
    reports_once_that_stdout_reached_its_size_limit,
    reports_once_that_stdout_is_broken,
    reports_once_that_stdout_broke_while_serving,
    serves_without_a_writable_stdout_or_stderr,
);

fn prints_each_line_once_to_a_file(kind: Kind) {
    let port = free_port();
    let file = NamedTempFile::new().unwrap();
    let stdout = OpenOptions::new().append(true).open(file.path()).unwrap();
    let server = start_with_stdout(&mut kind.command(&["--port", &port.to_string()]), stdout.into());
    let mut expected = String::from("\nbind done\n\nwaiting for incoming connections...\n");
    for message in ["one", "two", "three"] {
        let client = connect_first(port);
        expected += &format!("{}Message from client: {message}\n", accepted(&client));
        assert_eq!(exchange(client, message.as_bytes()), REPLY);
    }
    assert_eq!(end(server), "");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), expected);
}

/// Serve five clients on a port, the first as soon as the server listens.
#[track_caller]
fn serve_five(port: u16) {
    assert_eq!(exchange(connect_first(port), b"hello\n"), REPLY);
    (0..4).for_each(|_| assert_eq!(ask(port, b"hello\n"), REPLY));
}

/// Kill a server; gives its whole stderr.
fn end(mut server: Running) -> String {
    server.kill_group();
    String::from_utf8_lossy(&server.all_stderr()).into_owned()
}

/// Start a server with redirections in sh's syntax, such as `>&-`.
fn redirected(kind: Kind, port: u16, redirections: &str) -> Running {
    let script = format!("exec \"$@\" {redirections}");
    start_piped(&mut kind.through(&["sh", "-c", &script, "sh"], &["--port", &port.to_string()]))
}

fn serves_with_stdout_closed(kind: Kind) {
    let port = free_port();
    let server = redirected(kind, port, ">&-");
    serve_five(port);
    assert_eq!(end(server), "");
}

fn serves_with_stdin_stdout_and_stderr_closed(kind: Kind) {
    let port = free_port();
    let _server = redirected(kind, port, "<&- >&- 2>&-");
    serve_five(port);
}

fn reports_once_that_stdout_is_full(kind: Kind) {
    let port = free_port();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = start_with_stdout(&mut kind.command(&["--port", &port.to_string()]), full.into());
    serve_five(port);
    assert_eq!(end(server), "stdout: No space left on device\n");
}

fn reports_once_that_stdout_reached_its_size_limit(kind: Kind) {
    let port = free_port();
    let file = NamedTempFile::new().unwrap();
    let script = "ulimit -f 0; exec \"$@\"";
    let mut command = kind.through(&["sh", "-c", script, "sh"], &["--port", &port.to_string()]);
    let server = start_with_stdout(&mut command, file.reopen().unwrap().into());
    serve_five(port);
    assert_eq!(end(server), "stdout: File too large\n");
}

fn reports_once_that_stdout_is_broken(kind: Kind) {
    let port = free_port();
    let server = start_with_stdout(&mut kind.command(&["--port", &port.to_string()]), broken_pipe().into());
    serve_five(port);
    assert_eq!(end(server), "stdout: Broken pipe\n");
}

fn reports_once_that_stdout_broke_while_serving(kind: Kind) {
    let port = free_port();
    let (reader, writer) = std::io::pipe().unwrap();
    let witness = writer.try_clone().unwrap();
    let mut server = start_with_stdout(&mut kind.command(&["--port", &port.to_string()]), writer.into());
    serve_five(port);
    assert_eq!(server.stderr(), "");
    let wait_children = |n| wait_until(&format!("{n} children"), || children(server.pid()).len() == n);
    wait_children(0);
    // a child that already exists when the pipe breaks notices it itself
    let client = connect(port);
    wait_children(1);
    drop(reader);
    wait_broken(&witness);
    assert_eq!(exchange(client, b"hello\n"), REPLY);
    wait_until("the child reports it", || server.stderr() == "stdout: Broken pipe\n");
    // the parent reports it once, for itself and for all later children
    serve_five(port);
    assert_eq!(end(server), "stdout: Broken pipe\n".repeat(2));
}

fn serves_without_a_writable_stdout_or_stderr(kind: Kind) {
    let port = free_port();
    let mut command = kind.command(&["--port", &port.to_string()]);
    let _server = start(command.stdin(Stdio::null()).stdout(broken_pipe()).stderr(broken_pipe()));
    serve_five(port);
    assert_served(port);
}
