//! performance: what a process per client costs `prise serve`, the tutorial's fork server and its robust form in C and
//! in Rust, and the superservers that people deploy.
//! Usage: cargo bench --bench performance [-- --write]
//!
//! It prints Markdown; with `--write` it draws the curve of idle clients too, and renews what docs/performance.md says
//! was measured. `PRISE_BENCH_ROUNDS` (25), `PRISE_BENCH_MS` that each server is measured in a round (300) and
//! `PRISE_BENCH_CLIENTS` at once (16) change the load; `PRISE_BENCH_BESIDE` names another build of prise to measure too.

mod bars;
mod curve;
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

use rounds::{Comparison, Size, two_loads};
use servers::{BESIDE, EXEC, HOLDERS, Server, TUTORIAL, beside, build_programs};
use summary::cell;
use support::root;

/// The document stays as it is but for what stands between these.
const BEGIN: &str = "<!-- measured: make performance writes what follows -->\n";
const END: &str = "<!-- measured: until here -->\n";

fn main() {
    let argument = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    // `cargo test --all-targets` passes no --bench, and wants to know only that this runs
    let (measure, write) = (argument("--bench"), argument("--write"));
    let size = Size {
        rounds: number("PRISE_BENCH_ROUNDS", if measure { 25 } else { 1 }),
        time: Duration::from_millis(number("PRISE_BENCH_MS", if measure { 300 } else { 20 }) as u64),
        clients: number("PRISE_BENCH_CLIENTS", 16),
    };
    build_programs();

    let (tutorial, exec, text) = compare(size);
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
        let holders: Vec<Server> = HOLDERS.into_iter().filter(|server| server.is_installed()).collect();
        let curves = curve::of(&holders, size);
        text += &format!(
            "\n### Idle clients held\n\nConnections per second, {} turns of {} ms each; and, turn by turn, how many \
             times that of a second server of the same kind, with no idle client, which took turns with it.\n\n{}",
            size.turns * size.repeats,
            size.time.as_millis(),
            curve::table(&curves, steps)
        );
        if write {
            text += "\n![Connections per second against idle clients held](performance.svg)\n";
            text += &bars::text(&tutorial, &exec, &curves);
            save(&text, &picture::draw(&curves));
        }
    }
    text += &format!("\nLoad average at the end: {}.\n", machine::load_average());
    println!("{text}");
}

/// Forked children and executed programs, as Markdown.
fn compare(size: Size) -> (Comparison, Comparison, String) {
    let with_beside = |servers: Vec<Server>, n: usize| {
        servers.into_iter().chain(beside().map(|_| BESIDE[n])).collect::<Vec<Server>>()
    };
    let (installed, missing): (Vec<Server>, Vec<Server>) =
        EXEC.into_iter().partition(|server| server.is_installed());
    let tutorial = Comparison::of(with_beside(TUTORIAL.to_vec(), 0), size);
    let exec = Comparison::of(with_beside(installed, 1), size);
    let place = |name| tutorial.place(name).expect("it is measured");
    let serve = place("prise serve");
    let (server, load) = tutorial.shares(serve);
    let mut text = format!(
        "\n{} rounds of {} ms for each server, {} clients at once. A cell: median (lowest to highest).\n\n\
         ### A forked child, without exec\n\n{}{}\n\
         Of the CPU time of {} processors, `prise serve` and its children had {:.0} %, the clients {:.0} %, \
         and others on this machine the rest. Two threads of clients instead of one gave {} times its connections per \
         second.\n\n\
         ### A program executed for each client\n\n{}",
        size.rounds,
        size.time.as_millis(),
        size.clients,
        tutorial.tables(place("C robust")),
        tutorial.ratios(place("C fork"), &[place("prise server fork")]),
        usage::processors(),
        server * 100.0,
        load * 100.0,
        cell(two_loads(tutorial.servers[serve], size), 2),
        exec.tables(exec.place("prise serve").expect("it is measured")),
    );
    for server in missing {
        text += &format!(
            "\nNot measured: {}, which is not installed ({}).\n",
            server.name,
            server.package.unwrap_or("?")
        );
    }
    text += "\nStarted as:\n\n```text\n";
    for server in tutorial.servers.iter().chain(&exec.servers) {
        text += &format!("{}\n", server.command);
    }
    text += "```\n";
    (tutorial, exec, text)
}

/// Renew the document and its picture.
fn save(measured: &str, picture: &str) {
    let path = root().join("docs/performance.md");
    let document = fs::read_to_string(&path).expect("docs/performance.md is there");
    let (before, rest) = document.split_once(BEGIN).expect("it says where measured text begins");
    let (_, after) = rest.split_once(END).expect("and where it ends");
    fs::write(&path, format!("{before}{BEGIN}\n{measured}\n{END}{after}")).expect("it can be written");
    fs::write(root().join("docs/performance.svg"), picture).expect("it can be written");
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
