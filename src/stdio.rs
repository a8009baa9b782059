//! The part of C's stdio that the programs use. Unlike `println!`, it does not panic when stdout fails.
//!
//! Stdout is flushed at each newline, also to a pipe or a file, so the buffer that `fork` copies never holds a whole
//! line. Text without a newline stays in the buffer, as in C when stdout is a terminal.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::Relaxed};

use nix::errno::Errno;
use nix::unistd::{read, write};

use crate::error::{self, Error};
use crate::ffi::{Quad, h_errno, hstrerror};
use crate::visible::{VISIBLE_MAX, Visible, until_nul};

/// The most bytes that one call prints with one write(2). This is enough for a log line with the longest message, if
/// every byte is printed as `\xNN`.
const LINE: usize = 4 * VISIBLE_MAX + 80;

/// What has been printed to stdout since the last newline.
static HELD: Mutex<[u8; LINE]> = Mutex::new([0; LINE]);
/// The number of bytes in `HELD`. (Reading it instead of taking the lock saves a child the copy of a page.)
static HELD_LEN: AtomicUsize = AtomicUsize::new(0);

/// The errno of the first write to stdout that failed, 0 if none has: C's `ferror(stdout)`.
static FAILED: AtomicI32 = AtomicI32::new(0);
/// Whether this failure has been reported.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// The stream that `fprintf!` prints to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// `stdout`
    Stdout,
    /// `stderr`
    Stderr,
}
pub use Stream::Stderr as stderr;

/// A buffer of bytes to write.
pub struct Line {
    bytes: [u8; LINE],
    len: usize,
    to: Stream,
}

impl Line {
    /// Start a line; on stdout, it begins with the bytes held back.
    fn new(to: Stream) -> Line {
        let mut line = Line { bytes: [0; LINE], len: 0, to };
        if to == Stream::Stdout && HELD_LEN.load(Relaxed) > 0 {
            line.len = HELD_LEN.swap(0, Relaxed);
            let held = HELD.lock().expect("no code panics while it holds the lock");
            line.bytes[..line.len].copy_from_slice(&held[..line.len]);
        }
        line
    }

    fn put(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(LINE) {
            if piece.len() > LINE - self.len {
                self.flush();
            }
            self.bytes[self.len..self.len + piece.len()].copy_from_slice(piece);
            self.len += piece.len();
        }
    }

    /// Write out the buffer. What cannot be written is lost; on stdout, the errno is kept in `FAILED`.
    fn flush(&mut self) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            let written =
                if self.to == Stream::Stdout { write(io::stdout(), rest) } else { write(io::stderr(), rest) };
            match written {
                Ok(n @ 1..) => rest = &rest[n..],
                Err(Errno::EINTR) => {}
                failed => {
                    let errno = failed.err().unwrap_or(Errno::EIO);
                    if self.to == Stream::Stdout {
                        let _ = FAILED.compare_exchange(0, errno as i32, Relaxed, Relaxed);
                    }
                    break;
                }
            }
        }
        self.len = 0;
    }

    /// Write out the whole lines, and hold back the rest.
    fn flush_lines(mut self) {
        let end =
            self.bytes[..self.len].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let held = self.len - end;
        if held > 0 {
            let mut keep = HELD.lock().expect("no code panics while it holds the lock");
            keep[..held].copy_from_slice(&self.bytes[end..self.len]);
            HELD_LEN.store(held, Relaxed);
        }
        self.len = end;
        self.flush();
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

/// A value that `%s` or `%d` can print.
pub trait Argument {
    /// Append it to the line.
    fn put(&self, line: &mut Line);
}

/// A C string: the bytes before the first NUL, unchanged.
impl Argument for [u8] {
    fn put(&self, line: &mut Line) {
        line.put(until_nul(self));
    }
}

impl<const N: usize> Argument for [u8; N] {
    fn put(&self, line: &mut Line) {
        self.as_slice().put(line);
    }
}

/// Implement [`Argument`] for types that implement `Display`.
macro_rules! displayed {
    ($($kind:ty),+) => {
        $(impl Argument for $kind {
            fn put(&self, line: &mut Line) {
                // this cannot fail: a Line accepts every write, and none of these types returns an error
                let _ = fmt::Write::write_fmt(line, format_args!("{self}"));
            }
        })+
    };
}
displayed!(str, String, u16, Quad, Visible<'_>, fmt::Arguments<'_>);

impl<T: Argument + ?Sized> Argument for &T {
    fn put(&self, line: &mut Line) {
        (**self).put(line);
    }
}

/// Print to stdout, like C's `printf`: each `%s` or `%d` prints one [`Argument`].
macro_rules! printf {
    ($format:literal $(, $argument:expr)* $(,)?) => {
        $crate::stdio::vfprintf($crate::stdio::Stream::Stdout, $format, &[$(&$argument),*])
    };
}
pub(crate) use printf;

/// Print to a [`Stream`], like C's `fprintf`.
macro_rules! fprintf {
    ($stream:expr, $format:literal $(, $argument:expr)* $(,)?) => {
        $crate::stdio::vfprintf($stream, $format, &[$(&$argument),*])
    };
}
pub(crate) use fprintf;

/// Print a format with its arguments, for [`printf!`] and [`fprintf!`].
pub fn vfprintf(to: Stream, format: &str, arguments: &[&dyn Argument]) {
    let mut line = Line::new(to);
    let mut arguments = arguments.iter();
    let mut pieces = format.split('%');
    line.put(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        // skip the s or d: the argument knows how to print itself
        arguments.next().expect("a format has as many arguments as directives").put(&mut line);
        line.put(&piece.as_bytes()[1..]);
    }
    if to == Stream::Stdout { line.flush_lines() } else { line.flush() }
}

/// Print a text and a newline to stdout, like C's `puts`.
pub fn puts(text: impl Argument) {
    printf!("%s\n", text);
}

/// Print bytes to stdout, including NULs, like C's `fwrite`.
pub fn fwrite(bytes: &[u8]) {
    let mut line = Line::new(Stream::Stdout);
    line.put(bytes);
    line.flush_lines();
}

/// Print to stdout and flush, even without a newline: like `print!`, but without a panic.
macro_rules! say {
    ($($argument:tt)*) => { $crate::stdio::say_arguments(format_args!($($argument)*)) };
}
pub(crate) use say;

/// Print the result of `format_args!`, for [`say!`].
pub fn say_arguments(arguments: fmt::Arguments<'_>) {
    let mut line = Line::new(Stream::Stdout);
    arguments.put(&mut line);
    line.flush();
}

/// Print a line on stderr. Errors are ignored: there is nowhere to report them.
pub fn say_on_stderr(line: impl fmt::Display) {
    let _ = io::Write::write_all(&mut io::stderr(), format!("{line}\n").as_bytes());
}

/// Print `what: strerror(errno)` on stderr: C's `perror`.
pub fn perror(what: &str) {
    // the errno crate formats an errno as strerror does, with nothing added
    fprintf!(stderr, "%s: %s\n", what, format_args!("{}", errno::errno()));
}

/// Print `what: hstrerror(h_errno)` on stderr, after the resolver failed: `herror` of `<netdb.h>`.
pub fn herror(what: &str) {
    fprintf!(stderr, "%s: %s\n", what, hstrerror(h_errno()));
}

/// Write out the bytes of stdout that are held back.
fn flush() {
    Line::new(Stream::Stdout).flush();
}

/// End this process, like C's `exit`: stdout is flushed first.
pub fn exit(status: i32) -> ! {
    flush();
    std::process::exit(status)
}

/// Flush stdout, and check that everything printed since the start was written. A failure is
/// reported once. It does not end a server; other programs exit with a failure status.
///
/// # Errors
/// [`Error::Stdout`] if some output was lost.
pub fn flush_stdout() -> Result<(), Error> {
    flush();
    match FAILED.load(Relaxed) {
        0 => Ok(()),
        errno => {
            if !REPORTED.swap(true, Relaxed) {
                error::perror("stdout")(Errno::from_raw(errno)).print();
            }
            Err(Error::Stdout)
        }
    }
}

/// Read a line of stdin, like C's `fgets`: at most one byte less than the size of `buffer`, with its
/// newline. It stops at end of file or after an error. It writes no NUL: the caller passes a zeroed buffer.
///
/// If stdin is a terminal, it flushes stdout first, as C does.
pub fn fgets(buffer: &mut [u8]) {
    if io::stdin().is_terminal() {
        flush();
    }
    let mut len = 0;
    while len + 1 < buffer.len() && !buffer[..len].ends_with(b"\n") {
        match read(io::stdin(), &mut buffer[len..=len]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
