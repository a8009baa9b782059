//! A server that is running, and clients for it.

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

use crate::support::{DEADLINE, Process, Running, children, connect, descriptors, start_piped, wait_until};
pub use crate::support::{am_root, finish, reset};

/// What a client of the tutorial's child gets: "ok" and 16 NULs.
pub const REPLY: &[u8; 18] = b"ok\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Which way of reaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaper {
    Hint,
    Sigchld,
}

impl Reaper {
    /// As `--reaper` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Reaper::Hint => "hint",
            Reaper::Sigchld => "sigchld",
        }
    }
}

/// `prise serve` with a reaper and options, on a port that it chooses; no program is the tutorial's child.
pub fn serve(reaper: Reaper, options: &[&str], program: &[&str]) -> Command {
    serve_under(&[], reaper, options, program)
}

/// The same through a launcher, which ends with an exec of its last arguments.
pub fn serve_under(launcher: &[&str], reaper: Reaper, options: &[&str], program: &[&str]) -> Command {
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

/// A server that listens. It ends with this value, and all of its children.
pub struct Server {
    pub running: Running,
    pub port: u16,
    /// How many descriptors it had when it began.
    pub held: usize,
}

impl Server {
    /// Start it.
    #[track_caller]
    pub fn start(reaper: Reaper, options: &[&str], program: &[&str]) -> Server {
        Server::run(&mut serve(reaper, options, program))
    }

    /// Start it by a command.
    #[track_caller]
    pub fn run(command: &mut Command) -> Server {
        let mut running = start_piped(command);
        let mut printed = String::new();
        wait_until("the server prints where it listens", || {
            printed = running.stdout();
            assert!(running.try_wait().is_none(), "it has ended: {}", running.stderr());
            printed.ends_with('\n')
        });
        let held = descriptors(running.pid());
        Server { running, port: port_in(&printed), held }
    }

    /// The parent.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// A signal for the parent.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// The parent's children, zombies too.
    pub fn children(&self) -> Vec<Process> {
        children(self.pid())
    }

    /// Wait until there are this many.
    #[track_caller]
    pub fn wait_children(&self, expected: usize) {
        wait_until(&format!("{expected} children"), || offspring(self.pid()).len() == expected);
    }

    /// The one child that there is, once it executes the program, whose name that is.
    #[track_caller]
    pub fn only_child(&self, name: &str) -> u32 {
        let mut found = 0;
        wait_until(&format!("a child that is {name}"), || {
            let children = offspring(self.pid());
            found = children.first().copied().unwrap_or(0);
            children.len() == 1 && name_of(found) == name
        });
        found
    }

    /// A client of it.
    pub fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// What one client more gets for a message.
    #[track_caller]
    pub fn ask(&self, message: &[u8]) -> Vec<u8> {
        finish(self.connect(), message)
    }

    /// What it has logged so far.
    pub fn log(&mut self) -> String {
        self.running.stderr()
    }

    /// Wait until it has logged what a pattern finds; gives the first group, or all of it.
    #[track_caller]
    pub fn wait_log(&mut self, pattern: &str) -> String {
        let pattern = Regex::new(pattern).expect("a regular expression");
        let end = Instant::now() + DEADLINE;
        loop {
            let log = self.log();
            if let Some(found) = pattern.captures(&log) {
                return found.get(1).unwrap_or_else(|| found.get(0).expect("a match")).as_str().into();
            }
            assert!(Instant::now() < end, "{pattern} was not logged, but:\n{log}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How often a text was logged.
    pub fn logged(&mut self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Its counters, which add up.
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

    /// Wait until nobody is served and nobody waits: no child, no zombie, and no descriptor more than at
    /// the start are left.
    #[track_caller]
    pub fn at_rest(&mut self) -> Status {
        let mut status = self.status();
        let end = Instant::now() + DEADLINE;
        while status.live + status.waiting > 0 {
            assert!(Instant::now() < end, "not at rest: {status:?}");
            std::thread::sleep(Duration::from_millis(10));
            status = self.status();
        }
        assert_eq!(status.accepted, status.ended + status.refused, "{status:?}");
        self.wait_children(0);
        assert_eq!(descriptors(self.pid()), self.held, "descriptors");
        status
    }

    /// Stop it, which it does with 0, and take its log.
    #[track_caller]
    pub fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// It ends with 0, and leaves no child; its log.
    #[track_caller]
    pub fn ended(&mut self) -> String {
        let status = self.running.wait();
        let log = String::from_utf8_lossy(self.running.all_stderr().as_slice()).into_owned();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let parent = Pid::from_raw(self.pid() as i32);
        // the third signal kills the children, each in a group of its own
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

/// The counters of a `status` line.
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
    /// What a line says.
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

    /// Whoever was accepted was started, refused, or waits; whoever was started has ended, or lives.
    #[track_caller]
    pub fn assert_adds_up(&self) {
        assert_eq!(self.accepted, self.started + self.refused + self.waiting, "{self:?}");
        assert_eq!(self.started, self.ended + self.live, "{self:?}");
    }
}

/// The port of an address that a server has printed.
#[track_caller]
pub fn port_in(printed: &str) -> u16 {
    let port = printed.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
    port.expect("a port stands at the end")
}

/// What a client gets of a server that closes it: nothing, be it by the end of file or by a reset.
#[track_caller]
pub fn assert_closed(client: &mut TcpStream) {
    let mut byte = [0];
    match client.read(&mut byte) {
        Ok(0) => {}
        Ok(_) => panic!("it got {byte:?}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

/// The address of a client, as the log has it.
pub fn peer(client: &TcpStream) -> String {
    client.local_addr().expect("a connection has an address").to_string()
}

/// The children of a process, by the kernel's own list, which is cheap where there are thousands.
pub fn offspring(pid: u32) -> Vec<u32> {
    let Ok(list) = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) else {
        return children(pid).into_iter().map(|child| child.pid).collect();
    };
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The name of the program that a process executes; nothing if it is gone.
pub fn name_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().into()
}

/// A field of /proc/PID/stat, counted from 1 as proc(5) does; from 3 on.
#[track_caller]
pub fn stat_field(pid: u32, field: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let after_name = stat.rsplit_once(')').expect("the name is in parentheses").1;
    after_name.split_whitespace().nth(field - 3).expect("there are so many").into()
}

/// The CPU time that a process has used, in ticks of 10 ms.
#[track_caller]
pub fn cpu_ticks(pid: u32) -> u64 {
    [14, 15].into_iter().map(|field| stat_field(pid, field).parse::<u64>().expect("ticks")).sum()
}

/// How many processes execute a command, wherever they are.
pub fn running(command: &str) -> usize {
    let all = crate::support::processes();
    all.iter().filter(|process| process.command == command && process.state != 'Z').count()
}

/// A number of seconds to sleep that no other process sleeps: it tells whose process it is.
pub fn marked_sleep() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("sleep 97.{:06}{:03}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether this is root; where it is not, the caller skips, and this says so.
pub fn is_root() -> bool {
    if !am_root() {
        assert!(std::env::var_os("CI").is_none(), "this must be root");
        crate::support::skipped("only root may change users, groups and the root directory");
    }
    am_root()
}

/// Held for writing by a trial with thousands of processes, and for reading by one whose answers must come in
/// time while it looks at all processes again and again.
static CROWD: RwLock<()> = RwLock::new(());

/// Begin a trial with thousands of processes.
pub fn crowd() -> RwLockWriteGuard<'static, ()> {
    // a trial that failed while it held it has left nothing behind
    CROWD.write().unwrap_or_else(PoisonError::into_inner)
}

/// Begin a trial that no crowd may disturb.
pub fn no_crowd() -> RwLockReadGuard<'static, ()> {
    CROWD.read().unwrap_or_else(PoisonError::into_inner)
}

/// Thousands of clients are so many descriptors.
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // where it is refused, the tests that need it fail and say so
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
