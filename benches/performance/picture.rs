//! The curves as an SVG picture, for light and dark pages.

use std::fmt::Write;

use crate::curve::{Curve, STEPS};

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 420.0;
/// The ends of the axes.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 580.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 360.0;
/// The least distance between two labels.
const LABEL_DISTANCE: f64 = 18.0;

/// The colours differ in hue and lightness from each other, and from white and black. The dashes are for readers who
/// cannot tell the colours apart.
const STYLE: &str = "<style>
  text { font: 13px sans-serif; fill: #24292f }
  .axis { stroke: #57606a; fill: none }
  .grid { stroke: #d0d7de; fill: none }
  .series { fill: none; stroke-width: 2.5 }
  .s0 { stroke: #0969da } .s1 { stroke: #bf3989; stroke-dasharray: 3 3 }
  .s2 { stroke: #9a6700; stroke-dasharray: 9 4 } .s3 { stroke: #1a7f37 } .s4 { stroke: #cf222e; stroke-dasharray: 9 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .axis { stroke: #9198a1 } .grid { stroke: #3d444d }
    .s0 { stroke: #58a6ff } .s1 { stroke: #f778ba } .s2 { stroke: #e3b341 } .s3 { stroke: #56d364 } .s4 { stroke: #ff7b72 }
  }
</style>
";

/// Draw the connections per second over the idle clients held.
pub fn draw(curves: &[Curve]) -> String {
    let rate = |curve: &Curve, step| curve.rate(step).map_or(0.0, |summary| summary.median);
    let rates = curves.iter().flat_map(|curve| (0..STEPS.len()).map(move |step| rate(curve, step)));
    let unit = 1000.0;
    let top = (rates.fold(0.0, f64::max) / unit).ceil().max(1.0) * unit;
    let most = STEPS[STEPS.len() - 1] as f64;
    let x = |held: usize| LEFT + (RIGHT - LEFT) * held as f64 / most;
    let y = |rate: f64| BOTTOM - (BOTTOM - TOP) * rate / top;

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Connections per second against idle clients held\">\n{STYLE}"
    );
    let mut put = |line: String| writeln!(svg, "{line}").expect("a String can be written");
    for thousand in 0..=(top / unit) as usize {
        let (rate, at) = (thousand as f64 * unit, y(thousand as f64 * unit));
        put(format!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>"));
        put(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{rate:.0}</text>", LEFT - 8.0, at + 4.0));
    }
    for held in STEPS {
        let at = x(held);
        put(format!("<path class=\"axis\" d=\"M{at:.1} {BOTTOM}v5\"/>"));
        put(format!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{held}</text>", BOTTOM + 20.0));
    }
    put(format!("<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>"));
    put(format!("<text x=\"20\" y=\"{}\">connections per second</text>", TOP - 18.0));
    put(format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">idle clients held</text>",
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 42.0
    ));
    for (n, curve) in curves.iter().enumerate() {
        let points = STEPS.iter().enumerate().map(|(step, &held)| (x(held), y(rate(curve, step))));
        let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        put(format!("<polyline class=\"series s{n}\" points=\"{}\"/>", points.join(" ")));
    }
    for (n, at) in labels(curves.iter().map(|curve| y(rate(curve, STEPS.len() - 1))).collect()) {
        let name = curves[n].server.name;
        put(format!("<path class=\"series s{n}\" d=\"M{} {at:.1}h28\"/>", RIGHT + 10.0));
        put(format!("<text x=\"{}\" y=\"{:.1}\">{name}</text>", RIGHT + 44.0, at + 4.0));
    }
    svg + "</svg>\n"
}

/// The heights of the labels: at the ends of their lines, without overlap.
fn labels(ends: Vec<f64>) -> Vec<(usize, f64)> {
    let mut labels: Vec<(usize, f64)> = ends.into_iter().enumerate().collect();
    labels.sort_by(|one, other| one.1.total_cmp(&other.1));
    for n in 1..labels.len() {
        labels[n].1 = labels[n].1.max(labels[n - 1].1 + LABEL_DISTANCE);
    }
    // if the lowest label is now below the axis, all move up
    let below = labels.last().map_or(0.0, |label| (label.1 - BOTTOM).max(0.0));
    labels.iter_mut().for_each(|label| label.1 -= below);
    labels
}
