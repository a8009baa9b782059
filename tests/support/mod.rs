//! What the tests, the demo and the bench share: programs run as processes that never outlive their
//! test, free ports, waits with a deadline, and a look at the process table.
#![allow(dead_code)]

pub mod columns;
pub mod console;
#[cfg(test)]
pub mod examiner;
pub mod listings;
pub mod syntax;

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use nix::unistd::Pid;

/// How long a test waits for what must come.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Where the crate is.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust sources of a folder, one after the other.
pub fn source_of(folder: &str) -> String {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let files = entries.map(|entry| entry.expect("the folder can be read").path());
    let sources = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    sources.map(|file| fs::read_to_string(file).expect("a source is text")).collect()
}

/// Wait until a condition holds, or say what did not come to be.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Something takes less than that: a busy machine may delay it, not three times in a row.
#[track_caller]
pub fn assert_takes_less(than: Duration, mut takes: impl FnMut() -> Duration) {
    let times: Vec<Duration> = (0..3).map(|_| takes()).take_while(|time| *time >= than).collect();
    assert!(times.len() < 3, "not less than {than:?}: {times:?}");
}

/// A C program of ours, built by the Makefile: `twin("server/fork")`.
pub fn twin(program: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| make("c"));
    root().join("target/c").join(program)
}

/// The same with AddressSanitizer and UBSan.
pub fn sanitized_twin(program: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| make("c-sanitized"));
    root().join("target/c-sanitized").join(program)
}

fn make(target: &str) {
    fs::create_dir_all(root().join("target")).expect("target/ can be made");
    let lock = fs::File::create(root().join("target/twins.lock")).expect("target/ can be written");
    lock.lock().expect("target/twins.lock can be locked");
    let mut make = Command::new("make");
    let output = apart_from_make(make.args(["-s", target]).current_dir(root()))
        .output()
        .expect("make runs: it is needed to build the C twins");
    assert!(output.status.success(), "make {target}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A make that runs this test must not hand its job server down.
pub fn apart_from_make(command: &mut Command) -> &mut Command {
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL")
}

/// An example of ours: `example("handler")`. A test that is run by its name alone does not build it.
pub fn example(name: &str) -> PathBuf {
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let test = std::env::current_exe().expect("a test knows where it is");
    let target = test.ancestors().nth(3).expect("it is in target/debug/deps/");
    let mut built = BUILT.lock().expect("no panic comes while it is locked");
    if !built.iter().any(|one| one == name) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", name, "--target-dir"]).arg(target);
        cargo.env_remove("CARGO_MAKEFLAGS");
        let output = apart_from_make(&mut cargo).current_dir(root()).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        built.push(name.into());
    }
    target.join("debug/examples").join(name)
}

/// Whether a tool is installed. In CI a missing one is a failure; elsewhere the caller skips, and this
/// says what to install.
#[track_caller]
pub fn has(tool: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{tool} is not installed (Debian's package {package})");
        skipped(&format!("{tool} is not installed (Debian's package {package})"));
    }
    found
}

/// Say that a test is skipped, and why, past the test harness, which would keep it to itself.
pub fn skipped(why: &str) {
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// A port that is free, below the range from which the kernel takes clients' ports. No other test gets
/// it for a while: the UDP port of the same number stands for the right to it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static HELD: Mutex<VecDeque<UdpSocket>> = Mutex::new(VecDeque::new());
    // another process that asks starts elsewhere
    let start = (std::process::id() % 200) as u16 * 97;
    loop {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let Ok(right) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if can_be_bound(port) {
            let mut held = HELD.lock().expect("no panic comes while it is locked");
            held.push_back(right);
            if held.len() > 64 {
                held.pop_front();
            }
            return port;
        }
    }
}

/// Whether a server could bind to a port, be it one that does not set SO_REUSEADDR. On Linux the kernel's
/// table is asked: to try it leaves the port bound for as long as a process that another test is starting
/// just then, which holds every descriptor of this one until its exec.
fn can_be_bound(port: u16) -> bool {
    if cfg!(target_os = "linux") {
        let table = |name| fs::read_to_string(name).unwrap_or_default();
        let ours = format!(":{port:04X}");
        let uses = |line: &str| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&ours));
        return !["/proc/net/tcp", "/proc/net/tcp6"].map(table).iter().any(|table| table.lines().any(uses));
    }
    let socket =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).expect("a socket can be made");
    // macOS has no SOCK_CLOEXEC
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a flag can be set");
    bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port)).is_ok()
}

/// Whether something listens on a port (Linux): the kernel's table is asked, since to connect would be to be a client.
pub fn listens(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc can be read");
    let ours = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next(), fields.next(), fields.next());
        local.is_some_and(|local| local.ends_with(&ours)) && state == Some("0A")
    })
}

/// A program that is running, in a process group of its own, which ends with this value.
pub struct Running {
    child: Child,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
}

/// Start a program. Whichever of stdout and stderr is `Stdio::piped()` can be read while it runs.
pub fn start(command: &mut Command) -> Running {
    // a program inherits what this thread blocks; the threads that will empty its pipes shall too
    let blocked = SigSet::thread_get_mask().expect("a thread has a signal mask");
    SigSet::all().thread_unblock().expect("signals can be unblocked");
    unignore_signals();
    let child = command.process_group(0).spawn();
    blocked.thread_set_mask().expect("signals can be blocked again");
    let mut child = child
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", command.get_program().to_string_lossy()));
    let stdout = child.stdout.take().map(|pipe| Stream::new(enlarged(pipe)));
    let stderr = child.stderr.take().map(|pipe| Stream::new(enlarged(pipe)));
    Running { child, stdout, stderr }
}

/// Have programs start with each signal at its default, however the tests themselves were started: `nohup` ignores
/// SIGHUP, a shell's `&` SIGINT and SIGQUIT, Python SIGXFSZ, and a program inherits that a signal is ignored.
///
/// What is ignored is caught from now on, by a handler that does nothing. To the tests that is the same, and exec
/// sets what is caught to its default, on every Unix.
pub fn unignore_signals() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        // what a shell inherits as ignored it cannot trap
        let script = "for signal; do trap \"echo SIG$signal\" $signal; kill -s $signal $$; done";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", "HUP", "INT", "QUIT", "XFSZ"]);
        let trapped = text(&shell.output().expect("sh runs").stdout);
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGXFSZ] {
            if !trapped.lines().any(|name| name == signal.as_str()) {
                let unread = Arc::default();
                signal_hook::flag::register(signal as i32, unread).expect("a signal can be caught");
            }
        }
    });
}

/// A pipe with room for what is written while a busy machine keeps its reader waiting: a server does not
/// wait, and drops lines.
fn enlarged<P: AsFd>(pipe: P) -> P {
    #[cfg(target_os = "linux")]
    {
        // where it is refused, there is less room
        let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(1 << 20));
    }
    pipe
}

/// Start a command with stdin empty, and stdout and stderr piped.
pub fn start_piped(command: &mut Command) -> Running {
    start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

impl Running {
    /// The process started, which leads its process group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its stdin, once.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("stdin is piped")
    }

    /// Send a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.pid() as i32), signal)
            .expect("the process can be signalled");
    }

    /// What it has printed so far.
    pub fn stdout(&mut self) -> String {
        text(self.stdout.as_mut().expect("stdout is piped").so_far())
    }

    /// What it has said on stderr so far.
    pub fn stderr(&mut self) -> String {
        text(self.stderr.as_mut().expect("stderr is piped").so_far())
    }

    /// Wait until it has printed a text.
    #[track_caller]
    pub fn wait_stdout(&mut self, expected: &str) {
        self.stdout.as_mut().expect("stdout is piped").wait_for(expected);
    }

    /// Whether it has ended, and how.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Wait until it ends.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.try_wait();
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// All that it printed, once it and its children have closed stdout.
    pub fn all_stdout(&mut self) -> Vec<u8> {
        self.stdout.as_mut().expect("stdout is piped").read_to_end().to_vec()
    }

    /// All that it said on stderr, once it and its children have closed stderr.
    pub fn all_stderr(&mut self) -> Vec<u8> {
        self.stderr.as_mut().expect("stderr is piped").read_to_end().to_vec()
    }

    /// End its whole process group.
    pub fn kill_group(&mut self) {
        // ESRCH: nothing of it is left
        let _ = killpg(Pid::from_raw(self.pid() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A pipe, or a terminal, that a thread empties, so that what writes to it never waits.
pub struct Stream {
    pieces: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Stream {
    /// Begin to read.
    pub fn new(mut pipe: impl Read + Send + 'static) -> Stream {
        let (sender, pieces) = channel();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut piece) {
                if sender.send(piece[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Stream { pieces, bytes: Vec::new() }
    }

    /// What has come so far.
    pub fn so_far(&mut self) -> &[u8] {
        self.bytes.extend(self.pieces.try_iter().flatten());
        &self.bytes
    }

    /// Wait until a text has come.
    #[track_caller]
    pub fn wait_for(&mut self, expected: &str) {
        let end = Instant::now() + DEADLINE;
        while !text(self.so_far()).contains(expected) {
            assert!(Instant::now() < end, "{expected:?} was not printed, but {:?}", text(&self.bytes));
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// All that came, once the other side is closed by all who have it.
    pub fn read_to_end(&mut self) -> &[u8] {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.pieces.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.bytes.extend(piece),
                Err(RecvTimeoutError::Disconnected) => return &self.bytes,
                Err(RecvTimeoutError::Timeout) => panic!("no end of file within {DEADLINE:?}"),
            }
        }
    }
}

/// Connect to a server on this machine, with a deadline on every read and write.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
    stream.set_write_timeout(Some(DEADLINE)).expect("a deadline can be set");
    stream
}

/// Read to the end of file: what came, and how it ended.
pub fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let result = stream.read_to_end(&mut bytes).map(drop);
    (bytes, result)
}

/// Send a message, say that no more will come, and read to the end of file.
#[track_caller]
pub fn finish(mut client: TcpStream, message: &[u8]) -> Vec<u8> {
    client.write_all(message).expect("the server takes the message");
    client.shutdown(Shutdown::Write).expect("a connection can be half-closed");
    let (reply, end) = read_to_end(&mut client);
    end.unwrap_or_else(|error| panic!("after {reply:?}, instead of the end of file: {error}"));
    reply
}

/// Close a connection by a reset instead of a farewell.
pub fn reset(client: TcpStream) {
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&client, sockopt::Linger, &at_once).expect("SO_LINGER can be set");
}

/// Whether this is root, whom limits and permissions do not bind.
pub fn am_root() -> bool {
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    fs::metadata(file.path()).expect("the file is there").uid() == 0
}

/// A pipe that nobody reads any more.
pub fn broken_pipe() -> io::PipeWriter {
    let (reader, writer) = io::pipe().expect("a pipe can be made");
    drop(reader);
    wait_broken(&writer);
    writer
}

/// Wait until nobody reads a pipe: a process that another test is starting holds every descriptor of
/// this one until its exec.
#[track_caller]
pub fn wait_broken(writer: &io::PipeWriter) {
    wait_until("the pipe breaks", || {
        let mut fds = [PollFd::new(writer.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|broken| broken == 1)
    });
}

/// A line of the process table.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub ppid: u32,
    /// R, S, T, Z …, as ps shows it.
    pub state: char,
    pub command: String,
}

/// The process table: /proc where there is one, else ps.
pub fn processes() -> Vec<Process> {
    if cfg!(target_os = "linux") { proc_processes() } else { ps_processes() }
}

fn proc_processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc can be read");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

/// One process, if it is there, from /proc/PID/stat.
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let ppid = fields.next()?.parse().ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = text(&arguments).trim_end_matches('\0').replace('\0', " ");
    let command = if arguments.is_empty() { format!("[{name}]") } else { arguments };
    Some(Process { pid, ppid, state, command })
}

fn ps_processes() -> Vec<Process> {
    let output = Command::new("ps").args(["-axo", "pid=,ppid=,state=,command="]).output().expect("ps runs");
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let pid = fields.next()?.parse().ok()?;
        let ppid = fields.next()?.parse().ok()?;
        let state = fields.next()?.chars().next()?;
        Some(Process { pid, ppid, state, command: fields.collect::<Vec<_>>().join(" ") })
    };
    text(&output.stdout).lines().filter_map(line).collect()
}

/// The children of a process, zombies too.
pub fn children(pid: u32) -> Vec<Process> {
    processes().into_iter().filter(|process| process.ppid == pid).collect()
}

/// The children of a process that have ended and were not waited for.
pub fn zombies(pid: u32) -> Vec<Process> {
    children(pid).into_iter().filter(|process| process.state == 'Z').collect()
}

/// How many descriptors a process has open (Linux).
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there, and ours").count()
}

/// How many sockets a process has open (Linux); none if it is gone.
pub fn sockets(pid: u32) -> usize {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}
