//! Exit codes and the log: the form of every line, one write per line, and a server that never waits for the reader.

use std::fs::OpenOptions;
use std::io::{PipeReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::fchown;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use regex::Regex;

use crate::fixture::{
    REPLY, Reaper, Server, Status, assert_closed, child_pids, exchange, failed_start, is_root, port_in,
    reset, serve, serve_through,
};
use crate::strace::{Follow, Strace, can_attach};
use crate::support::{
    Running, Stream, broken_pipe, connect, connect_from, free_port, has, skipped, start, start_piped,
    wait_until,
};
use crate::watch::Watch;

trials!(
    both: every_line_is_as_documented,
        every_line_is_one_write,
        it_serves_while_nobody_reads_the_log_and_counts_lost_lines,
        it_serves_after_the_logs_reader_has_gone,
        it_counts_the_lines_that_children_lose,
        children_that_fill_the_pipe_cannot_block_it,
        it_does_not_wait_for_a_pipe_of_another_user,
        it_serves_when_the_log_reaches_its_size_limit,
        it_serves_with_stdin_stdout_and_stderr_closed;
    once: a_wrong_command_line_exits_with_100,
        an_error_message_names_the_mistake,
        a_failed_call_at_the_start_exits_with_111,
        it_serves_without_a_writable_stdout,
        it_serves_while_nobody_reads_its_stdout;
);

/// Run `prise serve` with arguments that must make it fail; gives its exit code and its stderr.
#[track_caller]
fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    failed_start(Command::new(env!("CARGO_BIN_EXE_prise")).arg("serve").args(arguments))
}

fn a_wrong_command_line_exits_with_100() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for arguments in [
        &[][..],
        &["--no-such-option", "0"],
        &["65536"],
        &["::1:0"],
        &[":0"],
        &["--max-children", "0", "0"],
        &["--rate", "3", "0"],
        &["--rate", "0/1", "0"],
        &["--timeout", "0", "0"],
        &["--nofile", "2", "0"],
        &["--proxy-protocol", "10.0.0.0/33", "0"],
        &["--reaper", "none", "0"],
        &["--user", "no-such-user", "127.0.0.1:0"],
        &["--user", "root:no-such-group", "127.0.0.1:0"],
        &["127.0.0.1:0", "--", "no-such-program-at-all"],
        &["127.0.0.1:0", "--", "/no/such/program"],
        &["--nofile", "9999999999", "127.0.0.1:0"],
        &["--chroot", "/no/such/folder", "127.0.0.1:0"],
        // a folder, an empty name and a file that is not executable are no programs
        &["127.0.0.1:0", "--", "/"],
        &["127.0.0.1:0", "--", ""],
        &["127.0.0.1:0", "--", file.path().to_str().unwrap()],
        &["[::zz]:0"],
        &["[fe80::1%no-such-interface]:0"],
        &["--proxy-protocol", "10.0.0.0/+8", "0"],
        &["--user", "4242", "127.0.0.1:0"],
        &["--user", "4294967295:0", "127.0.0.1:0"],
        // no program after --, as when a script's variable is empty
        &["127.0.0.1:0", "--"],
    ] {
        let (code, stderr) = fails(arguments);
        assert_eq!(code, Some(100), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
}

fn an_error_message_names_the_mistake() {
    for (arguments, why) in [
        (&["[::1]"][..], "a port is missing: [::1]:PORT"),
        (&["[]:0"], "'' is not an IPv6 address"),
        (&["--rate", "1/99999999999999999999", "0"], "SECONDS must be a whole number from 1 to 1844"),
        (&["127.0.0.1:0", "--", ""], "the program's name is empty: No such file or directory"),
    ] {
        let (code, stderr) = fails(arguments);
        assert_eq!(code, Some(100), "{arguments:?}: {stderr}");
        assert!(stderr.contains(why), "{arguments:?}: {stderr}");
    }
}

fn a_failed_call_at_the_start_exits_with_111() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stderr) = fails(&[&address]);
    assert_eq!(code, Some(111));
    assert_eq!(stderr, format!("prise serve: bind {address}: Address already in use\n"));
    let (code, stderr) = fails(&["192.0.2.1:0"]);
    assert_eq!(code, Some(111));
    assert_eq!(stderr, "prise serve: bind 192.0.2.1:0: Cannot assign requested address\n");
}

/// A pattern for each kind of log line.
const LINES: [&str; 13] = [
    r"listening address=127\.0\.0\.1:\d+ pid=\d+ max-children=\d+",
    r"start pid=\d+ peer=[0-9.]+:\d+ live=\d+/\d+",
    r"end pid=\d+ peer=[0-9.]+:\d+ (exit=\d+|signal=[A-Z0-9]+) seconds=\d+\.\d{3} cpu=\d+\.\d{3} maxrss=[1-9]\d* live=\d+/\d+",
    r"refused peer=[0-9.]+:\d+ why=(per-ip|rate|stopping|proxy-[a-z-]+)",
    r"ending pid=\d+ signal=TERM why=(timeout|client-gone|stopping)",
    r"ending pid=\d+ signal=KILL why=still-there",
    r"paused why=(max-children|E[A-Z]+) live=\d+/\d+",
    r"resumed live=\d+/\d+",
    r"status live=\d+/\d+ waiting=\d+ accepted=\d+ started=\d+ ended=\d+ refused=\d+ exhausted=\d+ lost-lines=\d+ seconds=\d+",
    r"stopping why=(TERM|INT|QUIT|HUP|accept) live=\d+ grace=\d+",
    r"stopped accepted=\d+ started=\d+ ended=\d+ refused=\d+ exhausted=\d+ lost-lines=\d+",
    r"failed pid=\d+ step=[a-z0-9-]+ why=[A-Z][A-Za-z ]+",
    r"message from client pid=\d+ text=.*",
];

fn every_line_is_as_documented(reaper: Reaper) {
    let options = ["--max-children", "2", "--per-ip", "2", "--timeout", "4", "--hangup", "--grace", "0"];
    let program = "trap '' TERM; read -r how && eval \"$how\"";
    let options = [&options[..], &["--proxy-protocol", "127.0.0.2"]].concat();
    let mut server = Server::start(reaper, &options, &["sh", "-c", program]);
    server.ask(b"exit 3\n");
    server.ask(b"kill -40 $$\n");
    let _timed_out = server.connect();
    server.wait_log(" why=timeout\n");
    server.wait_log(" why=still-there\n");
    server.ask(b"kill -SEGV $$\n");
    let mut gone = server.connect();
    gone.write_all(b"sleep 97\n").unwrap();
    server.wait_children(1);
    wait_until("the child sleeps", || {
        child_pids(server.pid()).iter().any(|&pid| !child_pids(pid).is_empty())
    });
    reset(gone);
    server.wait_log(" why=client-gone\n");
    server.wait_idle();
    let mut proxy = connect_from("127.0.0.2", server.port);
    proxy.shutdown(Shutdown::Write).expect("a connection can be half-closed");
    assert_closed(&mut proxy);
    let _held = [server.connect(), server.connect()];
    server.wait_children(2);
    server.wait_log("prise: paused why=max-children live=2/2\n");
    server.status();
    let mut log = server.stop();
    // the lines that need other options
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::start(reaper, &["--chroot", root.path().to_str().unwrap()], &[]);
    root.close().unwrap();
    assert_closed(&mut server.connect());
    server.wait_idle();
    log += &server.stop();
    let mut server = Server::start(reaper, &[], &[]);
    assert_eq!(server.ask(b"hello\x1b[2J\x07\nprise: start pid=1\n"), REPLY);
    server.wait_idle();
    log += &server.stop();
    if can_attach() {
        let mut server = Server::start(reaper, &[], &["cat"]);
        let mut strace = Strace::attach(server.pid(), Follow::Parent, "accept4", "error=ENFILE:when=1");
        assert_eq!(server.ask(b"hello"), b"hello");
        server.wait_children(0);
        strace.detach();
        server.wait_idle();
        log += &server.stop();
        assert!(log.contains("paused why=ENFILE") && log.contains("resumed"), "{log}");
    }
    let lines = LINES.map(|line| Regex::new(&format!("^prise: {line}$")).expect("a regular expression"));
    for line in log.lines() {
        assert_eq!(lines.iter().filter(|known| known.is_match(line)).count(), 1, "{line}");
    }
    for (known, line) in lines.iter().zip(LINES) {
        assert!(log.lines().any(|logged| known.is_match(logged)), "no {line} in {log}");
    }
    assert!(log.ends_with('\n'));
}

fn every_line_is_one_write(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    // without a program, each child logs a line, too
    let mut server = Server::start(reaper, &["--per-ip", "2", "--nofile", "30"], &[]);
    server.wait_log("prise: listening .*\n");
    let before = server.log().lines().count();
    let watch = Watch::attach(server.pid(), "write,writev,pwritev2");
    let held = [server.connect(), server.connect()];
    server.wait_children(2);
    assert_closed(&mut server.connect());
    for client in held {
        assert_eq!(exchange(client, &[b'\x01'; 254]), REPLY);
    }
    server.wait_idle();
    let writes = watch.detach();
    let log = server.log();
    let written: Vec<&str> = writes
        .iter()
        .filter_map(|(_, call)| {
            let written = call.strip_prefix("write(2, \"");
            written.or_else(|| call.strip_prefix("pwritev2(2, [{iov_base=\""))?.split('"').next()
        })
        .collect();
    // strace shows at most 400 bytes of a line
    assert_eq!(written.len(), log.lines().count() - before, "{writes:#?}");
    for text in &written {
        assert!(text.starts_with("prise: "), "{text}");
        assert_eq!(text.matches("\\n").count(), usize::from(text.len() < 380), "{text}");
    }
    assert!(!writes.iter().any(|(_, call)| call.starts_with("writev(2")), "{writes:#?}");
    server.stop();
}

/// Start a server whose log goes to a pipe that nobody reads yet; gives the pipe's reading end and the port, too.
fn start_unread(command: &mut Command) -> (Running, PipeReader, u16) {
    let (reader, writer) = std::io::pipe().expect("a pipe can be created");
    let mut running = start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer));
    // the command still holds the writing end: close it
    command.stderr(Stdio::null());
    let port = port_of(&mut running);
    (running, reader, port)
}

/// Wait until a server prints its address; gives the port.
fn port_of(running: &mut Running) -> u16 {
    running.wait_stdout("\n");
    port_in(&running.stdout())
}

fn it_serves_while_nobody_reads_the_log_and_counts_lost_lines(reaper: Reaper) {
    // the program writes nothing to the log: the server could not count such lines
    let mut command = serve(reaper, &["--per-ip", "1"], &["cat"]);
    let (mut running, reader, port) = start_unread(&mut command);
    let held = connect(port);
    wait_until("the client has its child", || child_pids(running.pid()).len() == 1);
    // each refusal is a line of about 50 bytes; a pipe holds 64 KiB
    for _ in 0..2000 {
        assert_closed(&mut connect(port));
    }
    assert_eq!(exchange(held, b"held"), b"held");
    wait_until("the child is reaped", || child_pids(running.pid()).is_empty());
    assert_eq!(exchange(connect(port), b"hello"), b"hello");
    wait_until("the child is reaped", || child_pids(running.pid()).is_empty());
    // now read the log
    let mut reader = Stream::new(reader);
    wait_until("there is room in the pipe", || reader.so_far().len() >= 32_768);
    running.signal(nix::sys::signal::Signal::SIGUSR1);
    let mut log = String::new();
    wait_until("the status is logged", || {
        log = String::from_utf8_lossy(reader.so_far()).into_owned();
        log.contains("prise: status ") && log.ends_with('\n')
    });
    let (before, status) = log.split_at(log.find("prise: status ").expect("the log has the line"));
    let status = Status::of(status.lines().next().expect("a line"));
    status.assert_adds_up();
    assert_eq!((status.refused, status.ended), (2000, 2));
    let written = before.lines().count() as u64;
    assert!(status.lost > 500, "{status:?}");
    // one line of listening, two of start, two of end, 2000 of refused
    assert_eq!(written + status.lost, 1 + 2 + 2 + 2000, "{status:?}");
    assert!(before.lines().all(|line| line.starts_with("prise: ")), "{before}");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
}

fn it_counts_the_lines_that_children_lose(reaper: Reaper) {
    let (mut running, reader, port) = start_unread(&mut serve(reaper, &[], &[]));
    // each client causes three lines; a pipe holds 64 KiB
    for _ in 0..700 {
        assert_eq!(exchange(connect(port), b"hello\n"), REPLY);
    }
    wait_until("all children are reaped", || child_pids(running.pid()).is_empty());
    let mut reader = Stream::new(reader);
    wait_until("there is room in the pipe", || reader.so_far().len() >= 32_768);
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    let log = String::from_utf8_lossy(reader.read_to_end()).into_owned();
    let (before, stopped) = log.split_at(log.find("prise: stopping ").expect("the log has the line"));
    let lost = stopped.trim_end().rsplit_once("lost-lines=").and_then(|(_, lost)| lost.parse().ok());
    let lost: usize = lost.expect("a number of lines");
    assert!(!before.contains("failed"), "{before}");
    assert!(before.matches("prise: message from client ").count() < 690, "{before}");
    assert_eq!(before.lines().count() + lost, 1 + 3 * 700, "{stopped}");
}

/// The flags of a process's stderr, as fcntl(F_GETFL) gives them.
fn stderr_flags(pid: u32) -> i32 {
    let fdinfo = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/2")).expect("stderr is open");
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    i32::from_str_radix(flags.expect("fdinfo has flags").trim(), 8).expect("an octal number")
}

fn children_that_fill_the_pipe_cannot_block_it(reaper: Reaper) {
    let mut command = serve(reaper, &[], &["sh", "-c", "yes >&2 & cat"]);
    let (mut running, reader, port) = start_unread(&mut command);
    let flood = connect(port);
    // a child may fill the pipe between the server's poll and its write, so the server's descriptor is non-blocking
    let nonblocking = nix::libc::O_NONBLOCK;
    wait_until("the child executes its program", || {
        child_pids(running.pid()).iter().any(|&child| !child_pids(child).is_empty())
    });
    assert_ne!(stderr_flags(running.pid()) & nonblocking, 0);
    // the program's descriptor blocks, as programs expect
    assert_eq!(stderr_flags(child_pids(running.pid())[0]) & nonblocking, 0);
    for _ in 0..20 {
        let mut client = connect(port);
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).expect("the client is served");
        reset(client);
    }
    drop(reader);
    assert_eq!(exchange(flood, b"hello"), b"hello");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
}

fn it_does_not_wait_for_a_pipe_of_another_user(reaper: Reaper) {
    if !is_root() || !has("setpriv", "util-linux") {
        return;
    }
    let release =
        nix::sys::utsname::uname().expect("a system has a name").release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(6), Some(4)) {
        return skipped("before Linux 6.4, the server may wait for such a pipe");
    }
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be created");
    // a pipe of one page with some bytes in it: poll reports that it is full, but a short write still succeeds
    let page = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a pipe can be small");
    (&writer).write_all(b"so far\n").expect("there is room");
    // root without the capabilities to open other users' files
    fchown(&writer, Some(61_731), None).expect("root may give a pipe away");
    let launcher = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"];
    let mut command = serve_through(&launcher, reaper, &[], &[]);
    let mut running = start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer));
    drop(command);
    let port = port_of(&mut running);
    for _ in 0..3 {
        assert_eq!(exchange(connect(port), b"hello\n"), REPLY);
    }
    wait_until("all children are reaped", || child_pids(running.pid()).is_empty());
    // these fill the rest of the page, and more
    for _ in 0..50 {
        assert_eq!(exchange(connect(port), b"hello\n"), REPLY);
    }
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    let mut log = String::new();
    reader.read_to_string(&mut log).expect("the log can be read");
    let events = ["start pid=", "message from client ", "end pid="];
    for event in events {
        assert!(log.matches(&format!("prise: {event}")).count() >= 3, "{event}: {log}");
    }
    assert!(log.starts_with("so far\nprise: listening ") && log.len() <= page as usize, "{log}");
}

fn it_serves_when_the_log_reaches_its_size_limit(reaper: Reaper) {
    let log = tempfile::NamedTempFile::new().expect("a file can be created");
    let script = format!("ulimit -c 0; ulimit -f 1; exec \"$@\" 2>{}", log.path().display());
    let mut running = start_piped(&mut serve_through(&["sh", "-c", &script, "sh"], reaper, &[], &[]));
    let port = port_of(&mut running);
    for _ in 0..20 {
        assert_eq!(exchange(connect(port), b"hello\n"), REPLY);
    }
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    // 512 or 1024 bytes: the unit of `ulimit -f` depends on the shell
    let size = log.as_file().metadata().expect("it is a file").len();
    assert!((512..=1024).contains(&size), "{size} bytes");
}

fn it_serves_after_the_logs_reader_has_gone(reaper: Reaper) {
    for program in [&[][..], &["cat"]] {
        let mut command = serve(reaper, &[], program);
        let stderr = broken_pipe();
        let mut running = start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr));
        let port = port_of(&mut running);
        for _ in 0..5 {
            let expected = if program.is_empty() { &REPLY[..] } else { b"hello\n" };
            assert_eq!(exchange(connect(port), b"hello\n"), expected);
        }
        wait_until("all children are reaped", || child_pids(running.pid()).is_empty());
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(running.wait().code(), Some(0));
    }
}

fn it_serves_with_stdin_stdout_and_stderr_closed(reaper: Reaper) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    for closed in [">&-", "2>&-", "<&-", "<&- >&- 2>&-"] {
        let script = format!("exec \"$@\" {closed}");
        let launcher = ["sh", "-c", &script, "sh"];
        let mut words = launcher.to_vec();
        words.extend([
            env!("CARGO_BIN_EXE_prise"),
            "serve",
            "--reaper",
            reaper.name(),
            &address,
            "--",
            "cat",
        ]);
        let mut running = start_piped(Command::new(words[0]).args(&words[1..]));
        let mut client = None;
        wait_until("the server listens", || {
            client = std::net::TcpStream::connect(("127.0.0.1", port)).ok();
            client.is_some()
        });
        assert_eq!(exchange(client.expect("the client has connected"), b"hello"), b"hello", "{closed}");
        assert_eq!(exchange(connect(port), b"hello"), b"hello", "{closed}");
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(running.wait().code(), Some(0), "{closed}");
    }
}

fn it_serves_without_a_writable_stdout() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let full = OpenOptions::new().write(true).open("/dev/full").expect("there is /dev/full");
    for stdout in [Stdio::from(full), Stdio::from(broken_pipe())] {
        let mut command = serve_through(&[], Reaper::Hint, &[&address], &["cat"]);
        // the address is among the options: remove the default address with port 0
        let arguments: Vec<_> =
            command.get_args().filter(|word| *word != "127.0.0.1:0").map(Into::into).collect();
        let arguments: Vec<std::ffi::OsString> = arguments;
        command = Command::new(command.get_program());
        let mut running =
            start(command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()));
        wait_until("the server listens", || running.stderr().contains("prise: listening "));
        assert_eq!(exchange(connect(port), b"hello"), b"hello");
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(running.wait().code(), Some(0));
    }
}

fn it_serves_while_nobody_reads_its_stdout() {
    let (_reader, writer) = std::io::pipe().expect("a pipe can be created");
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&writer, flags).unwrap();
    while nix::unistd::write(&writer, &[b'x'; 4096]).is_ok() {}
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prise"));
    command.args(["serve", &format!("127.0.0.1:{port}"), "--", "cat"]);
    let log = writer.try_clone().unwrap();
    let mut running = start(command.stdin(Stdio::null()).stdout(writer).stderr(log));
    wait_until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert_eq!(exchange(connect(port), b"hello"), b"hello");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
}
