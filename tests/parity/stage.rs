//! The surroundings of a scenario: a program in one edition, its peer, and all that is observed of both.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::bytes::Regex;

use crate::subject::{Edition, Subject};
use crate::support::{self, Running, Stream};

/// How long a peer waits for bytes, and how long the test waits for a program to end.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long an endless server may take from its last line of output to the call in which it waits.
const SETTLE_TIME: Duration = Duration::from_millis(300);

/// Where the program's stdout goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sink {
    Terminal,
    Pipe,
    /// `/dev/full`: every write fails with ENOSPC.
    Full,
    /// A pipe without a reader: every write fails with EPIPE.
    Broken,
}

/// All that was observed of a program.
#[derive(Default, Clone)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub exit: String,
    /// A line for each peer: the bytes that it received, and how the connection ended.
    pub wire: Vec<String>,
    /// The system calls, if strace is installed.
    pub calls: Option<Vec<String>>,
}

impl Outcome {
    /// One channel, line by line.
    pub fn channel(&self, channel: &str) -> Vec<String> {
        let lines = |text: &str| text.lines().map(String::from).collect();
        match channel {
            "stdout" => lines(&self.stdout),
            "stderr" => lines(&self.stderr),
            "exit" => vec![self.exit.clone()],
            "wire" => self.wire.clone(),
            _ => self.calls.clone().unwrap_or_else(|| vec!["no strace".into()]),
        }
    }

    /// Keep one copy of the lines that a spinning program repeats.
    fn without_repetitions(mut self) -> Outcome {
        for text in [&mut self.stdout, &mut self.stderr] {
            let lines = text.split('\n').map(String::from).collect();
            *text = crate::trace::without_repetitions(lines).join("\n");
        }
        self.calls = self.calls.map(crate::trace::without_repetitions);
        self
    }

    /// Sort the lines of stdout, if their order depends on timing.
    pub fn in_any_order(mut self) -> Outcome {
        let mut lines: Vec<&str> = self.stdout.lines().collect();
        lines.sort_unstable();
        self.stdout = lines.join("\n");
        self
    }
}

/// A program in one edition, and its peer.
pub struct Stage {
    pub subject: Subject,
    pub port: u16,
    sink: Sink,
    trace: Option<tempfile::TempDir>,
    inject: Option<&'static str>,
    /// The file for stdin, instead of a pipe.
    stdin: Option<&'static str>,
    running: Option<Running>,
    /// The other end of stdout, if stdout is a terminal.
    terminal: Option<Stream>,
    /// Whether the program uses the test's own name server.
    resolver: bool,
    /// Whether the server runs with --no-reap.
    leaves_zombies: bool,
    wire: Vec<String>,
}

impl Stage {
    pub fn new(subject: Subject, sink: Sink, traced: bool) -> Stage {
        let trace = traced.then(|| tempfile::tempdir().expect("a temporary folder can be created"));
        Stage {
            subject,
            port: support::free_port(),
            sink,
            trace,
            inject: None,
            stdin: None,
            running: None,
            terminal: None,
            resolver: false,
            leaves_zombies: false,
            wire: Vec::new(),
        }
    }

    /// Make a call fail; the fault is in strace's syntax.
    pub fn inject(&mut self, fault: &'static str) {
        self.inject = Some(fault);
    }

    /// Use this file as stdin.
    pub fn stdin_from(&mut self, path: &'static str) {
        self.stdin = Some(path);
    }

    /// Start the program. Its stdin is a pipe, unless [`Stage::stdin_from`] was called.
    pub fn start(&mut self, arguments: &[&str]) {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
        let environment = self.line_buffered();
        let strace = self
            .trace
            .as_ref()
            .map(|folder| crate::trace::strace(&folder.path().join("trace"), self.inject, &environment));
        let mut command = self.subject.command(&arguments, self.port, &strace.unwrap_or_default());
        if self.trace.is_none() {
            command.envs(environment);
        }
        if self.resolver {
            command = crate::resolver::with_our_names(&command);
        }
        command.stderr(Stdio::piped());
        match self.stdin {
            None => command.stdin(Stdio::piped()),
            Some(path) => command.stdin(File::open(path).expect("stdin can be opened")),
        };
        match self.sink {
            Sink::Pipe => command.stdout(Stdio::piped()),
            Sink::Full => {
                command.stdout(File::options().write(true).open("/dev/full").expect("/dev/full exists"))
            }
            Sink::Broken => command.stdout(support::broken_pipe()),
            Sink::Terminal => {
                let terminal = support::raw_terminal();
                // at a terminal's end of file, read fails with EIO, which ends the stream, too
                self.terminal = Some(Stream::new(File::from(terminal.master)));
                command.stdout(terminal.slave)
            }
        };
        self.running = Some(support::start(&mut command));
    }

    /// The environment that makes C's stdout line-buffered, as Rust's is. It is needed on a broken pipe only: there,
    /// buffering decides when SIGPIPE comes.
    fn line_buffered(&self) -> Vec<(String, String)> {
        if self.sink != Sink::Broken || !self.subject.is_c() || self.subject.program == "server/robust" {
            return Vec::new();
        }
        let output = Command::new("stdbuf").args(["-oL", "env"]).output().expect("stdbuf runs (coreutils)");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let wanted = lines.filter(|(name, _)| ["LD_PRELOAD", "_STDBUF_O"].contains(name));
        let mut found: Vec<(String, String)> =
            wanted.map(|(name, value)| (name.into(), value.into())).collect();
        assert_eq!(found.len(), 2, "stdbuf preloads a library: {text}");
        // by default, the sanitizers refuse a library that is preloaded before their runtime
        found.push(("ASAN_OPTIONS".into(), "verify_asan_link_order=0".into()));
        found
    }

    /// Use the test's own name server.
    pub fn with_our_names(&mut self) {
        self.resolver = true;
    }

    /// Start a server, and wait until it listens.
    pub fn serve(&mut self) {
        self.serve_with(&[]);
    }

    /// The same, with more arguments.
    pub fn serve_with(&mut self, more: &[&str]) {
        let port = self.port.to_string();
        self.start(&[&["--port", &port, "--backlog", "3"], more].concat());
        let port = self.port;
        let running = self.running();
        support::wait_until("the server listens, or has ended", || {
            support::listens(port) || running.try_wait().is_some()
        });
    }

    /// Start a server with --no-reap, and wait until it listens.
    pub fn serve_without_reaping(&mut self) {
        self.leaves_zombies = true;
        self.serve_with(&["--no-reap"]);
    }

    /// Connect to the server; `None` if the connection is refused.
    pub fn try_client(&self) -> Option<Peer> {
        self.dialer()()
    }

    /// Connect to the server.
    pub fn client(&self) -> Peer {
        self.try_client().expect("the server listens")
    }

    /// A function that connects to the server, for use in several threads.
    pub fn dialer(&self) -> impl Fn() -> Option<Peer> + Copy + use<> {
        let patience = if self.never_closes() { Duration::from_millis(300) } else { PATIENCE };
        let port = self.port;
        move || TcpStream::connect(("127.0.0.1", port)).ok().map(|stream| Peer { stream, patience })
    }

    /// Whether the server never closes its clients' sockets.
    fn never_closes(&self) -> bool {
        self.subject.program == "server/loop"
    }

    /// Listen on the port to which the program will connect.
    pub fn listen(&mut self) -> TcpListener {
        loop {
            match TcpListener::bind(("127.0.0.1", self.port)) {
                Ok(listener) => return listener,
                // another process has taken the port
                Err(_) => self.port = support::free_port(),
            }
        }
    }

    /// Start a client program that connects to this machine.
    pub fn connect_with(&mut self, more: &[&str]) {
        let port = self.port.to_string();
        self.start(&[&["127.0.0.1", &port], more].concat());
    }

    /// Wait until the program has printed a text on its terminal.
    pub fn wait_printed(&mut self, text: &str) {
        self.terminal.as_mut().expect("stdout is a terminal").wait_for(text);
    }

    /// Write bytes to the program's stdin, and close it.
    pub fn type_in(&mut self, bytes: &[u8]) {
        let mut stdin = self.running().stdin();
        // the write fails if the program has ended
        let _ = stdin.write_all(bytes);
    }

    /// Stop the program with SIGSTOP, run `act`, and let the program continue. It then finds that all bytes of `act`
    /// have arrived; otherwise the outcome would depend on timing. A program that has ended is not stopped.
    pub fn while_stopped<T>(&mut self, act: impl FnOnce(&mut Stage) -> T) -> T {
        let pid = self.program().filter(|_| self.running().try_wait().is_none());
        let signal = |signal| pid.map(|pid| kill(Pid::from_raw(pid as i32), signal));
        signal(Signal::SIGSTOP);
        if let Some(pid) = pid {
            support::wait_until("the program is stopped", || {
                let table = support::processes();
                table.iter().find(|one| one.pid == pid).is_none_or(|one| "TtZ".contains(one.state))
            });
        }
        let done = act(self);
        signal(Signal::SIGCONT);
        done
    }

    /// Record what a peer received.
    pub fn record(&mut self, peer: &str, what: String) {
        self.wire.push(format!("{peer}: {what}"));
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the program was started")
    }

    /// The program's process, which is strace's child if the program is traced; `None` if it has ended.
    fn program(&mut self) -> Option<u32> {
        let traced = self.trace.is_some();
        let running = self.running();
        let mut found = None;
        support::wait_until("strace starts the program", || {
            let mut children = support::children(running.pid()).into_iter();
            found = children.find(|child| !child.command.starts_with("strace")).map(|child| child.pid);
            !traced || found.is_some() || running.try_wait().is_some()
        });
        if traced { found } else { Some(running.pid()) }
    }

    /// Wait until a server has no clients, end it with SIGTERM, and give all that was observed.
    pub fn stop(mut self) -> Outcome {
        let Some(pid) = self.program() else { return self.end() };
        // the listing never reaps
        let reaps = self.subject.edition != Edition::Listing && !self.leaves_zombies;
        let closes = !self.never_closes();
        support::holds_within(PATIENCE, || {
            let children = support::children(pid);
            let sockets = support::sockets(pid);
            let busy = children.iter().any(|child| child.state != 'Z' || reaps) || closes && sockets > 1;
            !busy
        });
        // if the server has ended by itself, the outcome reports that
        if self.running().try_wait().is_none() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        }
        self.end()
    }

    /// For a server without clients: wait until it waits, spins or has ended; then kill it, and give all that was
    /// observed.
    pub fn kill_when_settled(mut self) -> Outcome {
        let terminal = self.terminal.as_mut().expect("stdout is a terminal");
        support::wait_until("the server waits, spins or has ended", || {
            let printed = String::from_utf8_lossy(terminal.so_far()).into_owned();
            let spins = printed.matches("Connection from ").count() > 20;
            let waits = printed.to_lowercase().contains("waiting for incoming connections");
            let ended = self.running.as_mut().is_none_or(|running| running.try_wait().is_some());
            spins || waits || ended
        });
        // it has printed its last line; let it enter accept()
        support::holds_within(SETTLE_TIME, || self.running().try_wait().is_some());
        self.gather().without_repetitions()
    }

    /// Wait until the program has ended by itself.
    pub fn wait_ended(&mut self) {
        let running = self.running();
        support::wait_until("the program ends", || running.try_wait().is_some());
    }

    /// Wait until the program ends, and give all that was observed.
    pub fn end(mut self) -> Outcome {
        support::holds_within(PATIENCE, || self.running().try_wait().is_some());
        self.gather()
    }

    /// Gather all that was observed. A program that still runs is killed, so that strace writes its trace.
    fn gather(mut self) -> Outcome {
        let status = self.running().try_wait();
        if status.is_none() {
            if let Some(pid) = self.program() {
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
            if self.trace.is_some() {
                self.wait_ended();
            }
            self.running().kill_group();
        }
        let stdout = match (&mut self.terminal, self.sink) {
            (Some(terminal), _) => terminal.read_to_end().to_vec(),
            (None, Sink::Pipe) => self.running().all_stdout(),
            (None, _) => Vec::new(),
        };
        let stderr = self.running().all_stderr();
        let trace = self.trace.take();
        Outcome {
            stdout: self.readable(&stdout),
            stderr: self.readable(&stderr),
            exit: describe(status),
            wire: std::mem::take(&mut self.wire),
            calls: trace
                .map(|folder| crate::trace::read(&folder.path().join("trace"), self.port, &self.subject)),
        }
    }

    /// Output as text; ephemeral ports and the program's name are replaced by fixed words.
    fn readable(&self, bytes: &[u8]) -> String {
        let ports = Regex::new(r"127\.0\.0\.1:\d+").expect("a pattern");
        let lines = ports.replace_all(bytes, &b"127.0.0.1:EPHEMERAL"[..]);
        let own_name = Regex::new(&regex::escape(&self.subject.name())).expect("a pattern");
        let lines = own_name.replace_all(&lines, &b"PROGRAM"[..]);
        lines.split(|&byte| byte == b'\n').map(escape).collect::<Vec<_>>().join("\n")
    }
}

fn describe(status: Option<ExitStatus>) -> String {
    match status {
        None => "still runs".into(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => {
                Signal::try_from(signal).map_or(format!("signal {signal}"), |signal| signal.to_string())
            }
            (None, None) => format!("{status:?}"),
        },
    }
}

/// Bytes as text, with control characters and invalid UTF-8 escaped as in C.
pub fn escape(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::new(), |mut text, chunk| {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                c if c.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        text
    })
}

/// The test's end of a connection.
pub struct Peer {
    stream: TcpStream,
    patience: Duration,
}

impl Peer {
    /// Accept a connection of the program under test.
    pub fn accept(listener: &TcpListener) -> Peer {
        let (stream, _) = listener.accept().expect("the program connects");
        Peer { stream, patience: PATIENCE }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // the write fails if the other side has closed
        let _ = self.stream.write_all(bytes);
    }

    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Close with a reset.
    pub fn reset(self) {
        crate::support::reset(self.stream);
    }

    /// Read exactly n bytes.
    pub fn receive(&mut self, n: usize) -> String {
        let mut bytes = vec![0; n];
        self.stream.set_read_timeout(Some(self.patience)).expect("a timeout can be set");
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => format!("{n} bytes \"{}\"", escape(&bytes)),
            Err(error) => format!("not {n} bytes: {}", error.kind()),
        }
    }

    /// Read until the other side closes.
    pub fn read_to_end(&mut self) -> String {
        self.stream.set_read_timeout(Some(self.patience)).expect("a timeout can be set");
        let mut bytes = Vec::new();
        let end = match self.stream.read_to_end(&mut bytes) {
            Ok(_) => "end of file".to_string(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => "no end of file".to_string(),
            Err(error) => error.kind().to_string(),
        };
        format!("{} bytes \"{}\", {end}", bytes.len(), escape(&bytes))
    }
}
