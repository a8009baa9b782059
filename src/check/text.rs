//! Bytes given on the command line.

/// Bytes that the command line gives with C's escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// The message of the tutorial's client: a line, padded with NULs to 255 bytes.
    pub const OF_THE_TUTORIAL: &[u8] = &{
        let mut message = [0; 255];
        let line = b"hello\n";
        let mut i = 0;
        while i < line.len() {
            message[i] = line[i];
            i += 1;
        }
        message
    };

    /// Replace the escapes in a text. The result has at least one byte.
    ///
    /// # Errors
    /// A message: which escapes are allowed, or that the text is empty.
    pub fn unescaped(text: &str) -> Result<Text, String> {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            let escape = if byte == b'\\' { rest.next() } else { None };
            bytes.push(match (byte, escape) {
                (b'\\', Some(b'n')) => b'\n',
                (b'\\', Some(b'r')) => b'\r',
                (b'\\', Some(b't')) => b'\t',
                (b'\\', Some(b'0')) => 0,
                (b'\\', Some(b'\\')) => b'\\',
                (b'\\', Some(b'x')) => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    let are_two = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                    let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| are_two);
                    byte.ok_or("two hexadecimal digits follow \\x")?
                }
                (b'\\', _) => return Err("a backslash begins \\n, \\r, \\t, \\0, \\\\ or \\xNN".into()),
                (byte, _) => byte,
            });
        }
        if bytes.is_empty() { Err("it is empty".into()) } else { Ok(Text(bytes)) }
    }
}
