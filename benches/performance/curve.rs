//! What idle clients cost those who come and go: the same server twice, one with idle clients and one with none,
//! and the same load on both by turns.

use std::fmt::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::load::{self, hold};
use crate::servers::{Server, Up};
use crate::summary::{Summary, cell};
use crate::support::children;
use crate::usage::ticks;

/// How many idle clients are held, one step after the other.
pub const STEPS: [usize; 4] = [0, 1000, 4000, 8000];
/// So many connect before it is seen that they have children: fewer than a backlog holds.
const AT_ONCE: usize = 1000;
/// How long all of them may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much to measure.
#[derive(Clone, Copy)]
pub struct Size {
    /// How often each server is begun anew.
    pub repeats: usize,
    /// How often the two take turns at a step.
    pub turns: usize,
    /// How long a turn is.
    pub time: Duration,
    /// Clients at once.
    pub clients: usize,
    /// The steps, from the first on.
    pub steps: usize,
}

/// What a turn gave.
#[derive(Clone, Copy)]
struct Turn {
    /// Connections per second.
    rate: f64,
    /// Of the server and its children for each, in hundredths of a second.
    cpu: f64,
}

impl Turn {
    fn of(up: &Up, size: Size) -> Turn {
        let before = ticks(up.pid());
        let load = load::run(up.port, size.clients, size.time);
        let cpu = (ticks(up.pid()) - before) / load.served as f64;
        Turn { rate: load.served as f64 / load.elapsed.as_secs_f64(), cpu }
    }
}

/// A server's curve.
pub struct Curve {
    /// The server.
    pub server: Server,
    /// For each step, what each turn gave: with idle clients, and with none.
    turns: Vec<Vec<(Turn, Turn)>>,
}

impl Curve {
    /// The connections per second at a step.
    pub fn rate(&self, step: usize) -> Option<Summary> {
        Summary::of(self.turns[step].iter().map(|(with, _)| with.rate))
    }

    /// How many times those with nobody held they are, turn by turn.
    pub fn ratio(&self, step: usize) -> Option<Summary> {
        Summary::of(self.turns[step].iter().map(|(with, none)| with.rate / none.rate))
    }

    /// How many times the CPU time with nobody held a connection takes.
    pub fn cpu(&self, step: usize) -> Option<Summary> {
        Summary::of(self.turns[step].iter().map(|(with, none)| with.cpu / none.cpu))
    }
}

/// Measure.
pub fn of(servers: &[Server], size: Size) -> Vec<Curve> {
    let steps = &STEPS[..size.steps];
    let fresh = |&server| Curve { server, turns: vec![Vec::new(); steps.len()] };
    let mut curves: Vec<Curve> = servers.iter().map(fresh).collect();
    for _ in 0..size.repeats {
        for curve in &mut curves {
            let (holding, empty) = (curve.server.start(), curve.server.start());
            let mut held = Vec::new();
            for (step, &wanted) in steps.iter().enumerate() {
                hold_up_to(wanted, &mut held, &holding, curve.server.name);
                for turn in 0..size.turns {
                    let (with, none) = if turn % 2 == 0 {
                        let with = Turn::of(&holding, size);
                        (with, Turn::of(&empty, size))
                    } else {
                        let none = Turn::of(&empty, size);
                        (Turn::of(&holding, size), none)
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

/// Hold more clients, until there are so many, and each has a child.
fn hold_up_to(wanted: usize, held: &mut Vec<TcpStream>, up: &Up, name: &str) {
    let end = Instant::now() + PATIENCE;
    while held.len() < wanted {
        let more = AT_ONCE.min(wanted - held.len());
        held.extend((0..more).map(|_| hold(up.port)));
        while children(up.pid()).len() < held.len() {
            assert!(Instant::now() < end, "{name}: not {} children within {PATIENCE:?}", held.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The curves as Markdown.
pub fn table(curves: &[Curve], steps: usize) -> String {
    let mut text = String::from("| idle clients held |");
    let mut line = String::from("|---|");
    for held in &STEPS[..steps] {
        write!(text, " {held} |").expect("a String takes all");
        line += "---|";
    }
    write!(text, "\n{line}\n").expect("a String takes all");
    for curve in curves {
        let mut row = |name: &str, of: &dyn Fn(usize) -> Option<Summary>, decimals: usize| {
            let cells: Vec<String> = (0..steps).map(|step| cell(of(step), decimals)).collect();
            text += &format!("| {name} | {} |\n", cells.join(" | "));
        };
        row(curve.server.name, &|step| curve.rate(step), 0);
        row("… times the rate with none held", &|step| curve.ratio(step), 2);
        row("… times the CPU per connection", &|step| curve.cpu(step), 2);
    }
    text
}
