//! soak: runs `prise serve` under many kinds of clients, while it is stopped (SIGSTOP), asked for its counters and
//! deprived of descriptors.
//! Usage: make soak [SOAK_MINUTES=2]; as a test it takes some seconds.
//!
//! At the end every connection is accounted for, no process of the server is left, and the server has no more
//! descriptors, and at most 64 kB more memory, than after the first second.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{
    REPLY, children, connect, descriptors, example, free_port, has, processes, read_to_end, set_limit,
    wait_until,
};

/// The server's --max-children: fewer than the clients, so that some wait in the backlog.
const MAX_CHILDREN: usize = 8;
/// How much the parent's memory may grow, in kilobytes, because its lists become longer than before.
const GROWTH_KB: u64 = 64;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // one at a time, so that each has the whole machine
    arguments.test_threads = Some(1);
    let trial = |name: &str, program: fn() -> Vec<PathBuf>| {
        Trial::test(name, move || {
            if has("prlimit", "util-linux") {
                soak(&program());
            }
            Ok(())
        })
    };
    let trials = vec![
        trial("a_soak_leaves_the_server_as_it_was", Vec::new),
        trial("a_soak_with_a_program_leaves_the_server_as_it_was", || vec![example("handler")]),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The duration of each of the two tests: half of SOAK_MINUTES, or 5 seconds.
fn duration() -> Duration {
    match std::env::var("SOAK_MINUTES") {
        Err(_) => Duration::from_secs(5),
        Ok(minutes) => {
            let minutes: f64 = minutes.parse().expect("SOAK_MINUTES is a number");
            Duration::from_secs_f64(minutes * 60.0 / 2.0)
        }
    }
}

fn soak(program: &[PathBuf]) {
    let server = Server::start(program);
    let kinds = Kind::all();
    // warm up: the server's lists reach their usual length
    run(&server, &kinds, Duration::from_secs(1));
    let connected = || kinds.iter().map(|kind| kind.connected.load(Relaxed)).sum();
    let (fds, memory) = (server.wait_idle(connected()).fds, server.memory_kb());
    run(&server, &kinds, duration());
    let connected = connected();
    let idle = server.wait_idle(connected);
    let memory_after = server.memory_kb();

    let mut summary = format!("soak of {:.0?}: {}\n", duration(), idle.status);
    for kind in &kinds {
        let (connected, answered) = (kind.connected.load(Relaxed), kind.answered.load(Relaxed));
        summary += &format!("  {:13} {connected} connections, {answered} answered\n", kind.name);
    }
    let disturbed = server.disturbed.each_ref().map(|count| count.load(Relaxed));
    summary += &format!(
        "  {} times stopped, {} times out of descriptors, {} times asked for its counters\n",
        disturbed[0], disturbed[1], disturbed[2]
    );
    summary += &format!(
        "  descriptors: {fds} before, {} after; memory: {memory} kB before, {memory_after} kB after\n",
        idle.fds
    );
    let _ = writeln!(std::io::stderr(), "{summary}");

    let number = |key: &str| idle.number(key);
    let accepted = number("accepted");
    assert_eq!(accepted, connected, "accepted and connected clients");
    assert_eq!(accepted, number("started") + number("refused"), "accepted, and started or refused");
    assert_eq!(number("refused"), 0, "refused clients");
    assert_eq!(number("started"), number("ended"), "started and ended children");
    assert_eq!(number("lost-lines"), 0, "lost lines, although the log was read");
    let lines = |which: usize| server.lines[which].load(Relaxed);
    assert_eq!((lines(0), lines(1)), (number("started"), number("ended")), "log lines of starts and of ends");
    assert!(number("exhausted") > 0, "the server never ran out of descriptors");
    assert!(kinds.iter().all(|kind| kind.connected.load(Relaxed) > 0), "a kind of client never connected");
    assert_eq!(idle.fds, fds, "descriptors");
    assert!(memory_after <= memory + GROWTH_KB, "memory grew from {memory} kB to {memory_after} kB");
    server.stop();
}

// ---- clients ----

/// A kind of client.
struct Kind {
    name: &'static str,
    /// How many such clients run at a time.
    threads: usize,
    /// Uses a connection; gives whether the client got its answer, `None` if it wants no answer.
    behave: fn(TcpStream) -> Option<bool>,
    connected: AtomicU64,
    answered: AtomicU64,
}

impl Kind {
    fn all() -> [Kind; 6] {
        let kind = |name, threads, behave| Kind {
            name,
            threads,
            behave,
            connected: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        };
        [
            kind("good", 4, good),
            kind("slow", 3, slow),
            kind("silent", 2, silent),
            kind("resetting", 2, resetting),
            kind("half-closing", 2, half_closing),
            kind("flooding", 1, flooding),
        ]
    }

    /// Connect such clients, one after the other.
    fn repeat(&self, port: u16, over: &AtomicBool) {
        while !over.load(Relaxed) {
            let client = connect(port);
            self.connected.fetch_add(1, Relaxed);
            match (self.behave)(client) {
                Some(true) => drop(self.answered.fetch_add(1, Relaxed)),
                Some(false) => panic!("a {} client was not answered", self.name),
                None => {}
            }
        }
    }
}

/// Whether the whole reply arrives, and then the end of file.
fn replied(client: &mut TcpStream) -> Option<bool> {
    let (reply, end) = read_to_end(client);
    Some(end.is_ok() && reply == REPLY)
}

fn good(mut client: TcpStream) -> Option<bool> {
    client.write_all(b"hello\n").ok()?;
    replied(&mut client)
}

fn slow(mut client: TcpStream) -> Option<bool> {
    for piece in [&b"he"[..], b"ll", b"o\n"] {
        client.write_all(piece).ok()?;
        thread::sleep(Duration::from_millis(30));
    }
    replied(&mut client)
}

fn silent(mut client: TcpStream) -> Option<bool> {
    client.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
    let _ = client.read(&mut [0]);
    None
}

fn resetting(mut client: TcpStream) -> Option<bool> {
    let _ = client.write_all(b"hel");
    // without a pause, such clients would fill the backlog
    thread::sleep(Duration::from_millis(10));
    support::reset(client);
    None
}

fn half_closing(mut client: TcpStream) -> Option<bool> {
    client.write_all(b"hello").ok()?;
    client.shutdown(Shutdown::Write).ok()?;
    replied(&mut client)
}

fn flooding(mut client: TcpStream) -> Option<bool> {
    client.set_write_timeout(Some(Duration::from_millis(100))).ok()?;
    let end = Instant::now() + Duration::from_millis(100);
    while Instant::now() < end && client.write(&[b'x'; 16384]).is_ok() {}
    None
}

// ---- the server, and what is done to it ----

struct Server {
    child: Mutex<Child>,
    port: u16,
    /// How often it was stopped, out of descriptors, asked for its counters.
    disturbed: [AtomicU64; 3],
    /// How many log lines of starts and of ends were read.
    lines: &'static [AtomicU64; 2],
    /// The last `status` or `listening` line.
    status: &'static Mutex<String>,
}

/// The server's state when it serves no client.
struct Idle {
    status: String,
    fds: usize,
}

impl Idle {
    fn number(&self, key: &str) -> u64 {
        let value = self.status.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let digits = value.and_then(|value| value.split('/').next());
        digits
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("no {key} in {:?}", self.status))
    }
}

impl Server {
    fn start(program: &[PathBuf]) -> Server {
        let port = free_port();
        // an argument of the server and of its children, by which `stop` finds them
        let mine = format!("127.0.0.1:{port}");
        let mut child = Command::new(env!("CARGO_BIN_EXE_prise"))
            .args(["serve", "--hangup", "--timeout", "30", "--max-children", &MAX_CHILDREN.to_string()])
            .arg(&mine)
            .args(program.iter().flat_map(|program| ["--".into(), program.clone(), mine.clone().into()]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prise can be started");
        let log = child.stderr.take().expect("stderr is piped");
        // the thread that reads the log lives as long as the server does
        let lines: &'static [AtomicU64; 2] = Box::leak(Box::default());
        let status: &'static Mutex<String> = Box::leak(Box::default());
        thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                match line.trim_start_matches("prise: ") {
                    start if start.starts_with("start ") => drop(lines[0].fetch_add(1, Relaxed)),
                    end if end.starts_with("end ") => drop(lines[1].fetch_add(1, Relaxed)),
                    line if line.starts_with("status ") || line.starts_with("listening ") => {
                        *status.lock().expect("no thread panics while it holds the lock") = line.into();
                    }
                    _ => {}
                }
            }
        });
        let server = Server { child: Mutex::new(child), port, disturbed: Default::default(), lines, status };
        wait_until("the server listens", || server.last_status().starts_with("listening "));
        server
    }

    fn pid(&self) -> u32 {
        self.child.lock().expect("no thread panics while it holds the lock").id()
    }

    fn last_status(&self) -> String {
        self.status.lock().expect("no thread panics while it holds the lock").clone()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("the server runs");
    }

    /// Ask for its counters with SIGUSR1.
    fn status(&self) -> String {
        self.status.lock().expect("no thread panics while it holds the lock").clear();
        self.signal(Signal::SIGUSR1);
        wait_until("the server logs its status", || self.last_status().starts_with("status "));
        self.last_status()
    }

    /// Wait until all `connected` clients were accepted and served.
    fn wait_idle(&self, connected: u64) -> Idle {
        let mut idle = Idle { status: String::new(), fds: 0 };
        wait_until(&format!("all {connected} clients have been served"), || {
            idle.status = self.status();
            idle.number("accepted") >= connected && idle.number("live") + idle.number("waiting") == 0
        });
        wait_until("no child and no zombie is left", || children(self.pid()).is_empty());
        wait_until("every log line is read", || self.lines[1].load(Relaxed) >= idle.number("ended"));
        idle.fds = descriptors(self.pid());
        idle
    }

    /// The parent's own anonymous memory (PSS), in kilobytes.
    fn memory_kb(&self) -> u64 {
        let rollup = format!("/proc/{}/smaps_rollup", self.pid());
        let rollup = std::fs::read_to_string(rollup).expect("the server runs");
        let line =
            rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).expect("smaps_rollup has it");
        line.trim().trim_end_matches(" kB").parse().expect("a number of kilobytes")
    }

    /// Stop the server, deprive it of descriptors, and ask for its counters, again and again.
    fn disturb(&self, over: &AtomicBool) {
        let pause = || thread::sleep(Duration::from_millis(200));
        while !over.load(Relaxed) {
            pause();
            self.signal(Signal::SIGSTOP);
            thread::sleep(Duration::from_millis(50));
            self.signal(Signal::SIGCONT);
            self.disturbed[0].fetch_add(1, Relaxed);
            pause();
            self.limit_descriptors("4:");
            pause();
            self.limit_descriptors("1024:");
            self.disturbed[1].fetch_add(1, Relaxed);
            pause();
            self.status();
            self.disturbed[2].fetch_add(1, Relaxed);
        }
    }

    /// Change its soft limit of descriptors.
    fn limit_descriptors(&self, soft: &str) {
        set_limit(&mut Command::new("prlimit"), self.pid(), &format!("--nofile={soft}"));
    }

    /// Stop it, and assert that it exits with 0 and leaves no process.
    fn stop(self) {
        self.signal(Signal::SIGTERM);
        let mut code = None;
        wait_until("the server ends", || {
            let status = self.child.lock().expect("no thread panics while it holds the lock").try_wait();
            code = status.expect("the server is our child").map(|status| status.code());
            code.is_some()
        });
        assert_eq!(code, Some(Some(0)), "its exit status");
        let mine = format!("127.0.0.1:{}", self.port);
        let orphans: Vec<_> =
            processes().into_iter().filter(|process| process.command.contains(&mine)).collect();
        assert!(orphans.is_empty(), "{orphans:?}");
    }
}

impl Drop for Server {
    /// Kill the server if a test has failed.
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Run all kinds of clients and disturb the server, for a time.
fn run(server: &Server, kinds: &[Kind], time: Duration) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut busy = vec![scope.spawn(|| server.disturb(&over))];
        for kind in kinds {
            busy.extend((0..kind.threads).map(|_| scope.spawn(|| kind.repeat(server.port, &over))));
        }
        let end = Instant::now() + time;
        while Instant::now() < end && !busy.iter().any(|thread| thread.is_finished()) {
            thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Relaxed);
    });
}
