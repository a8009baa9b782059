//! Checks of how the server starts and stops, and of its log.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};

use crate::check::experiment::{Experiment, io_error};
use crate::check::verdict::{Outcome, fails, fails_mended_by, holds, not_observable};
use crate::error::{Error, perror};
use crate::subject::system;
use crate::subject::{Subject, sleep, wait_until};
use crate::visible::visible_line;

/// SIGTERM while a child serves a client ends the server, and the child ends when its client has gone.
pub fn stops(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start_visible()?;
    let sockets = system::listening_sockets(server.port);
    let mut client = experiment.dial(&server)?;
    server.wait_until(Duration::from_millis(300), || !server.is_idle());
    experiment.step("server: kill(SIGTERM), while a client is connected");
    server.signal(Signal::SIGTERM);
    let at_once = server.wait_until(Duration::from_secs(1), || server.is_gone());
    let port_free = || !system::listens(server.port);
    // the port must be free at once, not only after the last clients: another server may start then
    let closed = || system::listening_sockets(server.port).iter().all(|socket| !sockets.contains(socket));
    let kept_open = at_once && !server.wait_until(Duration::from_millis(300), closed);
    client.send(experiment.message());
    client.half_close();
    experiment.read_answer(&server, &mut client);
    drop(client);
    if !server.wait_until(experiment.timeout(), || server.is_gone()) {
        return fails(
            "SIGTERM ends the server",
            format!("it is still running after {:?}", experiment.timeout()),
        );
    }
    if is_restarted(&server, &sockets) {
        experiment.step("its supervisor starts it again: kill(SIGTERM) to the supervisor");
        server.signal_leader(Signal::SIGTERM);
        return if server.wait_until(experiment.timeout(), || server.ended().is_some() && port_free()) {
            holds(
                "its supervisor starts it again; SIGTERM ends the supervisor too, and then the port is free",
            )
        } else {
            fails(
                "SIGTERM also ends the supervisor that starts it again, and the port is free",
                format!("it still listens after {:?}", experiment.timeout()),
            )
        };
    }
    // processes that a script started besides the server are among its idle ones, and need not end
    if !server.wait_until(experiment.timeout(), || server.is_idle()) {
        let seen = format!(
            "{} of its processes are still running after {:?}",
            server.live_descendants(),
            experiment.timeout()
        );
        let expected = "its children end once their clients are gone";
        return if port_free() {
            fails(expected, seen)
        } else {
            fails_mended_by(
                "_exit() at the end of the child, which must not return to accept()",
                expected,
                format!("{seen}, and accept clients"),
            )
        };
    }
    if kept_open || !server.wait_until(experiment.timeout(), port_free) {
        return fails_mended_by(
            "close(socket_desc) in the child after fork(); if the child execs: FD_CLOEXEC or SOCK_CLOEXEC",
            "its port is free once it has ended, although a child still serves a client",
            "the child has the listening socket open, and no process accepts clients",
        );
    }
    holds("the server and its child are gone, and the port is free")
}

/// Whether a supervisor has started the server again: another socket listens on the port.
fn is_restarted(server: &Subject, before: &[String]) -> bool {
    let another = || system::listening_sockets(server.port).iter().any(|socket| !before.contains(socket));
    server.wait_until(Duration::from_secs(1), || !server.is_supervised() || another());
    server.is_supervised() && another()
}

/// After it has served clients, the server can be restarted at once on its port.
pub fn restarts(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    let mut client = experiment.dial(&server)?;
    client.send(experiment.message());
    experiment.read_answer(&server, &mut client);
    // the silent client has sent nothing that could be left unread: its connection is closed without a reset, which
    // leaves it in TIME_WAIT
    let silent = experiment.dial(&server)?;
    server.wait_until(Duration::from_millis(300), || !server.has_work());
    let port = server.requested_port;
    server.signal(Signal::SIGTERM);
    server.wait_until(Duration::from_millis(300), || server.is_gone());
    drop(server);
    // the server's side closed first, so it goes into TIME_WAIT
    client.close_normally();
    silent.close_normally();
    let in_time_wait = wait_until(Duration::from_millis(300), || system::in_time_wait(port));
    experiment.step("the server is ended while a client is connected, and started again");
    match experiment.start_on(port, Stdio::null()) {
        Ok(_) if !in_time_wait => {
            not_observable("it leaves no connection in TIME_WAIT that could keep its port busy")
        }
        Ok(_) => holds(format!("listens on port {port} again at once, with a connection in TIME_WAIT")),
        Err(Error::NotStarted(why)) => fails("the server listens again at once", why),
        Err(error) => Err(error.into()),
    }
}

/// If its port is taken, the server ends with an exit status other than 0, or it waits, and serves once the port is
/// free.
pub fn port_taken(experiment: &Experiment<'_>) -> Outcome {
    let port = experiment.free_port();
    let Ok(holder) = TcpListener::bind(("0.0.0.0", port)) else {
        return not_observable(format!("the examiner cannot take port {port}"));
    };
    // also take the port for IPv6, in case the server listens only there; without IPv6 there is no such server
    let holder = (holder, hold_v6(port).ok());
    experiment.step(format!("another server listens on port {port}"));
    let mut server = experiment.spawn(port, Stdio::null(), Stdio::null())?;
    server.wait_until(experiment.timeout(), || server.ended().is_some());
    let expected = "it ends, with an exit status that is not 0";
    if let Some(status) = server.ended() {
        return if status.success() { fails(expected, status) } else { holds(status) };
    }
    let ticks = system::cpu_ticks(server.pid).unwrap_or(0);
    if system::listens(port.swap_bytes()) {
        return not_observable("it listens on another port");
    }
    drop(holder);
    if server.wait_listening(experiment.timeout()) && experiment.serves(&server) {
        return holds("it waited until the port was free, and then served");
    }
    fails(
        expected,
        format!(
            "it is still running after {:?}, has used {} ms of CPU, and serves nobody on that port",
            experiment.timeout(),
            ticks * 10
        ),
    )
}

/// Listen on a port for IPv6 only.
fn hold_v6(port: u16) -> nix::Result<OwnedFd> {
    let holder = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::empty(), None)?;
    fcntl(&holder, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    setsockopt(&holder, sockopt::Ipv6V6Only, &true)?;
    bind(holder.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))))?;
    listen(&holder, Backlog::new(1)?)?;
    Ok(holder)
}

/// With stdout redirected to a pipe, no line is printed more often than on a terminal.
pub fn log_once(experiment: &Experiment<'_>) -> Outcome {
    let mut on_terminal = log_on_terminal(experiment)?;
    let begun = Instant::now();
    let on_pipe = log_on_pipe(experiment, &mut serve_three)?;
    let took = begun.elapsed();
    if on_terminal.is_empty() && on_pipe.is_empty() {
        return not_observable("it prints nothing on stdout");
    }
    let mut repeated = find_repeated(&on_pipe, &on_terminal);
    if repeated.is_some() {
        // the server may print this line periodically: run it on a terminal again, and without clients
        on_terminal = log_on_terminal(experiment)?;
        let idle = log_on_pipe(experiment, &mut |_, server, _| {
            server.wait_until(took, || server.ended().is_some());
        })?;
        let periodic =
            |line: &String| 2 * count_similar(&on_pipe, line) <= 3 * count_similar(&idle, line) + 2;
        repeated = find_repeated(&on_pipe, &on_terminal).filter(|line| !periodic(line));
    }
    let flood = |lines: &[String]| lines.iter().map(String::len).sum::<usize>() > FLOOD;
    if repeated.is_some() && (flood(&on_pipe) || flood(&on_terminal)) {
        return not_observable("it prints more than a terminal buffers");
    }
    match repeated {
        None => holds(format!(
            "{} lines on a terminal, {} on a pipe, and none more often on the pipe",
            on_terminal.len(),
            on_pipe.len()
        )),
        Some(line) => fails(
            "a line is printed as often on a pipe as on a terminal",
            format!(
                "\"{}\" {} times for 3 clients, {} on a terminal",
                visible_line(&line.as_bytes()[..line.len().min(100)]),
                count_similar(&on_pipe, &line),
                count_similar(&on_terminal, &line)
            ),
        ),
    }
}

/// How often this exact line appears.
fn count_identical(lines: &[String], line: &str) -> usize {
    lines.iter().filter(|one| *one == line).count()
}

/// How often this line appears, if different numbers in it, such as a time, a port or a count, are ignored.
fn count_similar(lines: &[String], line: &str) -> usize {
    let wanted = without_numbers(line);
    lines.iter().filter(|one| without_numbers(one) == wanted).count()
}

/// Find a line that appears more often on the pipe than on the terminal, and more than once. Copies that fork() makes
/// are identical, byte for byte. The line must also appear more often when numbers are ignored: a line with a time is
/// different each time. And it must appear on the terminal: a server may print different lines there.
fn find_repeated(on_pipe: &[String], on_terminal: &[String]) -> Option<String> {
    let is_repeated = |line: &&String| {
        let similar = count_similar(on_terminal, line);
        similar > 0
            && count_identical(on_pipe, line) > count_identical(on_terminal, line).max(1)
            && count_similar(on_pipe, line) > similar
    };
    on_pipe.iter().find(is_repeated).cloned()
}

/// More bytes than this may not fit in a terminal's buffer.
const FLOOD: usize = 2000;

fn log_on_terminal(experiment: &Experiment<'_>) -> Result<Vec<String>, Error> {
    let terminal = openpty(None, None).map_err(perror("openpty"))?;
    capture_log(experiment, File::from(terminal.master), terminal.slave.into(), &mut serve_three)
}

fn log_on_pipe(experiment: &Experiment<'_>, scenario: Scenario) -> Result<Vec<String>, Error> {
    let (reader, writer) = std::io::pipe().map_err(|error| io_error("pipe", &error))?;
    capture_log(experiment, File::from(OwnedFd::from(reader)), writer.into(), scenario)
}

/// What happens while the server's output is captured. It calls its last argument now and then, to read the output.
type Scenario<'a> = &'a mut dyn FnMut(&Experiment<'_>, &Subject, &mut dyn FnMut());

/// The lines that the server prints during a scenario.
fn capture_log(
    experiment: &Experiment<'_>,
    reader: File,
    stdout: Stdio,
    scenario: Scenario,
) -> Result<Vec<String>, Error> {
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(perror("fcntl"))?;
    let server = experiment.start_with_stdout(stdout)?;
    let mut printed = Vec::new();
    scenario(experiment, &server, &mut || drain(&reader, &mut printed));
    server.signal(Signal::SIGTERM);
    sleep(Duration::from_millis(300));
    drain(&reader, &mut printed);
    drop(server);
    drain(&reader, &mut printed);
    let text = without_colours(&String::from_utf8_lossy(&printed)).replace('\r', "");
    // ignore lines without any letter or digit, such as blank ones
    Ok(text
        .lines()
        .filter(|line| line.bytes().any(|byte| byte.is_ascii_alphanumeric()))
        .map(String::from)
        .collect())
}

/// Three clients connect, one after the other.
fn serve_three(experiment: &Experiment<'_>, server: &Subject, read: &mut dyn FnMut()) {
    for _ in 0..3 {
        experiment.serves(server);
        // wait until the client's child is reaped, so that a server that logs its number of clients logs the same one
        server.wait_until(Duration::from_millis(500), || server.is_idle() && server.zombies() == 0);
        read();
    }
    server.wait_until(Duration::from_secs(3), || server.is_idle());
    // wait until it has reaped its last child, which it may log
    server.wait_until(Duration::from_millis(500), || server.zombies() == 0);
    server.wait_until(Duration::from_millis(500), || !server.has_work());
}

/// The line with each number replaced by `N`.
fn without_numbers(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '0'..='9' if text.ends_with('N') => {}
            '0'..='9' => text.push('N'),
            c => text.push(c),
        }
    }
    text
}

/// The text without terminal control sequences, such as colours: ESC [ … m.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |plain, part| {
        plain + part.trim_start_matches(|c| matches!(c, ' '..='?')).get(1..).unwrap_or("")
    })
}

fn drain(mut reader: &File, printed: &mut Vec<u8>) {
    let mut piece = [0; 4096];
    // stop at a million bytes: a server may print without end
    while let Ok(n @ 1..) = reader.read(&mut piece) {
        if printed.len() < 1_000_000 {
            printed.extend_from_slice(&piece[..n]);
        } else {
            break;
        }
    }
}
