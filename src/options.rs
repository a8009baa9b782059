//! What the options of several commands have in common.

use std::fmt::Display;
use std::str::FromStr;

/// A whole number that is neither lower nor higher.
pub fn number<T: Copy + Display + FromStr + PartialOrd>(
    lowest: T,
    highest: T,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let in_range = |number: &T| (lowest..=highest).contains(number);
        text.parse()
            .ok()
            .filter(in_range)
            .ok_or_else(|| format!("a whole number from {lowest} to {highest} is expected"))
    }
}
