//! `printf!`, `puts`, `fgets`: what C's programs have from stdio, without a panic when stdout fails.
//!
//! C's stdout keeps text back until it is flushed, and a fork copies what it keeps. Here nothing is
//! kept back: what one `printf!` prints, up to [`LINE`] bytes, goes out in one write(2).

use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};

use nix::errno::Errno;
use nix::unistd::{read, write};

use crate::error::{Error, perror};

/// The longest line of the log: a message of 255 bytes, each made visible as `\xNN`, and what stands around it.
const LINE: usize = 1100;

/// The errno of the first write to stdout that failed: C's `ferror(stdout)`.
static FAILED: AtomicI32 = AtomicI32::new(0);
/// Whether that has been said.
static SAID: AtomicBool = AtomicBool::new(false);

/// A line on its way to stdout.
struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Line {
    /// Write out what there is. What cannot be written is lost, and noted.
    fn flush(&mut self) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            match write(io::stdout(), rest) {
                Ok(n @ 1..) => rest = &rest[n..],
                Err(Errno::EINTR) => {}
                failed => {
                    let errno = failed.err().unwrap_or(Errno::EIO);
                    let _ = FAILED.compare_exchange(0, errno as i32, Relaxed, Relaxed);
                    break;
                }
            }
        }
        self.len = 0;
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.as_bytes().chunks(LINE) {
            if piece.len() > LINE - self.len {
                self.flush();
            }
            self.bytes[self.len..self.len + piece.len()].copy_from_slice(piece);
            self.len += piece.len();
        }
        Ok(())
    }
}

/// Print to stdout, as C's `printf`.
macro_rules! printf {
    ($($argument:tt)*) => { $crate::stdio::vprintf(format_args!($($argument)*)) };
}
pub(crate) use printf;

/// Print to stdout what `format_args!` made; [`printf!`] calls it.
pub fn vprintf(arguments: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE], len: 0 };
    // a Line takes everything, and nothing that is printed here refuses to be formatted
    let _ = line.write_fmt(arguments);
    line.flush();
}

/// Print a text and a newline to stdout, as C's `puts`.
pub fn puts(text: impl fmt::Display) {
    printf!("{text}\n");
}

/// What C does by flushing stdout: learn whether everything printed since the start went out. A
/// failure is said once; it ends no server, and it is the exit status of the others.
///
/// # Errors
/// [`Error::Stdout`] when something was lost.
pub fn flush_stdout() -> Result<(), Error> {
    match FAILED.load(Relaxed) {
        0 => Ok(()),
        errno => {
            if !SAID.swap(true, Relaxed) {
                perror("stdout")(Errno::from_raw(errno)).print();
            }
            Err(Error::Stdout)
        }
    }
}

/// Read a line of stdin, of at most one byte less than `buffer` holds, as C's `fgets`: the newline
/// stays, and the bytes after it keep their value. At the end of file, nothing is read. (std's stdin
/// takes a descriptor that cannot be read for an empty one.)
///
/// # Errors
/// Those of read(2), less EINTR.
pub fn fgets(buffer: &mut [u8]) -> Result<(), Errno> {
    let mut len = 0;
    while len + 1 < buffer.len() && !buffer[..len].ends_with(b"\n") {
        match read(io::stdin(), &mut buffer[len..=len]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
