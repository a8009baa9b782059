//! What the options of several commands have in common: numbers within bounds, and times.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// More mebibytes than any system has, which still fit a number in bytes.
pub const MANY_MEBIBYTES: u64 = (1 << 40) - 1;
/// A century: no clock overflows with it.
const MANY_SECONDS: u64 = 3_155_760_000;

/// A number that is written in digits alone: `parse` takes a sign too.
pub fn digits<N: FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A whole number that is neither lower nor higher.
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

/// A whole number of seconds, that one at least and a century at most.
pub fn seconds(lowest: u64) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| number(lowest, MANY_SECONDS)(text).map(Duration::from_secs)
}

/// A whole number of seconds, one at least.
pub fn seconds_up_to(highest: u64) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| number(1, highest)(text).map(Duration::from_secs)
}

/// A whole number of mebibytes, as bytes.
pub fn mebibytes() -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| number(1, MANY_MEBIBYTES)(text).map(|mebibytes| mebibytes << 20)
}
