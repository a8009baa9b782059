//! How much of a listing stands in our sources: the share of its calls and texts that come in the same order.

use libtest_mimic::Failed;
use similar::{Algorithm, DiffTag, capture_diff_slices};

use crate::subject::{Listings, PROGRAMS};
use crate::support::root;
use crate::support::syntax::{Side, calls_and_texts};

/// The least that the C twins and the Rust have of the listings on average.
const LEAST: [f64; 2] = [0.9, 0.85];

/// The share of one listing in the C twin and in the Rust.
pub fn of(listings: &Listings, program: &str) -> [f64; 2] {
    let listing = calls_and_texts(Side::C, program, &listings.source(program));
    [(Side::C, "c", "c"), (Side::Rust, "src", "rs")].map(|(side, folder, extension)| {
        let path = format!("{folder}/{program}.{extension}");
        let text = std::fs::read_to_string(root().join(&path)).expect("every program has its source");
        let ours = calls_and_texts(side, &path, &text);
        let ops = capture_diff_slices(Algorithm::Myers, &listing, &ours);
        let kept: usize =
            ops.iter().filter(|op| op.tag() == DiffTag::Equal).map(|op| op.old_range().len()).sum();
        kept as f64 / listing.len() as f64
    })
}

/// The shares of all programs on average.
pub fn average(listings: &Listings) -> [f64; 2] {
    let shares = PROGRAMS.map(|program| of(listings, program));
    [0, 1].map(|side| shares.iter().map(|share| share[side]).sum::<f64>() / shares.len() as f64)
}

/// They are no smaller than they should be.
pub fn hold(listings: &Listings) -> Result<(), Failed> {
    let [c, rust] = average(listings);
    if c >= LEAST[0] && rust >= LEAST[1] {
        return Ok(());
    }
    Err(format!("the twins have {c:.2} of the listings' calls and texts in order, the Rust {rust:.2}; {LEAST:?} is the least").into())
}
