//! Make text from the network safe to print.
//! Twin: `c/visible.h`.
//!
//! Control characters, characters that reorder text or break lines, and bytes that are not UTF-8 are
//! printed as `\n`, `\r`, `\t` or `\xNN`, so that a peer can neither control the terminal nor forge a
//! line of the log. Everything else is unchanged, even a backslash. As in C, a string ends at its first NUL.

use std::fmt::{self, Display, Formatter, Write};

/// The longest message, in bytes.
pub const VISIBLE_MAX: usize = 255;

/// A string that cannot control the terminal when it is printed.
pub struct Visible<'a>(&'a [u8]);

/// A message, printed as one line of the log.
pub fn visible_line(string: &[u8]) -> Visible<'_> {
    Visible(until_nul(string))
}

/// The bytes before the first NUL, which are the string in C.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// Whether c is a C0, DEL or C1 control, or a character that reorders text or breaks a line.
fn drives_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether the rest of the message is LF or CR LF: they end the line and stay as they are.
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
