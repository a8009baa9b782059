//! C's stdio, as far as the programs here use it, without a panic when stdout fails.
//!
//! Stdout is flushed at each newline, on a pipe and in a file too: what `fork` copies holds no whole line. What has no
//! newline yet is held back, as C's stdout on a terminal does.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::Relaxed};

use nix::errno::Errno;
use nix::unistd::{read, write};

use crate::error::{self, Error};
use crate::ffi::{Quad, h_errno, hstrerror};
use crate::visible::{VISIBLE_MAX, Visible, until_nul};

/// How much one call prints in one write(2): a line of the log with the longest message, each byte made visible as
/// `\xNN`, and what stands around it.
const LINE: usize = 4 * VISIBLE_MAX + 80;

/// What has been printed since the last newline.
static HELD: Mutex<[u8; LINE]> = Mutex::new([0; LINE]);
/// How much that is. (A child that looks at it, and at no lock, copies no page.)
static HELD_LEN: AtomicUsize = AtomicUsize::new(0);

/// The errno of the first write to stdout that failed: C's `ferror(stdout)`.
static FAILED: AtomicI32 = AtomicI32::new(0);
/// Whether that has been said.
static SAID: AtomicBool = AtomicBool::new(false);

/// Where `fprintf!` prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// `stdout`
    Stdout,
    /// `stderr`
    Stderr,
}
pub use Stream::Stderr as stderr;

/// Bytes on their way out.
pub struct Line {
    bytes: [u8; LINE],
    len: usize,
    to: Stream,
}

impl Line {
    /// A line that begins with what is held back.
    fn new(to: Stream) -> Line {
        let mut line = Line { bytes: [0; LINE], len: 0, to };
        if to == Stream::Stdout && HELD_LEN.load(Relaxed) > 0 {
            line.len = HELD_LEN.swap(0, Relaxed);
            let held = HELD.lock().expect("nobody panics with the lock");
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

    /// Write out what there is. What cannot be written is lost, and noted.
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

    /// Write out whole lines, and hold back what follows them.
    fn flush_lines(mut self) {
        let end =
            self.bytes[..self.len].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let held = self.len - end;
        if held > 0 {
            let mut keep = HELD.lock().expect("nobody panics with the lock");
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

/// What a `%s` or a `%d` can print.
pub trait Argument {
    /// Put it on the line.
    fn put(&self, line: &mut Line);
}

/// A C string: the bytes before the first NUL, as they are.
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

/// What has a text of its own.
macro_rules! displayed {
    ($($kind:ty),+) => {
        $(impl Argument for $kind {
            fn put(&self, line: &mut Line) {
                // a Line takes everything, and none of these refuses to be formatted
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

/// Print to stdout, as C's `printf`: each `%s` and `%d` stands for an [`Argument`].
macro_rules! printf {
    ($format:literal $(, $argument:expr)* $(,)?) => {
        $crate::stdio::vfprintf($crate::stdio::Stream::Stdout, $format, &[$(&$argument),*])
    };
}
pub(crate) use printf;

/// Print to stderr, as C's `fprintf`.
macro_rules! fprintf {
    ($stream:expr, $format:literal $(, $argument:expr)* $(,)?) => {
        $crate::stdio::vfprintf($stream, $format, &[$(&$argument),*])
    };
}
pub(crate) use fprintf;

/// Print a format, with its arguments; [`printf!`] and [`fprintf!`] call it.
pub fn vfprintf(to: Stream, format: &str, arguments: &[&dyn Argument]) {
    let mut line = Line::new(to);
    let mut arguments = arguments.iter();
    let mut pieces = format.split('%');
    line.put(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        // s or d: the argument knows how it is printed
        arguments.next().expect("a format has as many arguments as directives").put(&mut line);
        line.put(&piece.as_bytes()[1..]);
    }
    if to == Stream::Stdout { line.flush_lines() } else { line.flush() }
}

/// Print a text and a newline to stdout, as C's `puts`.
pub fn puts(text: impl Argument) {
    printf!("%s\n", text);
}

/// Print bytes to stdout, NULs too: C's `fwrite` to stdout.
pub fn fwrite(bytes: &[u8]) {
    let mut line = Line::new(Stream::Stdout);
    line.put(bytes);
    line.flush_lines();
}

/// Print to stdout at once, what has no newline too: std's `print!`, without a panic.
macro_rules! say {
    ($($argument:tt)*) => { $crate::stdio::say_arguments(format_args!($($argument)*)) };
}
pub(crate) use say;

/// Print what `format_args!` made; [`say!`] calls it.
pub fn say_arguments(arguments: fmt::Arguments<'_>) {
    let mut line = Line::new(Stream::Stdout);
    arguments.put(&mut line);
    line.flush();
}

/// Print a line on stderr. Nothing is to be done where that is full, or nobody reads it.
pub fn aside(line: impl fmt::Display) {
    let _ = io::Write::write_all(&mut io::stderr(), format!("{line}\n").as_bytes());
}

/// Print why the last call failed on stderr, `what: strerror(errno)`: C's `perror`.
pub fn perror(what: &str) {
    // the errno crate prints strerror and nothing else
    fprintf!(stderr, "%s: %s\n", what, format_args!("{}", errno::errno()));
}

/// Print why the resolver failed on stderr, `what: hstrerror(h_errno)`: `herror`, of `<netdb.h>`.
pub fn herror(what: &str) {
    fprintf!(stderr, "%s: %s\n", what, hstrerror(h_errno()));
}

/// Write out what is held back.
fn flush() {
    Line::new(Stream::Stdout).flush();
}

/// End this process, as C's `exit`: what is held back of stdout is written first.
pub fn exit(status: i32) -> ! {
    flush();
    std::process::exit(status)
}

/// What C does by flushing stdout: learn whether everything printed since the start went out. A
/// failure is said once; it ends no server, and it is the exit status of the others.
///
/// # Errors
/// [`Error::Stdout`] when something was lost.
pub fn flush_stdout() -> Result<(), Error> {
    flush();
    match FAILED.load(Relaxed) {
        0 => Ok(()),
        errno => {
            if !SAID.swap(true, Relaxed) {
                error::perror("stdout")(Errno::from_raw(errno)).print();
            }
            Err(Error::Stdout)
        }
    }
}

/// Read a line of stdin, of at most one byte less than `buffer` holds, as C's `fgets`: the newline
/// stays, and a NUL follows. At the end of file, and after a failure, nothing is stored.
///
/// A terminal shows what is held back of stdout first, as C's does.
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
