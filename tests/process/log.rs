//! The server's stdout: to a file, closed, full, broken. Its clients notice nothing.

use std::fs;
use std::fs::OpenOptions;
use std::process::Stdio;

use tempfile::NamedTempFile;

use crate::fixture::{Kind, REPLY, accepted, ask, assert_served, connect_first, finish, start_mute};
use crate::support::{
    Running, broken_pipe, children, connect, free_port, start, start_piped, wait_broken, wait_until,
};

both!(
    prints_each_line_once_to_a_file,
    serves_with_stdout_closed,
    serves_with_stdin_stdout_and_stderr_closed,
    says_once_that_stdout_is_full,
    says_once_that_stdout_may_not_grow,
    says_once_that_stdout_is_broken,
    says_once_that_stdout_broke_while_it_served,
    serves_when_neither_stdout_nor_stderr_can_be_written,
);

fn prints_each_line_once_to_a_file(kind: Kind) {
    let port = free_port();
    let file = NamedTempFile::new().unwrap();
    let stdout = OpenOptions::new().append(true).open(file.path()).unwrap();
    let server = start_mute(&mut kind.command(&["--port", &port.to_string()]), stdout.into());
    let mut expected = String::from("\nbind done\n\nwaiting for incoming connections...\n");
    for message in ["one", "two", "three"] {
        let client = connect_first(port);
        expected += &format!("{}Message from client: {message}\n", accepted(&client));
        assert_eq!(finish(client, message.as_bytes()), REPLY);
    }
    assert_eq!(end(server), "");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), expected);
}

/// Serve five clients on a port, the first as soon as the server listens.
#[track_caller]
fn serve_five(port: u16) {
    assert_eq!(finish(connect_first(port), b"hello\n"), REPLY);
    (0..4).for_each(|_| assert_eq!(ask(port, b"hello\n"), REPLY));
}

/// End a server, and take what it said on stderr.
fn end(mut server: Running) -> String {
    server.kill_group();
    String::from_utf8_lossy(&server.all_stderr()).into_owned()
}

fn closed(kind: Kind, port: u16, what: &str) -> Running {
    let script = format!("exec \"$@\" {what}");
    start_piped(&mut kind.under(&["sh", "-c", &script, "sh"], &["--port", &port.to_string()]))
}

fn serves_with_stdout_closed(kind: Kind) {
    let port = free_port();
    let server = closed(kind, port, ">&-");
    serve_five(port);
    assert_eq!(end(server), "");
}

fn serves_with_stdin_stdout_and_stderr_closed(kind: Kind) {
    let port = free_port();
    let _server = closed(kind, port, "<&- >&- 2>&-");
    serve_five(port);
}

fn says_once_that_stdout_is_full(kind: Kind) {
    let port = free_port();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = start_mute(&mut kind.command(&["--port", &port.to_string()]), full.into());
    serve_five(port);
    assert_eq!(end(server), "stdout: No space left on device\n");
}

fn says_once_that_stdout_may_not_grow(kind: Kind) {
    let port = free_port();
    let file = NamedTempFile::new().unwrap();
    let script = "ulimit -f 0; exec \"$@\"";
    let mut command = kind.under(&["sh", "-c", script, "sh"], &["--port", &port.to_string()]);
    let server = start_mute(&mut command, file.reopen().unwrap().into());
    serve_five(port);
    assert_eq!(end(server), "stdout: File too large\n");
}

fn says_once_that_stdout_is_broken(kind: Kind) {
    let port = free_port();
    let server = start_mute(&mut kind.command(&["--port", &port.to_string()]), broken_pipe().into());
    serve_five(port);
    assert_eq!(end(server), "stdout: Broken pipe\n");
}

fn says_once_that_stdout_broke_while_it_served(kind: Kind) {
    let port = free_port();
    let (reader, writer) = std::io::pipe().unwrap();
    let witness = writer.try_clone().unwrap();
    let mut server = start_mute(&mut kind.command(&["--port", &port.to_string()]), writer.into());
    serve_five(port);
    assert_eq!(server.stderr(), "");
    let wait_children = |n| wait_until(&format!("{n} children"), || children(server.pid()).len() == n);
    wait_children(0);
    // a child that is there when the pipe breaks finds it out by itself
    let client = connect(port);
    wait_children(1);
    drop(reader);
    wait_broken(&witness);
    assert_eq!(finish(client, b"hello\n"), REPLY);
    wait_until("the child says so", || server.stderr() == "stdout: Broken pipe\n");
    // and the parent once, for itself and for all children to come
    serve_five(port);
    assert_eq!(end(server), "stdout: Broken pipe\n".repeat(2));
}

fn serves_when_neither_stdout_nor_stderr_can_be_written(kind: Kind) {
    let port = free_port();
    let mut command = kind.command(&["--port", &port.to_string()]);
    let _server = start(command.stdin(Stdio::null()).stdout(broken_pipe()).stderr(broken_pipe()));
    serve_five(port);
    assert_served(port);
}
