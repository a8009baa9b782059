//! Checks of what the server does when something goes wrong.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::Signal;

use crate::check::experiment::{Experiment, io_error};
use crate::check::peer::Peer;
use crate::check::subject::{Subject, wait_until};
use crate::check::system;
use crate::check::verdict::{Outcome, fails, holds, not_observable};
use crate::error::Error;
use crate::ffi::{Resource, prlimit};

/// What all that survive have in common.
fn survived(lab: &Experiment<'_>, server: &mut Subject, what: &str) -> Outcome {
    let expected = format!("the next client is served after {what}");
    if let Some(status) = server.ended() {
        return fails(expected, format!("the server has ended: {status}"));
    }
    if lab.serves(server) {
        holds(format!("served the next client after {what}"))
    } else {
        fails(expected, "no answer")
    }
}

/// Signals and stops cut calls short, in the parent and in a child.
pub fn interrupted_calls(lab: &Experiment<'_>) -> Outcome {
    let mut server = lab.start()?;
    let greets = lab.greets(&server);
    let mut client = lab.dial(&server)?;
    wait_until(Duration::from_millis(300), || !server.descendants().is_empty());
    lab.step("kill(SIGCHLD), kill(SIGSTOP), kill(SIGCONT), to the server and to its child, five times");
    for _ in 0..5 {
        for pid in server.descendants().iter().map(|child| child.pid).chain([server.pid]) {
            for signal in [Signal::SIGCHLD, Signal::SIGSTOP, Signal::SIGCONT] {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
            }
        }
        wait_until(Duration::from_millis(10), || false);
    }
    client.send(lab.message());
    let answer = lab.hear(&mut client);
    if !greets && !lab.is_answer(&answer.bytes) {
        return fails("the child whose read() was interrupted answers", answer.describe());
    }
    survived(lab, &mut server, "SIGCHLD and stops, to parent and child")
}

/// A client that resets the connection in the middle of its message.
pub fn reset_client(lab: &Experiment<'_>) -> Outcome {
    let mut server = lab.start()?;
    for _ in 0..5 {
        if let Ok(mut peer) = lab.dial(&server) {
            peer.send(&lab.message()[..lab.message().len().min(1)]);
            peer.reset();
        }
    }
    lab.step("five clients write() a byte, and reset the connection");
    survived(lab, &mut server, "five resets")
}

/// A client that is gone before the server accepts it.
pub fn vanished_client(lab: &Experiment<'_>) -> Outcome {
    let mut server = lab.start()?;
    server.signal(Signal::SIGSTOP);
    for _ in 0..3 {
        if let Ok(peer) = Peer::dial(server.port, lab.timeout()) {
            peer.reset();
        }
    }
    server.signal(Signal::SIGCONT);
    lab.step("three clients connect and reset while the server is stopped");
    survived(lab, &mut server, "three clients that vanished before accept()")
}

/// Having served, the server can be started again at once on its port.
pub fn restarts(lab: &Experiment<'_>) -> Outcome {
    let mut server = lab.start()?;
    let mut client = lab.dial(&server)?;
    client.send(lab.message());
    lab.hear(&mut client);
    // where the server closes first, its side of the connection goes into TIME_WAIT
    let port = server.port;
    client.close_in_order();
    server.signal(Signal::SIGTERM);
    wait_until(lab.timeout(), || server.ended().is_some());
    drop(server);
    lab.step("the server has served a client, and is started again");
    match lab.start_on(port, Stdio::null()) {
        Ok(_) => holds(format!("listens on port {port} again at once")),
        Err(Error::NotStarted(why)) => fails("the server listens again at once", why),
        Err(error) => Err(error.into()),
    }
}

/// Out of descriptors, it waits without burning the CPU, and goes on when there are some.
pub fn out_of_descriptors(lab: &Experiment<'_>) -> Outcome {
    let mut server = lab.start()?;
    lab.serves(&server);
    let Some(next) = system::next_descriptor(server.pid) else {
        return not_observable("/proc cannot be read");
    };
    let Ok(limit) = prlimit(server.pid, Resource::Descriptors, next) else {
        return not_observable("this user may not limit the server's descriptors");
    };
    lab.step(format!("server: prlimit(RLIMIT_NOFILE, {next}), all below which are open"));
    let waiting: Vec<Peer> = (0..3).map_while(|_| Peer::dial(server.port, lab.timeout()).ok()).collect();
    let before = system::cpu_ticks(server.pid).unwrap_or(0);
    wait_until(Duration::from_secs(1), || server.ended().is_some());
    let ticks = system::cpu_ticks(server.pid).unwrap_or(before) - before;
    // the process may have ended
    let _ = prlimit(server.pid, Resource::Descriptors, limit);
    drop(waiting);
    // one that waits needs next to nothing, one that spins all that it gets on a busy machine
    if ticks >= 10 {
        return fails(
            "it waits for a descriptor",
            format!("it used {ticks} % of a CPU while accept() failed"),
        );
    }
    survived(lab, &mut server, &format!("EMFILE, which took {ticks} % of a CPU"))
}

/// With stdout redirected, nothing is printed more often than on a terminal.
pub fn log_once(lab: &Experiment<'_>) -> Outcome {
    let terminal = openpty(None, None).map_err(crate::error::perror("openpty"))?;
    let on_terminal = log_of_three(lab, File::from(terminal.master), terminal.slave.into())?;
    let (reader, writer) = std::io::pipe().map_err(|error| io_error("pipe", &error))?;
    let reader: std::os::fd::OwnedFd = reader.into();
    let on_pipe = log_of_three(lab, File::from(reader), writer.into())?;
    let count = |lines: &[String], line: &String| lines.iter().filter(|one| *one == line).count();
    let repeated = on_pipe.iter().find(|line| count(&on_pipe, line) > count(&on_terminal, line).max(1));
    match repeated {
        None => holds(format!(
            "{} lines on a terminal, {} on a pipe, none of them more often",
            on_terminal.len(),
            on_pipe.len()
        )),
        Some(line) => fails(
            "a line is printed as often on a pipe as on a terminal",
            format!(
                "\"{line}\" {} times for 3 clients, {} on a terminal",
                count(&on_pipe, line),
                count(&on_terminal, line)
            ),
        ),
    }
}

/// What the server prints while three clients are served, line by line.
fn log_of_three(lab: &Experiment<'_>, reader: File, stdout: Stdio) -> Result<Vec<String>, Error> {
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(crate::error::perror("fcntl"))?;
    let server = lab.start_printing_to(stdout)?;
    let mut printed = Vec::new();
    for _ in 0..3 {
        lab.serves(&server);
        drain(&reader, &mut printed);
    }
    wait_until(Duration::from_secs(3), || server.descendants().iter().all(|process| process.is_zombie()));
    server.signal(Signal::SIGTERM);
    wait_until(Duration::from_millis(300), || false);
    drain(&reader, &mut printed);
    drop(server);
    drain(&reader, &mut printed);
    let text = String::from_utf8_lossy(&printed).replace('\r', "");
    // lines without a word, such as a blank one, may come as they please
    Ok(text
        .lines()
        .filter(|line| line.bytes().any(|byte| byte.is_ascii_alphanumeric()))
        .map(String::from)
        .collect())
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

/// When fork fails, one client is lost and no more.
pub fn fork_fails(lab: &Experiment<'_>) -> Outcome {
    let mut server = lab.start()?;
    lab.serves(&server);
    let Some(shortage) = Shortage::begin(&mut server) else {
        return not_observable("strace, which makes fork() fail, is not installed or may not attach");
    };
    lab.step(format!("{} makes fork() give EAGAIN", shortage.name()));
    if let Ok(mut lost) = lab.dial(&server) {
        lost.send(lab.message());
        lost.read_until(Duration::from_millis(700), |_| false);
    }
    shortage.end(&server);
    survived(lab, &mut server, "fork() failed with EAGAIN")
}

/// What makes fork fail: a limit, which does not bind root, or strace.
enum Shortage {
    Limit(u64),
    Strace(Fault),
}

impl Shortage {
    fn begin(server: &mut Subject) -> Option<Shortage> {
        if !nix::unistd::geteuid().is_root()
            && let Ok(limit) = prlimit(server.pid, Resource::Processes, 0)
        {
            return Some(Shortage::Limit(limit));
        }
        Fault::attach(server, "fork,vfork,clone,clone3:error=EAGAIN").map(Shortage::Strace)
    }

    fn name(&self) -> &'static str {
        match self {
            Shortage::Limit(_) => "prlimit(RLIMIT_NPROC, 0)",
            Shortage::Strace(_) => "strace",
        }
    }

    fn end(self, server: &Subject) {
        match self {
            Shortage::Limit(limit) => {
                // the server may have ended
                let _ = prlimit(server.pid, Resource::Processes, limit);
            }
            Shortage::Strace(fault) => drop(fault),
        }
    }
}

/// A strace that makes calls of the server fail.
struct Fault {
    child: std::process::Child,
}

impl Fault {
    /// Attach to the server alone; none if that cannot be done.
    fn attach(server: &mut Subject, fault: &str) -> Option<Fault> {
        let pid = server.pid.to_string();
        let inject = format!("inject={fault}");
        let calls = format!("trace={}", fault.split(':').next().unwrap_or_default());
        let child = std::process::Command::new("strace")
            .args(["-qq", "-e", &calls, "-e", "signal=none", "-e", &inject, "-o", "/dev/null", "-p", &pid])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        server.instruments.push(child.id() as i32);
        let traced = wait_until(Duration::from_secs(2), || system::is_traced(server.pid));
        let fault = Fault { child };
        traced.then_some(fault)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let strace = nix::unistd::Pid::from_raw(self.child.id() as i32);
        // ended already: it could not attach
        let _ = nix::sys::signal::kill(strace, Signal::SIGTERM);
        wait_until(Duration::from_secs(2), || !matches!(self.child.try_wait(), Ok(None)));
    }
}
