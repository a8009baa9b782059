//! Shared by the tests, the demo and the benchmark: child processes that never outlive their test, free ports, waits
//! with a deadline, and the process table.
#![allow(dead_code)]

pub mod columns;
pub mod console;
#[cfg(test)]
pub mod examiner;
pub mod listings;
pub mod syntax;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
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
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::socket::{
    self, AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::Pid;

/// How long a test waits for an expected event before it fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The reply of `server fork`, of `server robust` and of `prise serve` without a program: "ok" and 16 NULs.
pub const REPLY: &[u8; 18] = b"ok\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The crate's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the project, given by its path from the crate.
#[track_caller]
pub fn read_file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text of all Rust files in a folder, concatenated.
pub fn source_of(folder: &str) -> String {
    let entries = fs::read_dir(root().join(folder)).expect("the folder exists");
    let files = entries.map(|entry| entry.expect("the folder can be read").path());
    let sources = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    sources.map(|file| fs::read_to_string(file).expect("a source is text")).collect()
}

/// Wait until a condition holds; fail after [`DEADLINE`] and name the condition.
#[track_caller]
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    assert!(holds_within(DEADLINE, holds), "not within {DEADLINE:?}: {what}");
}

/// Wait until a condition holds; false if it does not within the time.
pub fn holds_within(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    while !holds() {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Assert that an action takes less than a limit. A busy machine may delay it: the action has three attempts.
#[track_caller]
pub fn assert_takes_less(limit: Duration, mut action: impl FnMut() -> Duration) {
    let times: Vec<Duration> = (0..3).map(|_| action()).take_while(|time| *time >= limit).collect();
    assert!(times.len() < 3, "took at least {limit:?} three times: {times:?}");
}

/// The path of a C twin, built by the Makefile: `twin("server/fork")`.
pub fn twin(program: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| make("c"));
    root().join("target/c").join(program)
}

/// The same twin, built with AddressSanitizer and UBSan.
pub fn sanitized_twin(program: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| make("c-sanitized"));
    root().join("target/c-sanitized").join(program)
}

fn make(target: &str) {
    fs::create_dir_all(root().join("target")).expect("target/ can be created");
    let lock = fs::File::create(root().join("target/twins.lock")).expect("target/ can be written");
    lock.lock().expect("target/twins.lock can be locked");
    let mut make = Command::new("make");
    let output = without_make_variables(make.args(["-s", target]).current_dir(root()))
        .output()
        .expect("make runs: it is needed to build the C twins");
    assert!(output.status.success(), "make {target}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Remove make's variables from a command's environment: when make runs this test, the command must not use the job
/// server of that make.
pub fn without_make_variables(command: &mut Command) -> &mut Command {
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL")
}

/// The path of an example, built here: `example("handler")`. `cargo test --test NAME` does not build examples.
pub fn example(name: &str) -> PathBuf {
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let test = std::env::current_exe().expect("a test knows where it is");
    let target = test.ancestors().nth(3).expect("it is in target/debug/deps/");
    let mut built = BUILT.lock().expect("no thread panics while it holds the lock");
    if !built.iter().any(|one| one == name) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", name, "--target-dir"]).arg(target);
        cargo.env_remove("CARGO_MAKEFLAGS");
        let output = without_make_variables(&mut cargo).current_dir(root()).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        built.push(name.into());
    }
    target.join("debug/examples").join(name)
}

/// Whether a program is in the PATH.
pub fn installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// Whether a tool is installed. If it is missing, this panics in CI; elsewhere it prints the package to install, and
/// the caller skips its test.
#[track_caller]
pub fn has(tool: &str, package: &str) -> bool {
    let found = installed(tool);
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{tool} is not installed (Debian's package {package})");
        skipped(&format!("{tool} is not installed (Debian's package {package})"));
    }
    found
}

/// Whether this process runs as root. If not, this panics in CI; elsewhere it prints `why` root is needed, and the
/// caller skips its test.
#[track_caller]
pub fn has_root(why: &str) -> bool {
    if !am_root() {
        assert!(std::env::var_os("CI").is_none(), "not root");
        skipped(&format!("not root: {why}"));
    }
    am_root()
}

/// Print that a test is skipped, and why. It writes to stderr directly: the test harness captures `eprintln!`.
pub fn skipped(why: &str) {
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// A free TCP port, below the kernel's range of ephemeral ports. It stays reserved until 64 more ports are given out:
/// until then, this process binds the UDP port of the same number, and other tests skip such a port.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static RESERVED: Mutex<VecDeque<UdpSocket>> = Mutex::new(VecDeque::new());
    // each test process starts at another port
    let start = (std::process::id() % 200) as u16 * 97;
    loop {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let Ok(reservation) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if can_be_bound(port) {
            let mut reserved = RESERVED.lock().expect("no thread panics while it holds the lock");
            reserved.push_back(reservation);
            if reserved.len() > 64 {
                reserved.pop_front();
            }
            return port;
        }
    }
}

/// Whether a server can bind to a port, even without SO_REUSEADDR. On Linux this reads the kernel's tables and binds
/// nothing: another test may fork at that moment, and its child would keep the bound socket open until its exec.
fn can_be_bound(port: u16) -> bool {
    if cfg!(target_os = "linux") {
        let table = |name| fs::read_to_string(name).unwrap_or_default();
        let ours = format!(":{port:04X}");
        let uses = |line: &str| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&ours));
        return !["/proc/net/tcp", "/proc/net/tcp6"].map(table).iter().any(|table| table.lines().any(uses));
    }
    bind(tcp_socket().as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port)).is_ok()
}

/// A TCP socket for IPv4, closed on exec.
fn tcp_socket() -> OwnedFd {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .expect("a socket can be created");
    // macOS has no SOCK_CLOEXEC
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a descriptor flag can be set");
    socket
}

/// Whether a process listens on a port (Linux). It reads the kernel's table: a test connection would be a client.
pub fn listens(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc can be read");
    let ours = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next(), fields.next(), fields.next());
        local.is_some_and(|local| local.ends_with(&ours)) && state == Some("0A")
    })
}

/// A running program in its own process group. Dropping this value kills the group.
pub struct Running {
    child: Child,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
}

/// Start a program. If its stdout or stderr is `Stdio::piped()`, the test can read it while the program runs.
pub fn start(command: &mut Command) -> Running {
    // the program inherits this thread's signal mask, so unblock all signals for its start; the reader threads must
    // block what this thread blocks, so restore the mask before they start
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

/// Let programs start with default signal dispositions, however the tests themselves were started. Exec keeps ignored
/// signals ignored, and `nohup` ignores SIGHUP, a shell's `&` ignores SIGINT and SIGQUIT, Python ignores SIGXFSZ.
///
/// From now on an empty handler catches the signals that were ignored. The tests see no difference, and exec resets
/// caught signals to the default on every Unix.
pub fn unignore_signals() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        // a shell cannot trap a signal that it inherits as ignored
        let script = "for signal; do trap \"echo SIG$signal\" $signal; kill -s $signal $$; done";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", "HUP", "INT", "QUIT", "XFSZ"]);
        let trapped = text(&shell.output().expect("sh runs").stdout);
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGXFSZ] {
            if !trapped.lines().any(|name| name == signal.as_str()) {
                let unused_flag = Arc::default();
                signal_hook::flag::register(signal as i32, unused_flag).expect("a signal can be caught");
            }
        }
    });
}

/// Enlarge a pipe to 1 MiB (Linux). On a busy machine the reader may be late, and a server drops log lines when the
/// pipe is full.
fn enlarged<P: AsFd>(pipe: P) -> P {
    #[cfg(target_os = "linux")]
    {
        // if the kernel refuses, the pipe keeps its size
        let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(1 << 20));
    }
    pipe
}

/// Start a command with stdin from /dev/null, and stdout and stderr piped.
pub fn start_piped(command: &mut Command) -> Running {
    start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

impl Running {
    /// The process started here; it leads its process group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Take the pipe to its stdin. This works once.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("stdin is piped")
    }

    /// Send a signal to this process only, not to its group.
    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.pid() as i32), signal)
            .expect("the process can be signalled");
    }

    /// Its stdout so far.
    pub fn stdout(&mut self) -> String {
        text(self.stdout.as_mut().expect("stdout is piped").so_far())
    }

    /// Its stderr so far.
    pub fn stderr(&mut self) -> String {
        text(self.stderr.as_mut().expect("stderr is piped").so_far())
    }

    /// Wait until its stdout contains a text.
    #[track_caller]
    pub fn wait_stdout(&mut self, expected: &str) {
        self.stdout.as_mut().expect("stdout is piped").wait_for(expected);
    }

    /// Its exit status, if it has ended.
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

    /// Its whole stdout: reads until the program and its children have closed it.
    pub fn all_stdout(&mut self) -> Vec<u8> {
        self.stdout.as_mut().expect("stdout is piped").read_to_end().to_vec()
    }

    /// Its whole stderr: reads until the program and its children have closed it.
    pub fn all_stderr(&mut self) -> Vec<u8> {
        self.stderr.as_mut().expect("stderr is piped").read_to_end().to_vec()
    }

    /// Kill its process group, and reap the process.
    pub fn kill_group(&mut self) {
        // ESRCH: the group is empty
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

/// Reads a pipe or a terminal in a thread, so that the writer never waits.
pub struct Stream {
    pieces: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Stream {
    /// Start the reader thread.
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

    /// The bytes read so far.
    pub fn so_far(&mut self) -> &[u8] {
        self.bytes.extend(self.pieces.try_iter().flatten());
        &self.bytes
    }

    /// Wait until the bytes contain a text.
    #[track_caller]
    pub fn wait_for(&mut self, expected: &str) {
        let end = Instant::now() + DEADLINE;
        while !text(self.so_far()).contains(expected) {
            assert!(Instant::now() < end, "{expected:?} is not in the output: {:?}", text(&self.bytes));
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// All bytes: reads until every process has closed the other end.
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

/// Connect to a server on this machine, with a timeout on every read and write.
pub fn connect(port: u16) -> TcpStream {
    with_timeouts(TcpStream::connect(("127.0.0.1", port)).expect("the server listens"))
}

/// The same from another of this machine's loopback addresses, for example 127.0.0.2 (Linux).
pub fn connect_from(address: &str, port: u16) -> TcpStream {
    let client = tcp_socket();
    let own: Ipv4Addr = address.parse().expect("an IPv4 address");
    let local = |ip: Ipv4Addr, port| {
        let [a, b, c, d] = ip.octets();
        SockaddrIn::new(a, b, c, d, port)
    };
    bind(client.as_raw_fd(), &local(own, 0)).expect("all of 127.0.0.0/8 is this machine");
    socket::connect(client.as_raw_fd(), &local(Ipv4Addr::LOCALHOST, port)).expect("the server listens");
    with_timeouts(TcpStream::from(client))
}

fn with_timeouts(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream
}

/// Read to the end of file: the bytes, and whether the end was clean or an error.
pub fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let result = stream.read_to_end(&mut bytes).map(drop);
    (bytes, result)
}

/// Send a message, half-close, and read the reply to the end of file.
#[track_caller]
pub fn exchange(mut client: TcpStream, message: &[u8]) -> Vec<u8> {
    client.write_all(message).expect("the server accepts the message");
    client.shutdown(Shutdown::Write).expect("a connection can be half-closed");
    let (reply, end) = read_to_end(&mut client);
    end.unwrap_or_else(|error| panic!("{error} instead of the end of file, after {reply:?}"));
    reply
}

/// Close a connection with a reset (RST) instead of a FIN.
pub fn reset(client: TcpStream) {
    let no_linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&client, sockopt::Linger, &no_linger).expect("SO_LINGER can be set");
}

/// Whether this process runs as root, to which permissions and some limits do not apply.
pub fn am_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Copy a program with cp(1). If this process wrote the copy itself, another test could fork at that moment: its child
/// would keep the copy open for writing, and exec of the copy would fail with ETXTBSY.
#[track_caller]
pub fn copy_program(from: impl AsRef<OsStr>, to: &Path) {
    let from = from.as_ref();
    let status = Command::new("cp").args([from, to.as_os_str()]).status().expect("cp runs");
    assert!(status.success(), "cannot copy {}", from.display());
}

/// Change a limit of a running process: `prlimit` is the command to run prlimit(1), `limit` its option.
#[track_caller]
pub fn set_limit(prlimit: &mut Command, pid: u32, limit: &str) {
    let status = prlimit.args(["--pid", &pid.to_string(), limit]).status().expect("prlimit runs");
    assert!(status.success(), "prlimit {limit}");
}

/// A pseudo-terminal in raw mode.
pub fn raw_terminal() -> OpenptyResult {
    let terminal = openpty(None, None).expect("a pseudo-terminal can be opened");
    let mut settings = tcgetattr(&terminal.slave).expect("a terminal has settings");
    cfmakeraw(&mut settings);
    tcsetattr(&terminal.slave, SetArg::TCSANOW, &settings).expect("a terminal can be made raw");
    terminal
}

/// The writing end of a pipe without a reader.
pub fn broken_pipe() -> io::PipeWriter {
    let (reader, writer) = io::pipe().expect("a pipe can be created");
    drop(reader);
    wait_broken(&writer);
    writer
}

/// Wait until a pipe has no reader. Another test may fork at that moment: its child keeps a copy of the reading end
/// until its exec.
#[track_caller]
pub fn wait_broken(writer: &io::PipeWriter) {
    wait_until("the pipe breaks", || {
        let mut fds = [PollFd::new(writer.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|broken| broken == 1)
    });
}

/// A process of the process table.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub ppid: u32,
    /// R, S, T, Z …: ps's letter.
    pub state: char,
    pub command: String,
}

/// The process table: from /proc on Linux, elsewhere from ps.
pub fn processes() -> Vec<Process> {
    if cfg!(target_os = "linux") { proc_processes() } else { ps_processes() }
}

fn proc_processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc can be read");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

/// One process, if it exists, from /proc/PID/stat.
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

/// The children of a process, including zombies.
pub fn children(pid: u32) -> Vec<Process> {
    processes().into_iter().filter(|process| process.ppid == pid).collect()
}

/// The zombies of a process: children that have ended and that it has not reaped.
pub fn zombies(pid: u32) -> Vec<Process> {
    children(pid).into_iter().filter(|process| process.state == 'Z').collect()
}

/// How many descriptors a process has open (Linux).
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process exists and is ours").count()
}

/// A field of /proc/PID/stat (Linux), by its number in proc(5): 3 or more.
#[track_caller]
pub fn stat_field(pid: u32, field: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process exists");
    let after_name = stat.rsplit_once(')').expect("the name is in parentheses").1;
    after_name.split_whitespace().nth(field - 3).expect("the field exists").into()
}

/// The CPU time that a process has used (Linux), in ticks of 10 ms.
#[track_caller]
pub fn cpu_ticks(pid: u32) -> u64 {
    [14, 15].into_iter().map(|field| stat_field(pid, field).parse::<u64>().expect("ticks")).sum()
}

/// How many sockets a process has open (Linux); 0 if it has ended.
pub fn sockets(pid: u32) -> usize {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}
