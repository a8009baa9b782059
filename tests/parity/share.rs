//! Measures how much of a listing is in our sources: the share of its calls and texts that they have in the same order.

use libtest_mimic::Failed;
use similar::{Algorithm, DiffTag, capture_diff_slices};

use crate::subject::{Listings, PROGRAMS};
use crate::support::read_file;
use crate::support::syntax::{Side, calls_and_texts};

/// The lowest allowed average share of the C twins, and of the Rust.
const LEAST: [f64; 2] = [0.9, 0.85];

/// The shares of each program's listing, in the order of [`PROGRAMS`].
pub fn of_all(listings: &Listings) -> [[f64; 2]; PROGRAMS.len()] {
    PROGRAMS.map(|program| of(listings, program))
}

/// The shares of one listing in its C twin and in the Rust.
fn of(listings: &Listings, program: &str) -> [f64; 2] {
    let listing = calls_and_texts(Side::C, program, &listings.source(program));
    [(Side::C, "c", "c"), (Side::Rust, "src", "rs")].map(|(side, folder, extension)| {
        let path = format!("{folder}/{program}.{extension}");
        let ours = calls_and_texts(side, &path, &read_file(&path));
        let ops = capture_diff_slices(Algorithm::Myers, &listing, &ours);
        let kept: usize =
            ops.iter().filter(|op| op.tag() == DiffTag::Equal).map(|op| op.old_range().len()).sum();
        kept as f64 / listing.len() as f64
    })
}

/// The average shares of all programs.
pub fn average(shares: &[[f64; 2]]) -> [f64; 2] {
    [0, 1].map(|side| shares.iter().map(|share| share[side]).sum::<f64>() / shares.len() as f64)
}

/// Check the average shares.
pub fn check(listings: &Listings) -> Result<(), Failed> {
    let [c, rust] = average(&of_all(listings));
    if c >= LEAST[0] && rust >= LEAST[1] {
        return Ok(());
    }
    let shares = format!("on average, the C twins share {c:.2} and the Rust {rust:.2} with the listings");
    Err(format!("{shares}; at least {LEAST:?} are expected").into())
}
