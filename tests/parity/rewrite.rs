//! Differences that appear in every scenario: the listing's text is rewritten as its row in docs/differences.md says,
//! and must then equal ours.

/// A row of docs/differences.md and its effect on one channel of a listing.
pub struct Rewrite {
    pub row: &'static str,
    pub programs: &'static [&'static str],
    pub channel: &'static str,
    /// Takes the listing's text and ours; gives the listing's text without the difference.
    pub rewrite: fn(&str, &str) -> String,
}

pub const REWRITES: &[Rewrite] = &[
    Rewrite {
        row: "a1",
        programs: &["server/fork"],
        channel: "wire",
        rewrite: |theirs, _| theirs.replace(r"ok\x00ERROR reading f", &format!("ok{}", r"\x00".repeat(16))),
    },
    Rewrite { row: "a2", programs: &["client/recv"], channel: "stdout", rewrite: cut_after_reply },
];

/// After the reply, the listing prints uninitialised memory: remove it.
fn cut_after_reply(theirs: &str, ours: &str) -> String {
    let end = "\nData Send\n\n";
    let same_until_then = ours.strip_suffix(end).is_some_and(|reply| theirs.starts_with(reply));
    if same_until_then && theirs.ends_with(end) { ours.to_string() } else { theirs.to_string() }
}
