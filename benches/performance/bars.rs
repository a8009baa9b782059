//! What is asked of `prise serve`, and whether it is so.

use crate::curve::{Curve, STEPS};
use crate::rounds::{COLUMNS, Comparison};
use crate::summary::{Summary, cell};

/// A line for each.
pub fn text(tutorial: &Comparison, exec: &Comparison, curves: &[Curve]) -> String {
    let [rate, cpu, _] = COLUMNS;
    let serve = tutorial.place("prise serve").expect("it is measured");
    let robust = tutorial.place("C robust").expect("it is measured");
    let serve_exec = exec.place("prise serve").expect("it is measured");
    let median = |server: usize| exec.summary(server, rate).map_or(0.0, |summary| summary.median);
    let peers = (0..exec.servers.len()).filter(|&server| exec.servers[server].package.is_some());
    let best = peers.max_by(|&one, &other| median(one).total_cmp(&median(other)));

    let mut text =
        String::from("\n### What is asked, and what is\n\n| asked | measured | |\n|---|---|---|\n");
    let mut line = |asked: &str, found: Option<Summary>, holds: fn(f64) -> bool| {
        let verdict =
            found.map_or("not measured", |found| if holds(found.median) { "reached" } else { "not reached" });
        text += &format!("| {asked} | {} | {verdict} |\n", cell(found, 2));
    };
    line(
        "without exec: at most 0.8 times C robust's CPU per connection",
        tutorial.ratio(serve, robust, cpu),
        |ratio| ratio <= 0.8,
    );
    line(
        "without exec: at least 1.2 times C robust's connections per second",
        tutorial.ratio(serve, robust, rate),
        |ratio| ratio >= 1.2,
    );
    let memory = tutorial.memory(serve).zip(tutorial.memory(robust)).map(|(ours, theirs)| ours / theirs);
    line("memory per idle child: no more than C robust's", Summary::of(memory), |ratio| ratio <= 1.0);
    if let Some(best) = best {
        let name = exec.servers[best].name;
        let ratio = exec.ratio(serve_exec, best, rate);
        line(
            &format!("a program executed: at least as many connections per second as the best other, {name}"),
            ratio,
            |ratio| ratio >= 1.0,
        );
        line(&format!("the same, and the aim: 1.2 times those of {name}"), ratio, |ratio| ratio >= 1.2);
    }
    let last = STEPS.len() - 1;
    for curve in
        curves.iter().filter(|curve| matches!(curve.server.name, "prise serve" | "prise serve, exec"))
    {
        let asked = format!(
            "{}: with {} idle clients held, at least 0.9 of the rate with none",
            curve.server.name, STEPS[last]
        );
        line(&asked, curve.ratio(last), |ratio| ratio >= 0.9);
        let asked = format!(
            "{}: with {} idle clients held, not more CPU per connection than by a tenth",
            curve.server.name, STEPS[last]
        );
        line(&asked, curve.cpu(last), |ratio| ratio <= 1.1);
    }
    text
}
