//! performance: measures what a process per client costs in `prise serve`, in the tutorial's fork server and in its
//! robust form, both in C and in Rust, and in the superservers that people deploy.
//! Usage: cargo bench --bench performance [-- --write]
//!
//! It prints Markdown. With `--write` it also measures the servers with idle clients, and replaces the measured part of
//! docs/performance.md. Environment variables change the load: `PRISE_BENCH_ROUNDS` (25 rounds), `PRISE_BENCH_MS` (300 ms
//! per server in each round) and `PRISE_BENCH_CLIENTS` (16 at a time). `PRISE_BENCH_BESIDE` names another build of prise
//! to measure too.

mod curve;
mod goals;
mod load;
mod machine;
mod picture;
mod rounds;
mod servers;
mod summary;
#[path = "../../tests/support/mod.rs"]
mod support;
mod usage;

use std::fs;
use std::time::Duration;

use rounds::{Comparison, Size, rate_of_two_threads};
use servers::{CURVES, EXEC, FORKED, OTHER_BUILD, Server, build_programs, other_build};
use summary::cell;
use support::root;

/// The lines of docs/performance.md around the measured part.
const BEGIN: &str = "<!-- measured: make performance writes what follows -->\n";
const END: &str = "<!-- measured: until here -->\n";

fn main() {
    let argument = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    // without --bench, as in `cargo test --all-targets`, the only question is whether this runs
    let (measure, write) = (argument("--bench"), argument("--write"));
    let size = Size {
        rounds: number("PRISE_BENCH_ROUNDS", if measure { 25 } else { 1 }),
        time: Duration::from_millis(number("PRISE_BENCH_MS", if measure { 300 } else { 20 }) as u64),
        clients: number("PRISE_BENCH_CLIENTS", 16),
    };
    build_programs();

    let (forked, exec, text) = compare(size);
    let mut text = machine::describe() + &text;
    if write || !measure {
        let steps = if write { curve::STEPS.len() } else { 1 };
        let turns = if write { 8 } else { 1 };
        let size = curve::Size {
            repeats: if write { 3 } else { 1 },
            turns,
            time: size.time,
            clients: size.clients,
            steps,
        };
        let servers: Vec<Server> = CURVES.into_iter().filter(|server| server.is_installed()).collect();
        let curves = curve::measure(&servers, size);
        text += &format!(
            "\n### Idle clients held\n\nConnections per second, in {} turns of {} ms each. A second server of the same \
             kind, which holds no idle clients, takes turns with the first. The rows that begin with … divide the \
             first server's figures by the second's, turn by turn.\n\n{}",
            size.turns * size.repeats,
            size.time.as_millis(),
            curve::table(&curves, steps)
        );
        if write {
            text += "\n![Connections per second against idle clients held](performance.svg)\n";
            text += &goals::text(&forked, &exec, &curves);
            save(&text, &picture::draw(&curves));
        }
    }
    text += &format!("\nLoad average at the end: {}.\n", machine::load_average());
    println!("{text}");
}

/// Compare servers whose children are forked, and servers whose children execute a program; also as Markdown.
fn compare(size: Size) -> (Comparison, Comparison, String) {
    let with_other_build = |servers: Vec<Server>, n: usize| {
        servers.into_iter().chain(other_build().map(|_| OTHER_BUILD[n])).collect::<Vec<Server>>()
    };
    let (installed, missing): (Vec<Server>, Vec<Server>) =
        EXEC.into_iter().partition(|server| server.is_installed());
    let forked = Comparison::measure(with_other_build(FORKED.to_vec(), 0), size);
    let exec = Comparison::measure(with_other_build(installed, 1), size);
    let index = |name| forked.index(name).expect("it is measured");
    let serve = index("prise serve");
    let (server, load) = forked.shares(serve);
    let mut text = format!(
        "\n{} rounds of {} ms per server, {} clients at a time. A cell has the median (lowest to highest).\n\n\
         ### A forked child, without exec\n\n{}{}\n\
         Of the CPU time of {} processors, `prise serve` and its children used {:.0} %, the clients {:.0} %, \
         and other processes the rest. With two threads of clients instead of one, the server had {} times the \
         connections per second.\n\n\
         ### A program executed for each client\n\n{}",
        size.rounds,
        size.time.as_millis(),
        size.clients,
        forked.tables(index("C robust")),
        forked.ratios(index("C fork"), &[index("prise server fork")]),
        usage::processors(),
        server * 100.0,
        load * 100.0,
        cell(rate_of_two_threads(forked.servers[serve], size), 2),
        exec.tables(exec.index("prise serve").expect("it is measured")),
    );
    for server in missing {
        text += &format!(
            "\nNot measured: {}, which is not installed ({}).\n",
            server.name,
            server.package.unwrap_or("?")
        );
    }
    text += "\nThe servers were started as:\n\n```text\n";
    for server in forked.servers.iter().chain(&exec.servers) {
        text += &format!("{}\n", server.command);
    }
    text += "```\n";
    (forked, exec, text)
}

/// Replace the measured part of docs/performance.md, and its picture.
fn save(measured: &str, picture: &str) {
    let path = root().join("docs/performance.md");
    let document = fs::read_to_string(&path).expect("docs/performance.md is there");
    let (before, rest) = document.split_once(BEGIN).expect("it has the first comment");
    let (_, after) = rest.split_once(END).expect("it has the last comment");
    fs::write(&path, format!("{before}{BEGIN}\n{measured}\n{END}{after}")).expect("it can be written");
    fs::write(root().join("docs/performance.svg"), picture).expect("it can be written");
}

/// A number from the environment, at least 1.
fn number(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Err(_) => default,
        Ok(text) => match text.parse() {
            Ok(number @ 1..) => number,
            _ => panic!("{name} is {text:?}, not a number of at least 1"),
        },
    }
}
