//! Text from the network, made safe to print.
//! Twin: `c/visible.h`.
//!
//! Control characters, the characters that reorder or break lines, and bytes that are not UTF-8 become
//! `\n`, `\r`, `\t` or `\xNN`, so that a peer can neither drive the terminal nor forge a line of the
//! log. All else stands as it is, a backslash too. As in C, a string ends at its first NUL.

use std::fmt::{self, Display, Formatter, Write};

/// The longest message.
pub const VISIBLE_MAX: usize = 255;

/// A string that prints without driving the terminal.
pub struct Visible<'a>(&'a [u8]);

/// A message: one line of the log.
pub fn visible_line(string: &[u8]) -> Visible<'_> {
    Visible(until_nul(string))
}

/// The bytes before the first NUL: C's string.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// C0, DEL and C1 controls; the characters that reorder text or break a line.
fn drives_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The newline that ends a line, or CR LF.
fn ends_line(c: char, after: &[u8]) -> bool {
    match c {
        '\r' => after == b"\n",
        '\n' => after.is_empty(),
        _ => false,
    }
}

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut after = self.0;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                after = &after[c.len_utf8()..];
                match c {
                    c if ends_line(c, after) => f.write_char(c)?,
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
