//! connections: how many connections per second `prise server fork` serves, beside its C twin.
//! Usage: cargo bench --bench connections
//!
//! `PRISE_BENCH_ROUNDS` (11), `PRISE_BENCH_CONNECTIONS` of a round (2000) and `PRISE_BENCH_CLIENTS`
//! that connect at once (8) change the load. Every round measures both servers, and which goes first
//! alternates: what disturbs the machine disturbs both, and the ratio of a round says more than its figures.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{children, connect, free_port, read_to_end, start, twin, wait_until};

const BACKLOG: &str = "4096";
/// What the tutorial's client sends: its line, padded with NULs.
const MESSAGE: [u8; 255] = {
    let mut message = [0; 255];
    message.split_at_mut(6).0.copy_from_slice(b"hello\n");
    message
};
const REPLY_LEN: usize = 18;
/// Clock ticks a second in /proc: USER_HZ, which is 100 wherever Rust's Linux targets run.
const TICKS: f64 = 100.0;

fn main() {
    let settings = Settings::new();
    let rust = Server { program: env!("CARGO_BIN_EXE_prise").into(), arguments: &["server", "fork"] };
    let c = Server { program: twin("server/fork"), arguments: &[] };
    settings.announce();
    let rounds: Vec<Pair> =
        (0..settings.rounds).map(|round| Pair::measure(round, &rust, &c, &settings)).collect();
    print_table(&rounds);
    // a round or two prove nothing
    if rounds.len() > 2 {
        print_load(&rounds);
        print_verdict(&rounds);
    }
}

/// How much to measure.
struct Settings {
    rounds: usize,
    connections: usize,
    clients: usize,
}

impl Settings {
    /// `cargo bench` passes `--bench`; `cargo test --all-targets` does not, and wants to know only
    /// that this runs.
    fn new() -> Settings {
        let usual = if std::env::args().any(|argument| argument == "--bench") {
            Settings { rounds: 11, connections: 2000, clients: 8 }
        } else {
            println!("One small round, to see that it runs: measure with cargo bench.");
            Settings { rounds: 1, connections: 20, clients: 2 }
        };
        Settings {
            rounds: number("PRISE_BENCH_ROUNDS", usual.rounds),
            connections: number("PRISE_BENCH_CONNECTIONS", usual.connections),
            clients: number("PRISE_BENCH_CLIENTS", usual.clients),
        }
    }

    fn announce(&self) {
        let Settings { rounds, connections, clients } = self;
        println!("prise server fork and its C twin, each with --backlog {BACKLOG}: {rounds} rounds of");
        println!("{connections} connections each, {clients} at once. A cell: median (lowest to highest).\n");
    }
}

/// A number from the environment, 1 at least.
fn number(name: &str, usual: usize) -> usize {
    match std::env::var(name) {
        Err(_) => usual,
        Ok(text) => match text.parse() {
            Ok(number @ 1..) => number,
            _ => panic!("{name} is {text:?}: a number from 1 up is expected"),
        },
    }
}

/// A server to measure.
struct Server {
    program: PathBuf,
    arguments: &'static [&'static str],
}

/// What a process, and the children it has waited for, have used so far.
#[derive(Clone, Copy)]
struct Usage {
    cpu_us: f64,
    faults: f64,
}

impl Usage {
    /// From /proc/PID/stat, where there is one: minflt, cminflt, utime, stime, cutime, cstime.
    fn of(process: &str) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // the name, in parentheses, may hold spaces; after it comes field 3
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let ticks = field(14)? + field(15)? + field(16)? + field(17)?;
        Some(Usage { cpu_us: ticks * 1e6 / TICKS, faults: field(10)? + field(11)? })
    }

    fn since(self, before: Usage) -> Usage {
        Usage { cpu_us: self.cpu_us - before.cpu_us, faults: self.faults - before.faults }
    }
}

/// One round of one server.
struct Round {
    connections: f64,
    elapsed: Duration,
    /// The server and its children, the last of which may end after the clock has stopped.
    server: Option<Usage>,
    /// This program, which makes the load.
    load: Option<Usage>,
}

impl Round {
    fn measure(server: &Server, settings: &Settings) -> Round {
        let port = free_port();
        let mut command = Command::new(&server.program);
        command.args(server.arguments).args(["--port", &port.to_string(), "--backlog", BACKLOG]);
        let running = start(command.stdin(Stdio::null()).stdout(Stdio::null()));
        let pid = running.pid();
        let all_reaped = || wait_until("every child is reaped", || children(pid).is_empty());
        wait_until("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        converse(port);
        all_reaped();

        let server_before = Usage::of(&pid.to_string());
        let load_before = Usage::of("self");
        let start = Instant::now();
        converse_all(port, settings);
        let elapsed = start.elapsed();
        let load_after = Usage::of("self");
        all_reaped();
        let server_after = Usage::of(&pid.to_string());

        let spent = |before: Option<Usage>, after: Option<Usage>| Some(after?.since(before?));
        Round {
            connections: settings.connections as f64,
            elapsed,
            server: spent(server_before, server_after),
            load: spent(load_before, load_after),
        }
    }
}

/// Be a client: send the message, read to the end, and insist on a whole reply.
fn converse(port: u16) {
    let mut stream = connect(port);
    stream.write_all(&MESSAGE).expect("the server reads");
    let (reply, end) = read_to_end(&mut stream);
    assert!(reply.len() == REPLY_LEN && end.is_ok(), "not a whole reply: {reply:?}, {end:?}");
}

/// Be all clients of a round, `settings.clients` of them at once.
fn converse_all(port: u16, settings: &Settings) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..settings.clients {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < settings.connections {
                    converse(port);
                }
            });
        }
    });
}

/// One round of both servers.
struct Pair {
    rust: Round,
    c: Round,
}

impl Pair {
    fn measure(round: usize, rust: &Server, c: &Server, settings: &Settings) -> Pair {
        if round.is_multiple_of(2) {
            let rust = Round::measure(rust, settings);
            Pair { rust, c: Round::measure(c, settings) }
        } else {
            let c = Round::measure(c, settings);
            Pair { rust: Round::measure(rust, settings), c }
        }
    }

    /// How many times the C twin's figure the Rust server's is.
    fn ratio(&self, figure: Figure) -> Option<f64> {
        let (rust, c) = (figure(&self.rust)?, figure(&self.c)?);
        // fewer connections than a clock tick can show
        (c > 0.0).then(|| rust / c)
    }
}

/// Something measured; None where there is no /proc.
type Figure = fn(&Round) -> Option<f64>;

fn connections_per_second(round: &Round) -> Option<f64> {
    Some(round.connections / round.elapsed.as_secs_f64())
}

fn cpu_us_per_connection(round: &Round) -> Option<f64> {
    Some(round.server?.cpu_us / round.connections)
}

fn faults_per_connection(round: &Round) -> Option<f64> {
    Some(round.server?.faults / round.connections)
}

/// The part of the machine's CPU time that went into making the load.
fn load_share(round: &Round) -> Option<f64> {
    Some(round.load?.cpu_us / machine_us(round))
}

/// The part of the machine's CPU time that went into the server.
fn server_share(round: &Round) -> Option<f64> {
    Some(round.server?.cpu_us / machine_us(round))
}

fn machine_us(round: &Round) -> f64 {
    round.elapsed.as_secs_f64() * 1e6 * processors() as f64
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, |number| number.get())
}

/// The median, the lowest and the highest of what was measured.
struct Summary {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Summary {
    fn of(figures: impl Iterator<Item = Option<f64>>) -> Option<Summary> {
        let mut figures: Vec<f64> = figures.flatten().collect();
        figures.sort_by(f64::total_cmp);
        let (&lowest, &highest) = (figures.first()?, figures.last()?);
        // of an even number of rounds, the mean of the two in the middle
        let median = (figures[(figures.len() - 1) / 2] + figures[figures.len() / 2]) / 2.0;
        Some(Summary { median, lowest, highest })
    }
}

fn cell(summary: Option<Summary>, decimals: usize) -> String {
    summary.map_or("n/a".into(), |Summary { median, lowest, highest }| {
        format!("{median:.decimals$} ({lowest:.decimals$} to {highest:.decimals$})")
    })
}

fn print_table(rounds: &[Pair]) {
    let figures: [(&str, Figure, usize); 3] = [
        ("connections per second", connections_per_second, 0),
        ("server CPU, µs per connection", cpu_us_per_connection, 0),
        ("minor page faults per connection", faults_per_connection, 1),
    ];
    println!("| {:32} | {:>24} | {:>24} | {:>20} |", "", "Rust", "C twin", "Rust / C, by round");
    println!("|:{:-<32}-|-{:->24}:|-{:->24}:|-{:->20}:|", "", "", "", "");
    for (name, figure, decimals) in figures {
        let rust = cell(Summary::of(rounds.iter().map(|pair| figure(&pair.rust))), decimals);
        let c = cell(Summary::of(rounds.iter().map(|pair| figure(&pair.c))), decimals);
        let ratio = cell(Summary::of(rounds.iter().map(|pair| pair.ratio(figure))), 2);
        println!("| {name:32} | {rust:>24} | {c:>24} | {ratio:>20} |");
    }
}

/// Whether it was the servers that were measured, or what makes the load.
fn print_load(rounds: &[Pair]) {
    let both = || rounds.iter().flat_map(|pair| [&pair.rust, &pair.c]);
    let load = Summary::of(both().map(load_share));
    let server = Summary::of(both().map(server_share));
    let (Some(load), Some(server)) = (load, server) else { return };
    let (load, server) = (load.median * 100.0, server.median * 100.0);
    let role = if load < server { "not" } else { "as likely as the server" };
    println!("\nOf the CPU time of {} processors, the server took {server:.0} % and the load", processors());
    println!("generator {load:.0} %: it is {role} the bottleneck.");
}

/// The ratio, in words.
fn print_verdict(rounds: &[Pair]) {
    let ratios = || rounds.iter().map(|pair| pair.ratio(connections_per_second));
    let Some(Summary { median, .. }) = Summary::of(ratios()) else { return };
    let more = ratios().flatten().filter(|&ratio| ratio > 1.0).count();
    let verdict = if median < 1.0 { "SLOWER than" } else { "no slower than" };
    println!("\nRust is {verdict} its C twin: {median:.2} times its connections per second in the");
    println!("median, and more of them than C in {more} of {} rounds.", rounds.len());
}
