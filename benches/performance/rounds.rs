//! Rounds: each measures every server, one after the other, and another begins each time. What disturbs the
//! machine disturbs all, and the ratio of a round says more than its figures.

use std::fmt::Write;
use std::time::Duration;

use crate::load::{self, hold};
use crate::servers::Server;
use crate::summary::{Summary, cell};
use crate::support::wait_until;
use crate::usage::{descendants, processors, pss};

/// How much to measure.
#[derive(Clone, Copy)]
pub struct Size {
    /// Rounds.
    pub rounds: usize,
    /// How long each server is measured in a round.
    pub time: Duration,
    /// Clients at once.
    pub clients: usize,
}

/// One server in one round.
#[derive(Clone, Copy)]
pub struct Figures {
    /// Conversations a second.
    pub rate: f64,
    /// User and system time of the server and its children for each, in microseconds.
    pub cpu_us: f64,
    /// Their page faults for each.
    pub faults: f64,
    /// The part of the machine's CPU time that the server had.
    pub server_share: f64,
    /// The part that the clients had.
    pub load_share: f64,
    /// Clients that had no whole reply.
    pub failed: usize,
}

impl Figures {
    fn of(server: Server, size: Size, threads: usize) -> Figures {
        let up = server.start();
        let load = load::run_threads(threads, up.port, size.clients, size.time);
        let used = up.stop();
        // the first client saw that the server is up
        let served = load.served as f64 + 1.0;
        let machine_us = load.elapsed.as_secs_f64() * 1e6 * processors();
        Figures {
            rate: load.served as f64 / load.elapsed.as_secs_f64(),
            cpu_us: used.cpu_us / served,
            faults: used.faults / served,
            server_share: used.cpu_us / machine_us,
            load_share: load.cpu_us / machine_us,
            failed: load.failed,
        }
    }
}

/// Something of the figures, and how it is named and printed.
pub type Column = (&'static str, fn(&Figures) -> f64, usize);
/// The columns of a table.
pub const COLUMNS: [Column; 3] = [
    ("connections per second", |figures| figures.rate, 0),
    ("CPU, µs per connection", |figures| figures.cpu_us, 0),
    ("page faults per connection", |figures| figures.faults, 1),
];

/// Servers that do the same, and what was measured of them.
pub struct Comparison {
    /// The servers.
    pub servers: Vec<Server>,
    /// For each round, the figures of each.
    rounds: Vec<Vec<Figures>>,
    /// The memory of each for an idle client, in kilobytes.
    memory: Vec<Option<f64>>,
}

impl Comparison {
    /// Measure.
    pub fn of(servers: Vec<Server>, size: Size) -> Comparison {
        let memory = servers.iter().map(|&server| idle_memory(server)).collect();
        let mut comparison = Comparison { servers, rounds: Vec::new(), memory };
        for round in 0..size.rounds {
            let mut figures: Vec<Option<Figures>> = vec![None; comparison.servers.len()];
            for n in 0..figures.len() {
                let which = (n + round) % figures.len();
                figures[which] = Some(Figures::of(comparison.servers[which], size, 1));
            }
            comparison.rounds.push(figures.into_iter().flatten().collect());
        }
        comparison
    }

    fn figures(&self, server: usize) -> impl Iterator<Item = &Figures> {
        self.rounds.iter().map(move |round| &round[server])
    }

    /// A summary of a column for a server.
    pub fn summary(&self, server: usize, column: Column) -> Option<Summary> {
        Summary::of(self.figures(server).map(column.1))
    }

    /// How many times another's figure a server's is, round by round.
    pub fn ratio(&self, server: usize, other: usize, column: Column) -> Option<Summary> {
        Summary::of(self.rounds.iter().map(|round| (column.1)(&round[server]) / (column.1)(&round[other])))
    }

    /// Where a server stands among the others.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.name == name)
    }

    /// The server of a place's memory for an idle client, in kilobytes.
    pub fn memory(&self, server: usize) -> Option<f64> {
        self.memory[server]
    }

    /// Figures, then the ratios to a server, as Markdown.
    pub fn tables(&self, reference: usize) -> String {
        let mut text = String::from("| |");
        COLUMNS.iter().for_each(|(name, ..)| write!(text, " {name} |").expect("a String takes all"));
        text += " KiB (PSS) per idle client |\n|---|---|---|---|---|\n";
        for (n, server) in self.servers.iter().enumerate() {
            write!(text, "| {} |", server.name).expect("a String takes all");
            for column in COLUMNS {
                write!(text, " {} |", cell(self.summary(n, column), column.2)).expect("a String takes all");
            }
            let memory = self.memory[n].map_or("n/a".into(), |kilobytes| format!("{kilobytes:.0}"));
            writeln!(text, " {memory} |").expect("a String takes all");
        }
        let others: Vec<usize> = (0..self.servers.len()).filter(|&n| n != reference).collect();
        text += &self.ratios(reference, &others);
        for (n, server) in self.servers.iter().enumerate() {
            let failed: usize = self.figures(n).map(|figures| figures.failed).sum();
            if failed > 0 {
                writeln!(text, "\n{}: {failed} clients had no whole reply.", server.name)
                    .expect("a String takes all");
            }
        }
        text
    }

    /// How many times the figures of one server those of others are, as Markdown.
    pub fn ratios(&self, reference: usize, others: &[usize]) -> String {
        let name = self.servers[reference].name;
        let whose = if others.len() == 1 { "the other's" } else { "the others'" };
        let mut text = format!("\nRound by round, how many times the figure of {name} {whose} is:\n\n| |");
        COLUMNS.iter().for_each(|(name, ..)| write!(text, " {name} |").expect("a String takes all"));
        text += "\n|---|---|---|---|\n";
        for &n in others {
            write!(text, "| {} |", self.servers[n].name).expect("a String takes all");
            for column in COLUMNS {
                write!(text, " {} |", cell(self.ratio(n, reference, column), 2)).expect("a String takes all");
            }
            text += "\n";
        }
        text
    }

    /// The parts of the machine that a server and its clients had.
    pub fn shares(&self, server: usize) -> (f64, f64) {
        let part = |of: fn(&Figures) -> f64| {
            Summary::of(self.figures(server).map(of)).map_or(0.0, |part| part.median)
        };
        (part(|figures| figures.server_share), part(|figures| figures.load_share))
    }
}

/// How many times the connections per second of one thread's clients those of two threads' are.
pub fn two_loads(server: Server, size: Size) -> Option<Summary> {
    Summary::of((0..size.rounds).map(|round| {
        let rate = |threads| Figures::of(server, size, threads).rate;
        if round % 2 == 0 {
            let one = rate(1);
            rate(2) / one
        } else {
            rate(2) / rate(1)
        }
    }))
}

/// The memory of all descendants of a server for each of a hundred idle clients, in kilobytes.
fn idle_memory(server: Server) -> Option<f64> {
    const CLIENTS: usize = 100;
    let up = server.start();
    let clients: Vec<_> = (0..CLIENTS).map(|_| hold(up.port)).collect();
    let mut before = Vec::new();
    wait_until("every client has a child that sleeps", || {
        let now = descendants(up.pid());
        let asleep = now.len() >= CLIENTS && now.iter().all(|process| process.state == 'S');
        let now: Vec<_> = now.into_iter().map(|process| (process.pid, process.command)).collect();
        let settled = asleep && now == before;
        before = now;
        settled
    });
    let memory = before.iter().map(|(pid, _)| pss(*pid)).sum::<Option<f64>>();
    drop(clients);
    up.stop();
    memory.map(|kilobytes| kilobytes / CLIENTS as f64)
}
