//! How idle clients slow down the others. The same server runs twice, once with idle clients and once without, and both
//! get the same load in turns.

use std::fmt::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::load::{self, connect};
use crate::servers::{RunningServer, Server};
use crate::summary::{Summary, cell};
use crate::support::children;
use crate::usage::ticks;

/// The numbers of idle clients held, one step after the other.
pub const STEPS: [usize; 4] = [0, 1000, 4000, 8000];
/// How many clients connect before the server must have a child for each: fewer than the backlog holds.
const BATCH: usize = 1000;
/// How long all of them may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How much to measure.
#[derive(Clone, Copy)]
pub struct Size {
    /// How often each pair of servers is started.
    pub repeats: usize,
    /// How many turns each of the two has at a step.
    pub turns: usize,
    /// How long a turn lasts.
    pub time: Duration,
    /// How many clients connect at a time.
    pub clients: usize,
    /// How many of the steps to measure.
    pub steps: usize,
}

/// The result of a turn.
#[derive(Clone, Copy)]
struct Turn {
    /// Connections per second.
    rate: f64,
    /// CPU time of the server and its children per connection, in hundredths of a second.
    cpu: f64,
}

impl Turn {
    fn measure(server: &RunningServer, size: Size) -> Turn {
        let before = ticks(server.pid());
        let load = load::run(server.port, size.clients, size.time);
        let cpu = (ticks(server.pid()) - before) / load.served as f64;
        Turn { rate: load.served as f64 / load.elapsed.as_secs_f64(), cpu }
    }
}

/// A server's curve.
pub struct Curve {
    /// The server.
    pub server: Server,
    /// For each step, the pairs of turns: with idle clients, and without.
    turns: Vec<Vec<(Turn, Turn)>>,
}

impl Curve {
    /// The connections per second at a step, with idle clients.
    pub fn rate(&self, step: usize) -> Option<Summary> {
        Summary::of(self.turns[step].iter().map(|(with, _)| with.rate))
    }

    /// The connections per second with idle clients, divided by those without, turn by turn.
    pub fn rate_ratio(&self, step: usize) -> Option<Summary> {
        Summary::of(self.turns[step].iter().map(|(with, none)| with.rate / none.rate))
    }

    /// The CPU time per connection with idle clients, divided by that without, turn by turn.
    pub fn cpu_ratio(&self, step: usize) -> Option<Summary> {
        Summary::of(self.turns[step].iter().map(|(with, none)| with.cpu / none.cpu))
    }
}

/// Measure a curve for each server.
pub fn measure(servers: &[Server], size: Size) -> Vec<Curve> {
    let steps = &STEPS[..size.steps];
    let fresh = |&server| Curve { server, turns: vec![Vec::new(); steps.len()] };
    let mut curves: Vec<Curve> = servers.iter().map(fresh).collect();
    for _ in 0..size.repeats {
        for curve in &mut curves {
            let (holding, empty) = (curve.server.start(), curve.server.start());
            let mut held = Vec::new();
            for (step, &wanted) in steps.iter().enumerate() {
                connect_up_to(wanted, &mut held, &holding, curve.server.name);
                for turn in 0..size.turns {
                    let (with, none) = if turn % 2 == 0 {
                        let with = Turn::measure(&holding, size);
                        (with, Turn::measure(&empty, size))
                    } else {
                        let none = Turn::measure(&empty, size);
                        (Turn::measure(&holding, size), none)
                    };
                    curve.turns[step].push((with, none));
                }
            }
            drop(held);
            holding.stop();
            empty.stop();
        }
    }
    curves
}

/// Connect idle clients until `wanted` are held, and wait until each has a child.
fn connect_up_to(wanted: usize, held: &mut Vec<TcpStream>, server: &RunningServer, name: &str) {
    let end = Instant::now() + TIMEOUT;
    while held.len() < wanted {
        let more = BATCH.min(wanted - held.len());
        held.extend((0..more).map(|_| connect(server.port)));
        while children(server.pid()).len() < held.len() {
            assert!(Instant::now() < end, "{name}: not {} children within {TIMEOUT:?}", held.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The curves as a table, as Markdown.
pub fn table(curves: &[Curve], steps: usize) -> String {
    let mut text = String::from("| idle clients held |");
    let mut line = String::from("|---|");
    for held in &STEPS[..steps] {
        write!(text, " {held} |").expect("a String can be written");
        line += "---|";
    }
    write!(text, "\n{line}\n").expect("a String can be written");
    for curve in curves {
        let mut row = |name: &str, of: &dyn Fn(usize) -> Option<Summary>, decimals: usize| {
            let cells: Vec<String> = (0..steps).map(|step| cell(of(step), decimals)).collect();
            text += &format!("| {name} | {} |\n", cells.join(" | "));
        };
        row(curve.server.name, &|step| curve.rate(step), 0);
        row("… divided by the rate with none held", &|step| curve.rate_ratio(step), 2);
        row("… CPU per connection, divided likewise", &|step| curve.cpu_ratio(step), 2);
    }
    text
}
