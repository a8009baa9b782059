//! Text from the network, made safe to print.
//! Twin: `c/visible.h`.
//!
//! Control characters, the characters that reorder or break lines, and bytes that are not UTF-8 become
//! `\n`, `\r`, `\t` or `\xNN`, so that a peer can neither drive the terminal nor forge a line of the
//! log. All else stands as it is, a backslash too. As in C, a string ends at its first NUL.

use std::fmt::{self, Display, Formatter, Write};

/// The most that one call takes: recv's reply.
pub const VISIBLE_MAX: usize = 2000;

/// What of a string is layout, and stays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// The newline that ends it.
    Line,
    /// Newlines, CR LF and tabs.
    Text,
}

/// A string that prints without driving the terminal.
pub struct Visible<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

/// A message: one line of the log.
pub fn visible_line(string: &[u8]) -> Visible<'_> {
    Visible { bytes: until_nul(string), layout: Layout::Line }
}

/// A reply: lines and tabs are its own.
pub fn visible_text(string: &[u8]) -> Visible<'_> {
    Visible { bytes: until_nul(string), layout: Layout::Text }
}

/// The bytes before the first NUL: C's string.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// How many bytes at the end are the beginning of something that the next piece may complete: a
/// UTF-8 character, or CR LF.
pub fn unfinished(bytes: &[u8]) -> usize {
    if bytes.last() == Some(&b'\r') {
        return 1;
    }
    for back in 1..=bytes.len().min(3) {
        let lead = bytes[bytes.len() - back];
        if lead >= 0xC0 {
            let length = if lead < 0xE0 {
                2
            } else if lead < 0xF0 {
                3
            } else {
                4
            };
            return if back < length { back } else { 0 };
        }
    }
    0
}

/// C0, DEL and C1 controls; the characters that reorder text or break a line.
fn drives_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Newline, tab and CR LF are part of a text; of a line, only the newline that ends it.
fn is_layout(c: char, after: &[u8], layout: Layout) -> bool {
    match c {
        '\r' if layout == Layout::Line => after == b"\n",
        '\r' => after.starts_with(b"\n"),
        '\n' => layout == Layout::Text || after.is_empty(),
        '\t' => layout == Layout::Text,
        _ => false,
    }
}

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut after = self.bytes;
        for chunk in self.bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                after = &after[c.len_utf8()..];
                match c {
                    c if is_layout(c, after, self.layout) => f.write_char(c)?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    c if drives_terminal(c) => hex(f, c.encode_utf8(&mut [0; 4]).as_bytes())?,
                    c => f.write_char(c)?,
                }
            }
            after = &after[chunk.invalid().len()..];
            hex(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn hex(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}
