//! Checks of how the server begins and ends, and of what it says meanwhile.

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
use crate::check::verdict::{Outcome, fails, fails_unless, holds, not_observable};
use crate::error::{Error, perror};
use crate::subject::system;
use crate::subject::{Subject, pass, wait_until};
use crate::visible::visible_line;

/// Told to end while a child is at work, it ends, and so does the child with its client.
pub fn stops(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start_in_sight()?;
    let sockets = system::listening_sockets(server.port);
    let mut client = experiment.dial(&server)?;
    server.wait_until(Duration::from_millis(300), || !server.is_at_rest());
    experiment.step("server: kill(SIGTERM), while a client is connected");
    server.signal(Signal::SIGTERM);
    let at_once = server.wait_until(Duration::from_secs(1), || server.is_gone());
    // while its last clients are served, the next server may begin
    let free = || !system::listens(server.port);
    let given_up = || system::listening_sockets(server.port).iter().all(|socket| !sockets.contains(socket));
    let kept = at_once && !server.wait_until(Duration::from_millis(300), given_up);
    client.send(experiment.message());
    client.half_close();
    experiment.read_answer(&server, &mut client);
    drop(client);
    if !server.wait_until(experiment.timeout(), || server.is_gone()) {
        return fails(
            "SIGTERM ends the server",
            format!("it is still there after {:?}", experiment.timeout()),
        );
    }
    if is_started_again(&server, &sockets) {
        experiment.step("it is started again: kill(SIGTERM) to the process that does that");
        server.signal_leader(Signal::SIGTERM);
        return if server.wait_until(experiment.timeout(), || server.ended().is_some() && free()) {
            holds("it is started again, until who does that is told to end, too: then the port is free")
        } else {
            fails(
                "SIGTERM ends who starts it again, too",
                format!("it listens after {:?}", experiment.timeout()),
            )
        };
    }
    // what a script has started beside it is not its own to end
    if !server.wait_until(experiment.timeout(), || server.is_at_rest()) {
        let seen =
            format!("{} of its processes are there after {:?}", server.busy_children(), experiment.timeout());
        let expected = "its children end once their clients are gone";
        return if free() {
            fails(expected, seen)
        } else {
            fails_unless(
                "_exit() at the end of the child, which must not come back to accept()",
                expected,
                format!("{seen}, and accept clients"),
            )
        };
    }
    if kept || !server.wait_until(experiment.timeout(), free) {
        return fails_unless(
            "close(socket_desc) in the child after fork(); what execs: FD_CLOEXEC, or SOCK_CLOEXEC",
            "its port is free once it has ended, though a child is still at work",
            "the child has the listening socket open, and nobody accepts there",
        );
    }
    holds("the server and its child are gone, and the port is free")
}

/// Whether the server has ended and another listens in its place, since its supervisor has seen to that.
fn is_started_again(server: &Subject, before: &[String]) -> bool {
    let another = || system::listening_sockets(server.port).iter().any(|socket| !before.contains(socket));
    server.wait_until(Duration::from_secs(1), || !server.is_supervised() || another());
    server.is_supervised() && another()
}

/// Having served, the server can be started again at once on its port.
pub fn restarts(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    let mut client = experiment.dial(&server)?;
    client.send(experiment.message());
    experiment.read_answer(&server, &mut client);
    // a server that ends with unread bytes resets, and only an end in order leaves TIME_WAIT
    let silent = experiment.dial(&server)?;
    server.wait_until(Duration::from_millis(300), || !server.has_work());
    let port = server.asked;
    server.signal(Signal::SIGTERM);
    server.wait_until(Duration::from_millis(300), || server.is_gone());
    drop(server);
    // the server's side was the first to close, and goes into TIME_WAIT
    client.close_in_order();
    silent.close_in_order();
    let waits = wait_until(Duration::from_millis(300), || system::in_time_wait(port));
    experiment.step("the server is ended while a client is connected, and is started again");
    match experiment.start_on(port, Stdio::null()) {
        Ok(_) if !waits => not_observable("it leaves no connection in TIME_WAIT, which could keep its port"),
        Ok(_) => holds(format!("listens on port {port} again at once, with a connection in TIME_WAIT")),
        Err(Error::NotStarted(why)) => fails("the server listens again at once", why),
        Err(error) => Err(error.into()),
    }
}

/// Its port taken, it ends and its exit status says so; or it waits, and serves once the port is free.
pub fn port_taken(experiment: &Experiment<'_>) -> Outcome {
    let port = experiment.free_port();
    let Ok(holder) = TcpListener::bind(("0.0.0.0", port)) else {
        return not_observable(format!("port {port} cannot be had"));
    };
    // a server of IPv6 alone is in nobody's way otherwise; no IPv6, no such server
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
        return holds("it waited until the port was free, and served");
    }
    fails(
        expected,
        format!(
            "it is there after {:?}, has used {} ms of CPU, and serves nobody on that port",
            experiment.timeout(),
            ticks * 10
        ),
    )
}

/// Take a port of IPv6 alone.
fn hold_v6(port: u16) -> nix::Result<OwnedFd> {
    let holder = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::empty(), None)?;
    fcntl(&holder, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    setsockopt(&holder, sockopt::Ipv6V6Only, &true)?;
    bind(holder.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))))?;
    listen(&holder, Backlog::new(1)?)?;
    Ok(holder)
}

/// With stdout redirected, nothing is printed more often than on a terminal.
pub fn log_once(experiment: &Experiment<'_>) -> Outcome {
    let mut on_terminal = log_on_terminal(experiment)?;
    let begun = Instant::now();
    let on_pipe = log_on_pipe(experiment, &mut serve_three)?;
    let took = begun.elapsed();
    if on_terminal.is_empty() && on_pipe.is_empty() {
        return not_observable("it prints nothing on stdout");
    }
    let mut repeated = more_often(&on_pipe, &on_terminal);
    if repeated.is_some() {
        // what a clock has the server say comes as often as it happens: on a terminal too, and without any client
        on_terminal = log_on_terminal(experiment)?;
        let idle = log_on_pipe(experiment, &mut |_, server, _| {
            server.wait_until(took, || server.ended().is_some());
        })?;
        let clockwork = |line: &String| 2 * alike(&on_pipe, line) <= 3 * alike(&idle, line) + 2;
        repeated = more_often(&on_pipe, &on_terminal).filter(|line| !clockwork(line));
    }
    let flood = |lines: &[String]| lines.iter().map(String::len).sum::<usize>() > FLOOD;
    if repeated.is_some() && (flood(&on_pipe) || flood(&on_terminal)) {
        return not_observable("it prints more than a terminal takes at once");
    }
    match repeated {
        None => holds(format!(
            "{} lines on a terminal, {} on a pipe, none of them more often",
            on_terminal.len(),
            on_pipe.len()
        )),
        Some(line) => fails(
            "a line is printed as often on a pipe as on a terminal",
            format!(
                "\"{}\" {} times for 3 clients, {} on a terminal",
                visible_line(&line.as_bytes()[..line.len().min(100)]),
                alike(&on_pipe, &line),
                alike(&on_terminal, &line)
            ),
        ),
    }
}

/// How often a line comes.
fn same(lines: &[String], line: &str) -> usize {
    lines.iter().filter(|one| *one == line).count()
}

/// The same, where a time, a port or a count makes no other line of it.
fn alike(lines: &[String], line: &str) -> usize {
    let wanted = without_numbers(line);
    lines.iter().filter(|one| without_numbers(one) == wanted).count()
}

/// A line that comes more often here than there, and more than once. What fork() has copied is the same to the byte;
/// what has a time in it is another line each time, here as there. A line that never came there proves nothing: a server
/// may word it otherwise on a terminal.
fn more_often(here: &[String], there: &[String]) -> Option<String> {
    let more = |line: &&String| {
        let said = alike(there, line);
        said > 0 && same(here, line) > same(there, line).max(1) && alike(here, line) > said
    };
    here.iter().find(more).cloned()
}

/// More than a terminal keeps for its reader.
const FLOOD: usize = 2000;

fn log_on_terminal(experiment: &Experiment<'_>) -> Result<Vec<String>, Error> {
    let terminal = openpty(None, None).map_err(perror("openpty"))?;
    log_of(experiment, File::from(terminal.master), terminal.slave.into(), &mut serve_three)
}

fn log_on_pipe(experiment: &Experiment<'_>, while_it: While) -> Result<Vec<String>, Error> {
    let (reader, writer) = std::io::pipe().map_err(|error| io_error("pipe", &error))?;
    log_of(experiment, File::from(OwnedFd::from(reader)), writer.into(), while_it)
}

/// What happens while a server is listened to; what it prints is to be read now and then.
type While<'a> = &'a mut dyn FnMut(&Experiment<'_>, &Subject, &mut dyn FnMut());

/// What the server prints while something happens, line by line.
fn log_of(
    experiment: &Experiment<'_>,
    reader: File,
    stdout: Stdio,
    while_it: While,
) -> Result<Vec<String>, Error> {
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(perror("fcntl"))?;
    let server = experiment.start_printing_to(stdout)?;
    let mut printed = Vec::new();
    while_it(experiment, &server, &mut || drain(&reader, &mut printed));
    server.signal(Signal::SIGTERM);
    pass(Duration::from_millis(300));
    drain(&reader, &mut printed);
    drop(server);
    drain(&reader, &mut printed);
    let text = without_colours(&String::from_utf8_lossy(&printed)).replace('\r', "");
    // lines without a word, such as a blank one, may come as they please
    Ok(text
        .lines()
        .filter(|line| line.bytes().any(|byte| byte.is_ascii_alphanumeric()))
        .map(String::from)
        .collect())
}

/// Three clients come, one after the other.
fn serve_three(experiment: &Experiment<'_>, server: &Subject, read: &mut dyn FnMut()) {
    for _ in 0..3 {
        experiment.serves(server);
        // a server that logs how many clients it has logs the same each time, if they come one by one
        server.wait_until(Duration::from_millis(500), || server.is_at_rest() && server.zombies() == 0);
        read();
    }
    server.wait_until(Duration::from_secs(3), || server.is_at_rest());
    // it may have to say that its last child has ended
    server.wait_until(Duration::from_millis(500), || server.zombies() == 0);
    server.wait_until(Duration::from_millis(500), || !server.has_work());
}

/// A line with each number in it as `N`.
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

/// A text without what colours it on a terminal, ESC [ … m and its like.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |plain, part| {
        plain + part.trim_start_matches(|c| matches!(c, ' '..='?')).get(1..).unwrap_or("")
    })
}

fn drain(mut reader: &File, printed: &mut Vec<u8>) {
    let mut piece = [0; 4096];
    // a server that floods its log is not read to the end of it
    while let Ok(n @ 1..) = reader.read(&mut piece) {
        if printed.len() < 1_000_000 {
            printed.extend_from_slice(&piece[..n]);
        } else {
            break;
        }
    }
}
