//! Parsers that the options of several commands share: numbers within bounds, and durations.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// The most mebibytes an option accepts: more than any system has, yet the number of bytes fits in a `u64`.
pub const MAX_MEBIBYTES: u64 = (1 << 40) - 1;
/// The most seconds an option accepts: a century, small enough that no clock overflows.
const MAX_SECONDS: u64 = 3_155_760_000;

/// Parse a number written with digits only. (`parse` alone also accepts a sign.)
pub fn digits<N: FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A parser for whole numbers from `lowest` to `highest`.
pub fn number<N: Copy + Display + FromStr + PartialOrd>(
    lowest: N,
    highest: N,
) -> impl Fn(&str) -> Result<N, String> + Clone {
    move |text| {
        let in_range = |number: &N| (lowest..=highest).contains(number);
        text.parse()
            .ok()
            .filter(in_range)
            .ok_or_else(|| format!("a whole number from {lowest} to {highest} is expected"))
    }
}

/// A parser for whole seconds, from `lowest` to a century.
pub fn seconds(lowest: u64) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| number(lowest, MAX_SECONDS)(text).map(Duration::from_secs)
}

/// A parser for whole seconds, from 1 to `highest`.
pub fn seconds_up_to(highest: u64) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| number(1, highest)(text).map(Duration::from_secs)
}

/// A parser for whole mebibytes, at least 1, that returns bytes.
pub fn mebibytes() -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| number(1, MAX_MEBIBYTES)(text).map(|mebibytes| mebibytes << 20)
}
