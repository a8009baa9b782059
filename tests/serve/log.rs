//! Exit codes, and every line: what it says, that it is one write, and that nobody waits for its reader.

use std::fs::OpenOptions;
use std::io::{PipeReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::fchown;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use regex::Regex;

use crate::fixture::{
    REPLY, Reaper, Server, Status, assert_closed, finish, is_root, offspring, port_in, reset, serve,
    serve_under,
};
use crate::strace::{Follow, Strace, can_attach};
use crate::support::{
    Running, Stream, broken_pipe, connect, free_port, has, skipped, start, start_piped, wait_until,
};
use crate::watch::Watch;

trials!(
    both: every_line_is_as_documented,
        every_line_is_one_write,
        a_log_that_nobody_reads_stops_nothing_and_lost_lines_are_counted,
        a_log_whose_reader_has_gone_stops_nothing,
        lines_that_children_lose_are_counted,
        a_pipe_that_children_fill_cannot_hold_the_server_up,
        a_pipe_of_another_user_is_not_waited_for,
        a_log_that_may_not_grow_stops_nothing,
        it_serves_with_stdin_stdout_and_stderr_closed;
    once: what_is_asked_wrongly_is_100,
        what_is_wrong_is_named,
        a_call_that_fails_at_the_start_is_111,
        a_stdout_that_cannot_be_written_stops_nothing,
        a_stdout_that_nobody_reads_stops_nothing;
);

/// A server that does not begin: its exit code, and what it said.
#[track_caller]
fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prise"));
    let mut running = start_piped(command.arg("serve").args(arguments));
    let status = running.wait();
    assert_eq!(running.all_stdout(), b"", "{arguments:?}");
    (status.code(), String::from_utf8_lossy(&running.all_stderr()).into_owned())
}

fn what_is_asked_wrongly_is_100() {
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
        // neither a folder, nor nothing, nor what is not executable is a program
        &["127.0.0.1:0", "--", "/"],
        &["127.0.0.1:0", "--", ""],
        &["127.0.0.1:0", "--", file.path().to_str().unwrap()],
        &["[::zz]:0"],
        &["[fe80::1%no-such-interface]:0"],
        &["--proxy-protocol", "10.0.0.0/+8", "0"],
        &["--user", "4242", "127.0.0.1:0"],
        &["--user", "4294967295:0", "127.0.0.1:0"],
        // as where a script's variable is empty
        &["127.0.0.1:0", "--"],
    ] {
        let (code, stderr) = fails(arguments);
        assert_eq!(code, Some(100), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
}

fn what_is_wrong_is_named() {
    for (arguments, why) in [
        (&["[::1]"][..], "a port is missing: [::1]:PORT"),
        (&["[]:0"], "'' is not an IPv6 address"),
        (&["--rate", "1/99999999999999999999", "0"], "SECONDS must be a whole number from 1 to 1844"),
        (&["127.0.0.1:0", "--", ""], "no program has an empty name: No such file or directory"),
    ] {
        let (code, stderr) = fails(arguments);
        assert_eq!(code, Some(100), "{arguments:?}: {stderr}");
        assert!(stderr.contains(why), "{arguments:?}: {stderr}");
    }
}

fn a_call_that_fails_at_the_start_is_111() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stderr) = fails(&[&address]);
    assert_eq!(code, Some(111));
    assert_eq!(stderr, format!("prise serve: bind {address}: Address already in use\n"));
    let (code, stderr) = fails(&["192.0.2.1:0"]);
    assert_eq!(code, Some(111));
    assert_eq!(stderr, "prise serve: bind 192.0.2.1:0: Cannot assign requested address\n");
}

/// Every line that there is.
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
    wait_until("it sleeps", || offspring(server.pid()).iter().any(|&pid| !offspring(pid).is_empty()));
    reset(gone);
    server.wait_log(" why=client-gone\n");
    server.at_rest();
    assert_closed(&mut { crate::caps::connect_from("127.0.0.2", server.port).into_half_closed() });
    let _held = [server.connect(), server.connect()];
    server.wait_children(2);
    server.wait_log("prise: paused why=max-children live=2/2\n");
    server.status();
    let mut log = server.stop();
    // what a server with other options says
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::start(reaper, &["--chroot", root.path().to_str().unwrap()], &[]);
    root.close().unwrap();
    assert_closed(&mut server.connect());
    server.at_rest();
    log += &server.stop();
    let mut server = Server::start(reaper, &[], &[]);
    assert_eq!(server.ask(b"hello\x1b[2J\x07\nprise: start pid=1\n"), REPLY);
    server.at_rest();
    log += &server.stop();
    if can_attach() {
        let mut server = Server::start(reaper, &[], &["cat"]);
        let mut strace = Strace::attach(server.pid(), Follow::Parent, "accept4", "error=ENFILE:when=1");
        assert_eq!(server.ask(b"hello"), b"hello");
        server.wait_children(0);
        strace.detach();
        server.at_rest();
        log += &server.stop();
        assert!(log.contains("paused why=ENFILE") && log.contains("resumed"), "{log}");
    }
    let lines = LINES.map(|line| Regex::new(&format!("^prise: {line}$")).expect("a regular expression"));
    for line in log.lines() {
        assert_eq!(lines.iter().filter(|known| known.is_match(line)).count(), 1, "{line}");
    }
    for (known, line) in lines.iter().zip(LINES) {
        assert!(log.lines().any(|said| known.is_match(said)), "no {line} in {log}");
    }
    assert!(log.ends_with('\n'));
}

trait HalfClosed {
    fn into_half_closed(self) -> Self;
}

impl HalfClosed for std::net::TcpStream {
    fn into_half_closed(self) -> Self {
        self.shutdown(std::net::Shutdown::Write).expect("a connection can be half-closed");
        self
    }
}

fn every_line_is_one_write(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    // a child says a line, too
    let mut server = Server::start(reaper, &["--per-ip", "2", "--nofile", "30"], &[]);
    server.wait_log("prise: listening .*\n");
    let before = server.log().lines().count();
    let watch = Watch::attach(server.pid(), "write,writev,pwritev2");
    let held = [server.connect(), server.connect()];
    server.wait_children(2);
    assert_closed(&mut server.connect());
    for client in held {
        assert_eq!(finish(client, &[b'\x01'; 254]), REPLY);
    }
    server.at_rest();
    let writes = watch.detach();
    let log = server.log();
    let written: Vec<&str> = writes
        .iter()
        .filter_map(|(_, call)| {
            let written = call.strip_prefix("write(2, \"");
            written.or_else(|| call.strip_prefix("pwritev2(2, [{iov_base=\""))?.split('"').next()
        })
        .collect();
    // strace shows so many bytes of each
    assert_eq!(written.len(), log.lines().count() - before, "{writes:#?}");
    for text in &written {
        assert!(text.starts_with("prise: "), "{text}");
        assert_eq!(text.matches("\\n").count(), usize::from(text.len() < 380), "{text}");
    }
    assert!(!writes.iter().any(|(_, call)| call.starts_with("writev(2")), "{writes:#?}");
    server.stop();
}

/// Start a server with its log on a pipe that nobody reads for now.
fn start_unread(command: &mut Command) -> (Running, PipeReader, u16) {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let mut running = start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer));
    // the command holds the pipe's other end
    command.stderr(Stdio::null());
    let port = port_of(&mut running);
    (running, reader, port)
}

/// The port that a server prints.
fn port_of(running: &mut Running) -> u16 {
    running.wait_stdout("\n");
    port_in(&running.stdout())
}

fn a_log_that_nobody_reads_stops_nothing_and_lost_lines_are_counted(reaper: Reaper) {
    // the program says nothing: its lines would not be the server's to count
    let mut command = serve(reaper, &["--per-ip", "1"], &["cat"]);
    let (mut running, reader, port) = start_unread(&mut command);
    let held = connect(port);
    wait_until("it is served", || offspring(running.pid()).len() == 1);
    // each is refused with a line of 50 bytes; a pipe holds 64 KiB
    for _ in 0..2000 {
        assert_closed(&mut connect(port));
    }
    assert_eq!(finish(held, b"held"), b"held");
    wait_until("it is reaped", || offspring(running.pid()).is_empty());
    assert_eq!(finish(connect(port), b"hello"), b"hello");
    wait_until("it is reaped", || offspring(running.pid()).is_empty());
    // now somebody reads
    let mut reader = Stream::new(reader);
    wait_until("there is room in the pipe", || reader.so_far().len() >= 32_768);
    running.signal(nix::sys::signal::Signal::SIGUSR1);
    let mut log = String::new();
    wait_until("the status is logged", || {
        log = String::from_utf8_lossy(reader.so_far()).into_owned();
        log.contains("prise: status ") && log.ends_with('\n')
    });
    let (before, status) = log.split_at(log.find("prise: status ").expect("it is there"));
    let status = Status::of(status.lines().next().expect("a line"));
    status.assert_adds_up();
    assert_eq!((status.refused, status.ended), (2000, 2));
    let written = before.lines().count() as u64;
    assert!(status.lost > 500, "{status:?}");
    // one of listening, two of start, two of end, and what was refused
    assert_eq!(written + status.lost, 1 + 2 + 2 + 2000, "{status:?}");
    assert!(before.lines().all(|line| line.starts_with("prise: ")), "{before}");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
}

fn lines_that_children_lose_are_counted(reaper: Reaper) {
    let (mut running, reader, port) = start_unread(&mut serve(reaper, &[], &[]));
    // each is three lines; a pipe holds 64 KiB
    for _ in 0..700 {
        assert_eq!(finish(connect(port), b"hello\n"), REPLY);
    }
    wait_until("all are reaped", || offspring(running.pid()).is_empty());
    let mut reader = Stream::new(reader);
    wait_until("there is room in the pipe", || reader.so_far().len() >= 32_768);
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    let log = String::from_utf8_lossy(reader.read_to_end()).into_owned();
    let (before, stopped) = log.split_at(log.find("prise: stopping ").expect("it is there"));
    let lost = stopped.trim_end().rsplit_once("lost-lines=").and_then(|(_, lost)| lost.parse().ok());
    let lost: usize = lost.expect("a number of lines");
    assert!(!before.contains("failed"), "{before}");
    assert!(before.matches("prise: message from client ").count() < 690, "{before}");
    assert_eq!(before.lines().count() + lost, 1 + 3 * 700, "{stopped}");
}

/// The flags of a process's stderr, as fcntl(2) gives them.
fn stderr_flags(pid: u32) -> i32 {
    let told = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/2")).expect("stderr is open");
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
    i32::from_str_radix(flags.expect("flags are told").trim(), 8).expect("in octal")
}

fn a_pipe_that_children_fill_cannot_hold_the_server_up(reaper: Reaper) {
    let mut command = serve(reaper, &[], &["sh", "-c", "yes >&2 & cat"]);
    let (mut running, reader, port) = start_unread(&mut command);
    let flood = connect(port);
    // between a look at the pipe and a write to it, a child may take the last room: the server's never waits
    let nonblocking = nix::libc::O_NONBLOCK;
    wait_until("the child executes its program", || {
        offspring(running.pid()).iter().any(|&child| !offspring(child).is_empty())
    });
    assert_ne!(stderr_flags(running.pid()) & nonblocking, 0);
    // a program's does, as it expects
    assert_eq!(stderr_flags(offspring(running.pid())[0]) & nonblocking, 0);
    for _ in 0..20 {
        let mut client = connect(port);
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).expect("it is served");
        reset(client);
    }
    drop(reader);
    assert_eq!(finish(flood, b"hello"), b"hello");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
}

fn a_pipe_of_another_user_is_not_waited_for(reaper: Reaper) {
    if !is_root() || !has("setpriv", "util-linux") {
        return;
    }
    let release =
        nix::sys::utsname::uname().expect("a system has a name").release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(6), Some(4)) {
        return skipped("such a pipe may be waited for before Linux 6.4");
    }
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    // one page, where something stands: as a look at it tells, there is no room for more; as a write does, there is
    let page = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a pipe can be small");
    (&writer).write_all(b"so far\n").expect("there is room");
    // root, but for the capability to open what is another's
    fchown(&writer, Some(61_731), None).expect("root may give a pipe away");
    let launcher = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"];
    let mut command = serve_under(&launcher, reaper, &[], &[]);
    let mut running = start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer));
    drop(command);
    let port = port_of(&mut running);
    for _ in 0..3 {
        assert_eq!(finish(connect(port), b"hello\n"), REPLY);
    }
    wait_until("all are reaped", || offspring(running.pid()).is_empty());
    // the rest of the page, and more
    for _ in 0..50 {
        assert_eq!(finish(connect(port), b"hello\n"), REPLY);
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

fn a_log_that_may_not_grow_stops_nothing(reaper: Reaper) {
    let log = tempfile::NamedTempFile::new().expect("a file can be made");
    let script = format!("ulimit -c 0; ulimit -f 1; exec \"$@\" 2>{}", log.path().display());
    let mut running = start_piped(&mut serve_under(&["sh", "-c", &script, "sh"], reaper, &[], &[]));
    let port = port_of(&mut running);
    for _ in 0..20 {
        assert_eq!(finish(connect(port), b"hello\n"), REPLY);
    }
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    // 512 or 1024 bytes, as the shell counts
    let size = log.as_file().metadata().expect("it is a file").len();
    assert!((512..=1024).contains(&size), "{size} bytes");
}

fn a_log_whose_reader_has_gone_stops_nothing(reaper: Reaper) {
    for program in [&[][..], &["cat"]] {
        let mut command = serve(reaper, &[], program);
        let stderr = broken_pipe();
        let mut running = start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr));
        let port = port_of(&mut running);
        for _ in 0..5 {
            let expected = if program.is_empty() { &REPLY[..] } else { b"hello\n" };
            assert_eq!(finish(connect(port), b"hello\n"), expected);
        }
        wait_until("all are reaped", || offspring(running.pid()).is_empty());
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
        wait_until("it listens", || {
            client = std::net::TcpStream::connect(("127.0.0.1", port)).ok();
            client.is_some()
        });
        assert_eq!(finish(client.expect("it has connected"), b"hello"), b"hello", "{closed}");
        assert_eq!(finish(connect(port), b"hello"), b"hello", "{closed}");
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(running.wait().code(), Some(0), "{closed}");
    }
}

fn a_stdout_that_cannot_be_written_stops_nothing() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let full = OpenOptions::new().write(true).open("/dev/full").expect("there is /dev/full");
    for stdout in [Stdio::from(full), Stdio::from(broken_pipe())] {
        let mut command = serve_under(&[], Reaper::Hint, &[&address], &["cat"]);
        // the port stands where the options do, and no other is added
        let arguments: Vec<_> =
            command.get_args().filter(|word| *word != "127.0.0.1:0").map(Into::into).collect();
        let arguments: Vec<std::ffi::OsString> = arguments;
        command = Command::new(command.get_program());
        let mut running =
            start(command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()));
        wait_until("it listens", || running.stderr().contains("prise: listening "));
        assert_eq!(finish(connect(port), b"hello"), b"hello");
        running.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(running.wait().code(), Some(0));
    }
}

fn a_stdout_that_nobody_reads_stops_nothing() {
    let (_reader, writer) = std::io::pipe().expect("a pipe can be made");
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&writer, flags).unwrap();
    while nix::unistd::write(&writer, &[b'x'; 4096]).is_ok() {}
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prise"));
    command.args(["serve", &format!("127.0.0.1:{port}"), "--", "cat"]);
    let log = writer.try_clone().unwrap();
    let mut running = start(command.stdin(Stdio::null()).stdout(writer).stderr(log));
    wait_until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert_eq!(finish(connect(port), b"hello"), b"hello");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
}
