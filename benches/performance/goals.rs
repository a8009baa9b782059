//! The performance goals of `prise serve`, and whether it reaches them.

use crate::curve::{Curve, STEPS};
use crate::rounds::{COLUMNS, Comparison};
use crate::summary::{Summary, cell};

/// A table with a line per goal, as Markdown.
pub fn text(forked: &Comparison, exec: &Comparison, curves: &[Curve]) -> String {
    let [rate, cpu, _] = COLUMNS;
    let serve = forked.index("prise serve").expect("it is measured");
    let robust = forked.index("C robust").expect("it is measured");
    let serve_exec = exec.index("prise serve").expect("it is measured");
    let median = |server: usize| exec.summary(server, rate).map_or(0.0, |summary| summary.median);
    let peers = (0..exec.servers.len()).filter(|&server| exec.servers[server].package.is_some());
    let best = peers.max_by(|&one, &other| median(one).total_cmp(&median(other)));

    let mut text = String::from("\n### Goals and results\n\n| goal | measured | |\n|---|---|---|\n");
    let mut line = |goal: &str, measured: Option<Summary>, is_reached: fn(f64) -> bool| {
        let verdict = match measured {
            None => "not measured",
            Some(summary) if is_reached(summary.median) => "reached",
            Some(_) => "not reached",
        };
        text += &format!("| {goal} | {} | {verdict} |\n", cell(measured, 2));
    };
    line(
        "without exec: at most 0.8 times the CPU per connection of C robust",
        forked.ratio(serve, robust, cpu),
        |ratio| ratio <= 0.8,
    );
    line(
        "without exec: at least 1.2 times the connections per second of C robust",
        forked.ratio(serve, robust, rate),
        |ratio| ratio >= 1.2,
    );
    let memory = forked.memory(serve).zip(forked.memory(robust)).map(|(ours, theirs)| ours / theirs);
    line("without exec: at most the memory per idle client of C robust", Summary::of(memory), |ratio| {
        ratio <= 1.0
    });
    if let Some(best) = best {
        let name = exec.servers[best].name;
        let ratio = exec.ratio(serve_exec, best, rate);
        line(
            &format!("with exec: at least the connections per second of the best other server, {name}"),
            ratio,
            |ratio| ratio >= 1.0,
        );
        line(
            &format!("with exec, the aim: 1.2 times the connections per second of {name}"),
            ratio,
            |ratio| ratio >= 1.2,
        );
    }
    let last = STEPS.len() - 1;
    for curve in
        curves.iter().filter(|curve| matches!(curve.server.name, "prise serve" | "prise serve, exec"))
    {
        let held = format!("{}, {} idle clients held", curve.server.name, STEPS[last]);
        let goal = format!("{held}: at least 0.9 times the connections per second with none");
        line(&goal, curve.rate_ratio(last), |ratio| ratio >= 0.9);
        let goal = format!("{held}: at most 1.1 times the CPU per connection with none");
        line(&goal, curve.cpu_ratio(last), |ratio| ratio <= 1.1);
    }
    text
}
