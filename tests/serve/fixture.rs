//! A running `prise serve`, and clients for it.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;

use crate::support::{
    DEADLINE, Process, Running, children, connect, descriptors, has_root, start_piped, wait_until,
};
pub use crate::support::{REPLY, am_root, exchange, reset};

/// How the server reaps its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaper {
    Hint,
    Sigchld,
}

impl Reaper {
    /// Its name for `--reaper`.
    pub fn name(self) -> &'static str {
        match self {
            Reaper::Hint => "hint",
            Reaper::Sigchld => "sigchld",
        }
    }
}

/// The options that allow one child at a time.
pub const ONE_SLOT: [&str; 2] = ["--max-children", "1"];

/// `prise serve` with a reaper and options, on a port that the kernel picks. Without a program, it runs the tutorial's
/// child.
pub fn serve(reaper: Reaper, options: &[&str], program: &[&str]) -> Command {
    serve_through(&[], reaper, options, program)
}

/// The same through a launcher: a command that ends in an exec of its last arguments.
pub fn serve_through(launcher: &[&str], reaper: Reaper, options: &[&str], program: &[&str]) -> Command {
    let mut words = launcher.to_vec();
    words.extend([env!("CARGO_BIN_EXE_prise"), "serve", "--reaper", reaper.name()]);
    words.extend(options);
    if !options.iter().any(|word| word.ends_with(":0")) {
        words.push("127.0.0.1:0");
    }
    if !program.is_empty() {
        words.push("--");
        words.extend(program);
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// A listening server. Dropping this value ends it and all its children.
pub struct Server {
    pub running: Running,
    pub port: u16,
    /// Its number of descriptors before the first client.
    pub initial_descriptors: usize,
}

impl Server {
    /// Start it.
    #[track_caller]
    pub fn start(reaper: Reaper, options: &[&str], program: &[&str]) -> Server {
        Server::run(&mut serve(reaper, options, program))
    }

    /// Start it with this command.
    #[track_caller]
    pub fn run(command: &mut Command) -> Server {
        let mut running = start_piped(command);
        let mut printed = String::new();
        wait_until("the server prints where it listens", || {
            printed = running.stdout();
            assert!(running.try_wait().is_none(), "it has ended: {}", running.stderr());
            printed.ends_with('\n')
        });
        let initial_descriptors = descriptors(running.pid());
        Server { running, port: port_in(&printed), initial_descriptors }
    }

    /// The parent's process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Send a signal to the parent.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// The parent's children, including zombies.
    pub fn children(&self) -> Vec<Process> {
        children(self.pid())
    }

    /// Wait until the parent has this many children.
    #[track_caller]
    pub fn wait_children(&self, expected: usize) {
        wait_until(&format!("{expected} children"), || child_pids(self.pid()).len() == expected);
    }

    /// Wait until there is exactly one child and it executes a program of this name; gives its process id.
    #[track_caller]
    pub fn only_child(&self, name: &str) -> u32 {
        let mut found = 0;
        wait_until(&format!("one child, which runs {name}"), || {
            let children = child_pids(self.pid());
            found = children.first().copied().unwrap_or(0);
            children.len() == 1 && program_name(found) == name
        });
        found
    }

    /// Connect a client.
    pub fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// Connect a client, send a message, half-close; gives the reply.
    #[track_caller]
    pub fn ask(&self, message: &[u8]) -> Vec<u8> {
        exchange(self.connect(), message)
    }

    /// Its log so far.
    pub fn log(&mut self) -> String {
        self.running.stderr()
    }

    /// Wait until a pattern matches in the log; gives the match's first group, or the whole match.
    #[track_caller]
    pub fn wait_log(&mut self, pattern: &str) -> String {
        let pattern = Regex::new(pattern).expect("a regular expression");
        let end = Instant::now() + DEADLINE;
        loop {
            let log = self.log();
            if let Some(found) = pattern.captures(&log) {
                return found.get(1).unwrap_or_else(|| found.get(0).expect("a match")).as_str().into();
            }
            assert!(Instant::now() < end, "{pattern} is not in the log:\n{log}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How often a text is in the log.
    pub fn logged(&mut self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Ask for its counters with SIGUSR1, and assert that they add up.
    #[track_caller]
    pub fn status(&mut self) -> Status {
        let lines = |log: &str| log.lines().filter(|line| line.starts_with("prise: status ")).count();
        let before = lines(&self.log());
        self.signal(Signal::SIGUSR1);
        let mut log = String::new();
        wait_until("the status is logged", || {
            log = self.log();
            log.ends_with('\n') && lines(&log) > before
        });
        let line = log.lines().rfind(|line| line.starts_with("prise: status ")).expect("it was logged");
        let status = Status::of(line);
        status.assert_adds_up();
        status
    }

    /// Wait until no client is served or waits; then assert that no child, zombie or descriptor is left over.
    #[track_caller]
    pub fn wait_idle(&mut self) -> Status {
        let mut status = self.status();
        let end = Instant::now() + DEADLINE;
        while status.live + status.waiting > 0 {
            assert!(Instant::now() < end, "clients are left: {status:?}");
            std::thread::sleep(Duration::from_millis(10));
            status = self.status();
        }
        assert_eq!(status.accepted, status.ended + status.refused, "{status:?}");
        self.wait_children(0);
        assert_eq!(descriptors(self.pid()), self.initial_descriptors, "descriptors");
        status
    }

    /// Stop it with SIGTERM; gives its whole log. Its exit status must be 0.
    #[track_caller]
    pub fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        self.wait_stopped()
    }

    /// Wait until it has ended; gives its whole log. Its exit status must be 0, and its children must end too, since
    /// they hold the log open.
    #[track_caller]
    pub fn wait_stopped(&mut self) -> String {
        let status = self.running.wait();
        let log = String::from_utf8_lossy(self.running.all_stderr().as_slice()).into_owned();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let parent = Pid::from_raw(self.pid() as i32);
        // each child has its own process group; at its third SIGTERM, the server kills them
        for _ in 0..200 {
            if self.running.try_wait().is_some() {
                break;
            }
            let _ = kill(parent, Signal::SIGTERM);
            let _ = kill(parent, Signal::SIGCONT);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Run a server that must fail to start and print nothing on stdout; gives its exit code and its stderr.
#[track_caller]
pub fn failed_start(command: &mut Command) -> (Option<i32>, String) {
    let mut running = start_piped(command);
    let status = running.wait();
    assert_eq!(running.all_stdout(), b"", "{command:?}");
    (status.code(), String::from_utf8_lossy(&running.all_stderr()).into_owned())
}

/// The counters of a `status` log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub live: u64,
    pub waiting: u64,
    pub accepted: u64,
    pub started: u64,
    pub ended: u64,
    pub refused: u64,
    pub exhausted: u64,
    pub lost: u64,
}

impl Status {
    /// Read them from a line.
    #[track_caller]
    pub fn of(line: &str) -> Status {
        let number = |key: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            let digits = value.unwrap_or_else(|| panic!("no {key} in {line}")).split('/').next();
            digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{key} in {line}"))
        };
        Status {
            live: number("live"),
            waiting: number("waiting"),
            accepted: number("accepted"),
            started: number("started"),
            ended: number("ended"),
            refused: number("refused"),
            exhausted: number("exhausted"),
            lost: number("lost-lines"),
        }
    }

    /// Assert that each accepted client was started, refused, or waits, and that each started child has ended or lives.
    #[track_caller]
    pub fn assert_adds_up(&self) {
        assert_eq!(self.accepted, self.started + self.refused + self.waiting, "{self:?}");
        assert_eq!(self.started, self.ended + self.live, "{self:?}");
    }
}

/// The port at the end of the address that a server prints.
#[track_caller]
pub fn port_in(printed: &str) -> u16 {
    let port = printed.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
    port.expect("the address ends in a port")
}

/// Assert that the server closes a client without sending anything, by an end of file or a reset.
#[track_caller]
pub fn assert_closed(client: &mut TcpStream) {
    let mut byte = [0];
    match client.read(&mut byte) {
        Ok(0) => {}
        Ok(_) => panic!("the client got {byte:?}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

/// A client's address, as the log shows it.
pub fn peer(client: &TcpStream) -> String {
    client.local_addr().expect("a connection has an address").to_string()
}

/// The process ids of a process's children, from the kernel's own list, which stays fast with thousands of processes.
pub fn child_pids(pid: u32) -> Vec<u32> {
    let Ok(list) = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) else {
        return children(pid).into_iter().map(|child| child.pid).collect();
    };
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The name of the program that a process executes; empty if the process has ended.
pub fn program_name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().into()
}

/// How many processes on this machine execute a command.
pub fn running_count(command: &str) -> usize {
    let all = crate::support::processes();
    all.iter().filter(|process| process.command == command && process.state != 'Z').count()
}

/// A `sleep` command with a unique duration, by which a test finds its own processes.
pub fn marked_sleep() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("sleep 97.{:06}{:03}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether this process runs as root. If not, this panics in CI; elsewhere the caller skips its test.
pub fn is_root() -> bool {
    has_root("only root may change users, groups and the root directory")
}

/// Locked for writing by a test that starts thousands of processes. Locked for reading by a test that reads the whole
/// process table often and whose answers have a time limit.
static MANY_PROCESSES: RwLock<()> = RwLock::new(());

/// Begin a test with thousands of processes.
pub fn many_processes() -> RwLockWriteGuard<'static, ()> {
    // the lock protects no data, so a poisoned one is still good
    MANY_PROCESSES.write().unwrap_or_else(PoisonError::into_inner)
}

/// Begin a test during which no other test may have thousands of processes.
pub fn quiet_machine() -> RwLockReadGuard<'static, ()> {
    MANY_PROCESSES.read().unwrap_or_else(PoisonError::into_inner)
}

/// Raise the limit of descriptors to the hard limit: some tests have thousands of clients.
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // if it fails, the tests that need it fail with a clear message
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
