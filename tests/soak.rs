//! soak: `prise serve` under clients of every kind, while it is stopped, asked and starved.
//! Usage: make soak [SOAK_MINUTES=2]; as a test it takes some seconds.
//!
//! At the end every connection is accounted for, nothing of the server is left, and it holds no more than after the
//! first second.

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

use support::{children, connect, descriptors, example, free_port, has, processes, read_to_end, wait_until};

/// Children that there may be: fewer than clients, so that some wait in the backlog.
const CAP: usize = 8;
/// What the parent's own memory may have grown by, in kilobytes: a page or two of lists that were never so long before.
const GROWTH_KB: u64 = 64;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // each is to have the machine
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
        trial("the_server_is_as_good_after_a_soak_as_before", Vec::new),
        trial("and_so_it_is_with_a_program_to_execute", || vec![example("handler")]),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// How long each of the two is: half of SOAK_MINUTES, or some seconds.
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
    // lists have their length, and malloc its pages
    run(&server, &kinds, Duration::from_secs(1));
    let connected = || kinds.iter().map(|kind| kind.connected.load(Relaxed)).sum();
    let (fds, memory) = (server.at_rest(connected()).fds, server.memory_kb());
    run(&server, &kinds, duration());
    let connected = connected();
    let rest = server.at_rest(connected);
    let memory_after = server.memory_kb();

    let mut summary = format!("soak of {:.0?}: {}\n", duration(), rest.status);
    for kind in &kinds {
        let (connected, answered) = (kind.connected.load(Relaxed), kind.answered.load(Relaxed));
        summary += &format!("  {:13} {connected} connections, {answered} answered\n", kind.name);
    }
    let disturbed = server.disturbed.each_ref().map(|count| count.load(Relaxed));
    summary +=
        &format!("  stopped {} times, starved {}, asked {}\n", disturbed[0], disturbed[1], disturbed[2]);
    summary += &format!("  descriptors {fds}, then {}; memory {memory} kB, then {memory_after}\n", rest.fds);
    let _ = writeln!(std::io::stderr(), "{summary}");

    let number = |key: &str| rest.number(key);
    let accepted = number("accepted");
    assert_eq!(accepted, connected, "accepted, and connected");
    assert_eq!(accepted, number("started") + number("refused"), "accepted, and started or refused");
    assert_eq!(number("refused"), 0, "nobody was to be refused");
    assert_eq!(number("started"), number("ended"), "started, and ended");
    assert_eq!(number("lost-lines"), 0, "lines were lost, though the log was read");
    let lines = |which: usize| server.lines[which].load(Relaxed);
    assert_eq!((lines(0), lines(1)), (number("started"), number("ended")), "lines of starts, and of ends");
    assert!(number("exhausted") > 0, "descriptors never ran out");
    assert!(kinds.iter().all(|kind| kind.connected.load(Relaxed) > 0), "a kind of client never came");
    assert_eq!(rest.fds, fds, "descriptors");
    assert!(memory_after <= memory + GROWTH_KB, "memory grew from {memory} kB to {memory_after}");
    server.stop();
}

// ---- clients ----

/// Clients that all behave the same way.
struct Kind {
    name: &'static str,
    /// How many of them there are at a time.
    threads: usize,
    /// What one does with its connection; whether it was answered. None: it asked for no answer.
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

    /// Be one of them, again and again.
    fn go_on(&self, port: u16, over: &AtomicBool) {
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

/// Whether all of the reply comes, and its end.
fn replied(client: &mut TcpStream) -> Option<bool> {
    let (reply, end) = read_to_end(client);
    Some(end.is_ok() && reply.starts_with(b"ok") && reply.len() == 18)
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
    // else they would be all that is in the backlog
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
    /// Stops, famines, questions.
    disturbed: [AtomicU64; 3],
    /// Lines of starts, of ends.
    lines: &'static [AtomicU64; 2],
    /// The last line of counters.
    status: &'static Mutex<String>,
}

/// The server when nobody is served.
struct Rest {
    status: String,
    fds: usize,
}

impl Rest {
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
        // an argument of the server and of its children, to know them by
        let mine = format!("127.0.0.1:{port}");
        let mut child = Command::new(env!("CARGO_BIN_EXE_prise"))
            .args(["serve", "--hangup", "--timeout", "30", "--max-children", &CAP.to_string()])
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
                    said if said.starts_with("status ") || said.starts_with("listening ") => {
                        *status.lock().expect("no panic comes while it is locked") = said.into();
                    }
                    _ => {}
                }
            }
        });
        let server = Server { child: Mutex::new(child), port, disturbed: Default::default(), lines, status };
        wait_until("the server listens", || server.said().starts_with("listening "));
        server
    }

    fn pid(&self) -> u32 {
        self.child.lock().expect("no panic comes while it is locked").id()
    }

    fn said(&self) -> String {
        self.status.lock().expect("no panic comes while it is locked").clone()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("the server is there");
    }

    /// Its counters, asked for now.
    fn status(&self) -> String {
        self.status.lock().expect("no panic comes while it is locked").clear();
        self.signal(Signal::SIGUSR1);
        wait_until("the server tells its status", || self.said().starts_with("status "));
        self.said()
    }

    /// Wait until so many have come, and nobody is served, and nobody is in the backlog.
    fn at_rest(&self, connected: u64) -> Rest {
        let mut rest = Rest { status: String::new(), fds: 0 };
        wait_until(&format!("all of {connected} have been served"), || {
            rest.status = self.status();
            rest.number("accepted") >= connected && rest.number("live") + rest.number("waiting") == 0
        });
        wait_until("no child is left, nor a zombie", || children(self.pid()).is_empty());
        wait_until("every line is read", || self.lines[1].load(Relaxed) >= rest.number("ended"));
        rest.fds = descriptors(self.pid());
        rest
    }

    /// What the parent alone has in memory, in kilobytes.
    fn memory_kb(&self) -> u64 {
        let rollup = format!("/proc/{}/smaps_rollup", self.pid());
        let rollup = std::fs::read_to_string(rollup).expect("the server is there");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).expect("it is counted");
        line.trim().trim_end_matches(" kB").parse().expect("a number of kilobytes")
    }

    /// Let it be stopped, starved and asked, one after the other.
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

    /// `prlimit`, the soft limit.
    fn limit_descriptors(&self, soft: &str) {
        let pid = self.pid().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={soft}")]).status();
        assert!(done.is_ok_and(|status| status.success()), "prlimit fails");
    }

    /// Stop it: it exits with 0, and leaves nobody.
    fn stop(self) {
        self.signal(Signal::SIGTERM);
        let mut code = None;
        wait_until("the server ends", || {
            let status = self.child.lock().expect("no panic comes while it is locked").try_wait();
            code = status.expect("it is ours").map(|status| status.code());
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
    /// When something was wrong.
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Let all clients come, and the server be disturbed, for a time.
fn run(server: &Server, kinds: &[Kind], time: Duration) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut busy = vec![scope.spawn(|| server.disturb(&over))];
        for kind in kinds {
            busy.extend((0..kind.threads).map(|_| scope.spawn(|| kind.go_on(server.port, &over))));
        }
        let end = Instant::now() + time;
        while Instant::now() < end && !busy.iter().any(|thread| thread.is_finished()) {
            thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Relaxed);
    });
}
