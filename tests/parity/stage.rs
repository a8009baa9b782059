//! Where a scenario is played: a program in one edition, its peer, and all that can be seen of both.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
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
        let strace =
            self.trace.as_ref().map(|folder| crate::trace::strace(&folder.path().join("trace"), self.inject));
        let mut command = self.subject.command(&arguments, self.port, &strace.unwrap_or_default());
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
        self.start(&[&["--port", &port], more].concat());
        let port = self.port;
        let running = self.running();
        support::wait_until("the server listens, or has ended", || {
            listens(port) || running.try_wait().is_some()
        });
    }

    /// Connect to the server, which may have ended.
    pub fn try_client(&self) -> Option<Peer> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        Some(Peer { stream, patience: PATIENCE })
    }

    /// Connect to the server.
    pub fn client(&self) -> Peer {
        self.dialer()()
    }

    /// What connects to the server, for as many clients at once as are wanted.
    pub fn dialer(&self) -> impl Fn() -> Peer + Copy + use<> {
        let never_closes = self.subject.edition == Edition::Listing && self.subject.program == "server/loop";
        let patience = if never_closes { Duration::from_millis(300) } else { PATIENCE };
        let port = self.port;
        move || Peer { stream: support::connect(port), patience }
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

    /// Type this on the program's stdin, and end it.
    pub fn type_in(&mut self, bytes: &[u8]) {
        let mut stdin = self.running().stdin();
        // a program that has ended reads nothing
        let _ = stdin.write_all(bytes);
    }

    /// Stop or continue the program.
    pub fn signal(&mut self, signal: Signal) {
        let pid = self.program().expect("the program has not ended");
        kill(Pid::from_raw(pid as i32), signal).expect("the program can be signalled");
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
        // the listings leave zombies, and one of them its clients' sockets
        let tidy = self.subject.edition != Edition::Listing;
        let end = Instant::now() + PATIENCE;
        let mut busy = true;
        while busy && Instant::now() < end {
            let children = support::children(pid);
            let sockets = support::sockets(pid);
            busy = children.iter().any(|child| child.state != 'Z' || tidy) || tidy && sockets > 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        // the server may have ended by itself, which is then what is reported
        if self.running().try_wait().is_none() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        }
        self.end()
    }

    /// Wait until the program ends, and gather all that was seen.
    pub fn end(mut self) -> Outcome {
        let mut status = None;
        let end = Instant::now() + PATIENCE;
        while status.is_none() && Instant::now() < end {
            status = self.running().try_wait();
            std::thread::sleep(Duration::from_millis(2));
        }
        if status.is_none() {
            self.running().kill_group();
        }
        let stdout = match (&mut self.terminal, self.sink) {
            (Some(terminal), _) => terminal.read_to_end().to_vec(),
            (None, Sink::Pipe) => self.running().all_stdout(),
            (None, _) => Vec::new(),
        };
        let stderr = self.running().all_stderr();
        // a program killed in the midst of a loop has made any number of calls
        let calls = self.trace.take().filter(|_| status.is_some());
        Outcome {
            stdout: self.readable(&stdout),
            stderr: self.readable(&stderr),
            exit: describe(status),
            wire: std::mem::take(&mut self.wire),
            calls: calls.map(|folder| crate::trace::read(&folder.path().join("trace"), self.port)),
        }
    }

    /// Output as text, with ports by their role.
    fn readable(&self, bytes: &[u8]) -> String {
        let ports = Regex::new(r"127\.0\.0\.1:\d+").expect("a pattern");
        let lines = ports.replace_all(bytes, &b"127.0.0.1:EPHEMERAL"[..]);
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
