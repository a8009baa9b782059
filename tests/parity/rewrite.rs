//! Differences that are there in every scenario: the listing's side is rewritten as its row in
//! docs/differences.md says, and must then be the same as ours.

/// How a row changes what is seen of a listing.
pub struct Rewrite {
    pub row: &'static str,
    pub programs: &'static [&'static str],
    pub channel: &'static str,
    /// The listing's text and ours; gives the listing's as it would be without the difference.
    pub without: fn(&str, &str) -> String,
}

pub const REWRITES: &[Rewrite] = &[
    Rewrite {
        row: "a1",
        programs: &["server/fork"],
        channel: "wire",
        without: |theirs, _| theirs.replace(r"ok\x00ERROR reading f", &format!("ok{}", r"\x00".repeat(16))),
    },
    Rewrite { row: "a2", programs: &["client/recv"], channel: "stdout", without: reply_where_it_ends },
];

/// What the listing prints after the reply, from memory that nobody has written, is cut.
fn reply_where_it_ends(theirs: &str, ours: &str) -> String {
    let end = "\nData Send\n\n";
    let same_until_then = ours.strip_suffix(end).is_some_and(|reply| theirs.starts_with(reply));
    if same_until_then && theirs.ends_with(end) { ours.to_string() } else { theirs.to_string() }
}
