//! Where a scenario is played: a program in one edition, its peer, and all that can be seen of both.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use regex::bytes::Regex;

use crate::subject::{Edition, Subject};
use crate::support::{self, Running, Stream};

/// How long a peer waits for bytes, and how long a program that should have ended is given.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a server that goes on for ever is given to get from its last line into the call that it waits in.
const REST: Duration = Duration::from_millis(300);

/// What becomes of stdout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sink {
    Terminal,
    Pipe,
    /// `/dev/full`: every write fails with ENOSPC.
    Full,
    /// A pipe that nobody reads: every write fails with EPIPE.
    Broken,
}

/// All that was seen of a program.
#[derive(Default, Clone)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub exit: String,
    /// A line for each peer: the bytes that it saw, and how they ended.
    pub wire: Vec<String>,
    /// The system calls, where strace is installed.
    pub calls: Option<Vec<String>>,
}

impl Outcome {
    /// What one channel showed, line by line.
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

    /// The same, with what a program that spins did again and again once.
    fn without_repetitions(mut self) -> Outcome {
        for text in [&mut self.stdout, &mut self.stderr] {
            let lines = text.split('\n').map(String::from).collect();
            *text = crate::trace::without_repetitions(lines).join("\n");
        }
        self.calls = self.calls.map(crate::trace::without_repetitions);
        self
    }

    /// The same, where the order of the lines is nobody's doing.
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
    /// What stdin is, instead of a pipe.
    stdin: Option<&'static str>,
    running: Option<Running>,
    /// The other end of stdout, when that is a terminal.
    terminal: Option<Stream>,
    /// Whether names are resolved by the test's own name server.
    resolver: bool,
    /// Whether the server was told to reap nobody.
    leaves_zombies: bool,
    wire: Vec<String>,
}

impl Stage {
    pub fn new(subject: Subject, sink: Sink, traced: bool) -> Stage {
        let trace = traced.then(|| tempfile::tempdir().expect("a temporary folder can be made"));
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

    /// Make a call fail, in strace's words.
    pub fn inject(&mut self, fault: &'static str) {
        self.inject = Some(fault);
    }

    /// Let stdin be this file.
    pub fn stdin_from(&mut self, path: &'static str) {
        self.stdin = Some(path);
    }

    /// Start the program; its stdin is a pipe, if nothing else was said.
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
                command.stdout(File::options().write(true).open("/dev/full").expect("/dev/full is there"))
            }
            Sink::Broken => command.stdout(support::broken_pipe()),
            Sink::Terminal => {
                let pty = openpty(None, None).expect("a terminal can be made");
                let mut raw = tcgetattr(&pty.slave).expect("a terminal has attributes");
                cfmakeraw(&mut raw);
                tcsetattr(&pty.slave, SetArg::TCSANOW, &raw).expect("a terminal can be made raw");
                // EIO is a terminal's end of file
                self.terminal = Some(Stream::new(File::from(pty.master)));
                command.stdout(pty.slave)
            }
        };
        self.running = Some(support::start(&mut command));
    }

    /// What makes C's stdout line-buffered, as Rust's is, where buffering alone would tell when SIGPIPE comes.
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
        // what is preloaded comes before the sanitizers' runtime
        found.push(("ASAN_OPTIONS".into(), "verify_asan_link_order=0".into()));
        found
    }

    /// Resolve names by the test's own name server.
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
            listens(port) || running.try_wait().is_some()
        });
    }

    /// Start a server that reaps nobody, and wait until it listens.
    pub fn serve_without_reaping(&mut self) {
        self.leaves_zombies = true;
        self.serve_with(&["--no-reap"]);
    }

    /// Connect to the server, which may have ended.
    pub fn try_client(&self) -> Option<Peer> {
        self.dialer()()
    }

    /// Connect to the server.
    pub fn client(&self) -> Peer {
        self.try_client().expect("the server listens")
    }

    /// What connects to the server, for as many clients at once as are wanted.
    pub fn dialer(&self) -> impl Fn() -> Option<Peer> + Copy + use<> {
        let patience = if self.never_closes() { Duration::from_millis(300) } else { PATIENCE };
        let port = self.port;
        move || TcpStream::connect(("127.0.0.1", port)).ok().map(|stream| Peer { stream, patience })
    }

    /// Whether the server leaves its clients' sockets open.
    fn never_closes(&self) -> bool {
        self.subject.program == "server/loop"
    }

    /// Listen where the program will connect to.
    pub fn listen(&mut self) -> TcpListener {
        loop {
            match TcpListener::bind(("127.0.0.1", self.port)) {
                Ok(listener) => return listener,
                // somebody was faster
                Err(_) => self.port = support::free_port(),
            }
        }
    }

    /// Start a client program that connects to this machine.
    pub fn connect_with(&mut self, more: &[&str]) {
        let port = self.port.to_string();
        self.start(&[&["127.0.0.1", &port], more].concat());
    }

    /// Wait until the program has printed that.
    pub fn wait_printed(&mut self, text: &str) {
        self.terminal.as_mut().expect("what it prints is seen").wait_for(text);
    }

    /// Type this on the program's stdin, and end it.
    pub fn type_in(&mut self, bytes: &[u8]) {
        let mut stdin = self.running().stdin();
        // a program that has ended reads nothing
        let _ = stdin.write_all(bytes);
    }

    /// Do this while the program is stopped, so that it finds all of it done: otherwise it could end before, or
    /// after, what a client sends has come. A program that has ended stands still by itself.
    pub fn while_it_stands_still<T>(&mut self, act: impl FnOnce(&mut Stage) -> T) -> T {
        let pid = self.program().filter(|_| self.running().try_wait().is_none());
        let signal = |signal| pid.map(|pid| kill(Pid::from_raw(pid as i32), signal));
        signal(Signal::SIGSTOP);
        if let Some(pid) = pid {
            support::wait_until("the program stands still", || {
                let table = support::processes();
                table.iter().find(|one| one.pid == pid).is_none_or(|one| "TtZ".contains(one.state))
            });
        }
        let done = act(self);
        signal(Signal::SIGCONT);
        done
    }

    /// Keep what a peer saw.
    pub fn saw(&mut self, peer: &str, what: String) {
        self.wire.push(format!("{peer}: {what}"));
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the program was started")
    }

    /// The program's own process, which strace started if it is traced; none if it has ended.
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

    /// Let a server finish what it does, end it, and gather all that was seen.
    pub fn stop(mut self) -> Outcome {
        let Some(pid) = self.program() else { return self.end() };
        // the listing leaves zombies
        let reaps = self.subject.edition != Edition::Listing && !self.leaves_zombies;
        let closes = !self.never_closes();
        let end = Instant::now() + PATIENCE;
        let mut busy = true;
        while busy && Instant::now() < end {
            let children = support::children(pid);
            let sockets = support::sockets(pid);
            busy = children.iter().any(|child| child.state != 'Z' || reaps) || closes && sockets > 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        // the server may have ended by itself, which is then what is reported
        if self.running().try_wait().is_none() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        }
        self.end()
    }

    /// Give a server that has nothing to serve time to come to rest, to spin or to end, end it, and gather all that
    /// was seen up to there.
    pub fn cut_short(mut self) -> Outcome {
        let terminal = self.terminal.as_mut().expect("what it prints is seen");
        support::wait_until("the server waits, spins or has ended", || {
            let printed = String::from_utf8_lossy(terminal.so_far()).into_owned();
            let spins = printed.matches("Connection from ").count() > 20;
            let waits = printed.to_lowercase().contains("waiting for incoming connections");
            let ended = self.running.as_mut().is_none_or(|running| running.try_wait().is_some());
            spins || waits || ended
        });
        // from its last line before accept() into it
        let end = Instant::now() + REST;
        while self.running().try_wait().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.gather().without_repetitions()
    }

    /// Wait until the program has ended, as one that gets no further does.
    pub fn wait_ended(&mut self) {
        let running = self.running();
        support::wait_until("the program ends", || running.try_wait().is_some());
    }

    /// Wait until the program ends, and gather all that was seen.
    pub fn end(mut self) -> Outcome {
        let end = Instant::now() + PATIENCE;
        while self.running().try_wait().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.gather()
    }

    /// What was seen; a program that runs on is killed, so that strace can tell what it has done.
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

    /// Output as text, with ports by their role.
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
        None => "runs on".into(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => {
                Signal::try_from(signal).map_or(format!("signal {signal}"), |signal| signal.to_string())
            }
            (None, None) => format!("{status:?}"),
        },
    }
}

/// Bytes as C would write them.
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

/// Whether something listens on a port: the kernel's table is asked, since to connect would be to be a client.
fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc is there");
    let ours = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next(), fields.next(), fields.next());
        local.is_some_and(|local| local.ends_with(&ours)) && state == Some("0A")
    })
}

/// The other side of the connection.
pub struct Peer {
    stream: TcpStream,
    patience: Duration,
}

impl Peer {
    /// Accept the program under test.
    pub fn accept(listener: &TcpListener) -> Peer {
        let (stream, _) = listener.accept().expect("the program connects");
        Peer { stream, patience: PATIENCE }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // a server that has closed does not take everything
        let _ = self.stream.write_all(bytes);
    }

    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Close so that the other side gets a reset.
    pub fn reset(self) {
        crate::support::reset(self.stream);
    }

    /// Read until n bytes are there.
    pub fn receive(&mut self, n: usize) -> String {
        let mut bytes = vec![0; n];
        self.stream.set_read_timeout(Some(self.patience)).expect("a deadline can be set");
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => format!("{n} bytes \"{}\"", escape(&bytes)),
            Err(error) => format!("not {n} bytes: {}", error.kind()),
        }
    }

    /// Read until the other side closes.
    pub fn read_to_end(&mut self) -> String {
        self.stream.set_read_timeout(Some(self.patience)).expect("a deadline can be set");
        let mut bytes = Vec::new();
        let end = match self.stream.read_to_end(&mut bytes) {
            Ok(_) => "end of file".to_string(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => "no end of file".to_string(),
            Err(error) => error.kind().to_string(),
        };
        format!("{} bytes \"{}\", {end}", bytes.len(), escape(&bytes))
    }
}
