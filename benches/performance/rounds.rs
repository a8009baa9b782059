//! Rounds: each round measures all servers, one after the other, and starts with another server than the last round.
//! Other load on the machine then affects all servers alike, so the ratios of a round say more than its figures.

use std::fmt::Write;
use std::time::Duration;

use crate::load::{self, connect};
use crate::servers::Server;
use crate::summary::{Summary, cell};
use crate::support::wait_until;
use crate::usage::{descendants, processors, pss};

/// How much to measure.
#[derive(Clone, Copy)]
pub struct Size {
    /// How many rounds.
    pub rounds: usize,
    /// How long each server is measured in a round.
    pub time: Duration,
    /// How many clients connect at a time.
    pub clients: usize,
}

/// One server in one round.
#[derive(Clone, Copy)]
pub struct Figures {
    /// Connections per second.
    pub rate: f64,
    /// User and system time of the server and its children per connection, in microseconds.
    pub cpu_us: f64,
    /// Their page faults per connection.
    pub faults: f64,
    /// The server's share of the machine's CPU time.
    pub server_share: f64,
    /// The clients' share.
    pub load_share: f64,
    /// How many clients did not get a whole reply.
    pub failed: usize,
}

impl Figures {
    fn measure(server: Server, size: Size, threads: usize) -> Figures {
        let running = server.start();
        let load = load::run_threads(threads, running.port, size.clients, size.time);
        let used = running.stop();
        // plus the client that found out that the server is ready
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

/// A column of a table: its name, one of the figures, and its decimals.
pub type Column = (&'static str, fn(&Figures) -> f64, usize);
/// The columns of a table.
pub const COLUMNS: [Column; 3] = [
    ("connections per second", |figures| figures.rate, 0),
    ("CPU, µs per connection", |figures| figures.cpu_us, 0),
    ("page faults per connection", |figures| figures.faults, 1),
];

/// Servers that do the same work, and their figures.
pub struct Comparison {
    /// The servers.
    pub servers: Vec<Server>,
    /// For each round, the figures of each server.
    rounds: Vec<Vec<Figures>>,
    /// For each server, its memory per idle client, in kilobytes.
    memory: Vec<Option<f64>>,
}

impl Comparison {
    /// Measure the servers.
    pub fn measure(servers: Vec<Server>, size: Size) -> Comparison {
        let memory = servers.iter().map(|&server| idle_memory(server)).collect();
        let mut comparison = Comparison { servers, rounds: Vec::new(), memory };
        for round in 0..size.rounds {
            let mut figures: Vec<Option<Figures>> = vec![None; comparison.servers.len()];
            for n in 0..figures.len() {
                let server = (n + round) % figures.len();
                figures[server] = Some(Figures::measure(comparison.servers[server], size, 1));
            }
            comparison.rounds.push(figures.into_iter().flatten().collect());
        }
        comparison
    }

    fn figures(&self, server: usize) -> impl Iterator<Item = &Figures> {
        self.rounds.iter().map(move |round| &round[server])
    }

    /// The summary of a column for a server.
    pub fn summary(&self, server: usize, column: Column) -> Option<Summary> {
        Summary::of(self.figures(server).map(column.1))
    }

    /// The figure of a server, divided by that of another, round by round.
    pub fn ratio(&self, server: usize, other: usize, column: Column) -> Option<Summary> {
        Summary::of(self.rounds.iter().map(|round| (column.1)(&round[server]) / (column.1)(&round[other])))
    }

    /// The index of a server.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.name == name)
    }

    /// The memory of a server per idle client, in kilobytes.
    pub fn memory(&self, server: usize) -> Option<f64> {
        self.memory[server]
    }

    /// The figures, then their ratios to those of one server, as Markdown.
    pub fn tables(&self, reference: usize) -> String {
        let mut text = String::from("| |");
        COLUMNS.iter().for_each(|(name, ..)| write!(text, " {name} |").expect("a String can be written"));
        text += " KiB (PSS) per idle client |\n|---|---|---|---|---|\n";
        for (n, server) in self.servers.iter().enumerate() {
            write!(text, "| {} |", server.name).expect("a String can be written");
            for column in COLUMNS {
                write!(text, " {} |", cell(self.summary(n, column), column.2))
                    .expect("a String can be written");
            }
            let memory = self.memory[n].map_or("n/a".into(), |kilobytes| format!("{kilobytes:.0}"));
            writeln!(text, " {memory} |").expect("a String can be written");
        }
        let others: Vec<usize> = (0..self.servers.len()).filter(|&n| n != reference).collect();
        text += &self.ratios(reference, &others);
        for (n, server) in self.servers.iter().enumerate() {
            let failed: usize = self.figures(n).map(|figures| figures.failed).sum();
            if failed > 0 {
                writeln!(text, "\n{}: {failed} clients did not get a whole reply.", server.name)
                    .expect("a String can be written");
            }
        }
        text
    }

    /// The figures of some servers, divided by those of the reference, as Markdown.
    pub fn ratios(&self, reference: usize, others: &[usize]) -> String {
        let name = self.servers[reference].name;
        let mut text = format!("\nThe figures divided by those of {name}, round by round:\n\n| |");
        COLUMNS.iter().for_each(|(name, ..)| write!(text, " {name} |").expect("a String can be written"));
        text += "\n|---|---|---|---|\n";
        for &n in others {
            write!(text, "| {} |", self.servers[n].name).expect("a String can be written");
            for column in COLUMNS {
                write!(text, " {} |", cell(self.ratio(n, reference, column), 2))
                    .expect("a String can be written");
            }
            text += "\n";
        }
        text
    }

    /// The shares of the machine's CPU time that a server and its clients used.
    pub fn shares(&self, server: usize) -> (f64, f64) {
        let share = |of: fn(&Figures) -> f64| {
            Summary::of(self.figures(server).map(of)).map_or(0.0, |share| share.median)
        };
        (share(|figures| figures.server_share), share(|figures| figures.load_share))
    }
}

/// The connections per second with two threads of clients, divided by those with one.
pub fn rate_of_two_threads(server: Server, size: Size) -> Option<Summary> {
    Summary::of((0..size.rounds).map(|round| {
        let rate = |threads| Figures::measure(server, size, threads).rate;
        if round % 2 == 0 {
            let one = rate(1);
            rate(2) / one
        } else {
            rate(2) / rate(1)
        }
    }))
}

/// The memory of all descendants of a server with a hundred idle clients, per client, in kilobytes.
fn idle_memory(server: Server) -> Option<f64> {
    const CLIENTS: usize = 100;
    let running = server.start();
    let clients: Vec<_> = (0..CLIENTS).map(|_| connect(running.port)).collect();
    let mut before = Vec::new();
    wait_until("every client has a child that sleeps", || {
        let now = descendants(running.pid());
        let asleep = now.len() >= CLIENTS && now.iter().all(|process| process.state == 'S');
        let now: Vec<_> = now.into_iter().map(|process| (process.pid, process.command)).collect();
        let settled = asleep && now == before;
        before = now;
        settled
    });
    let memory = before.iter().map(|(pid, _)| pss(*pid)).sum::<Option<f64>>();
    drop(clients);
    running.stop();
    memory.map(|kilobytes| kilobytes / CLIENTS as f64)
}
