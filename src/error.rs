//! Errors as `perror` prints them, and the exit codes.

use std::fmt::{self, Display, Formatter};
use std::io::Write;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::signal::Signal;

/// The exit codes of prise: 0 and 1 as in C, 2 for a usage error, 3 if the server to examine did not start; `serve`
/// uses 100 and 111, as the UCSPI tools do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The program did what it was asked to do. `check`: no check fails.
    Success = 0,
    /// A call failed; stderr says which one and why. `check`: at least one check fails.
    Failure = 1,
    /// The command line was wrong: nothing was done.
    Usage = 2,
    /// `check`: the server to examine could not be started.
    NotStarted = 3,
    /// `serve`: the command line was wrong, or asks for something that is not allowed.
    Denied = 100,
    /// `serve`: a call failed.
    System = 111,
    /// `serve`, in a child: the program exists but cannot be run.
    CannotRun = 126,
    /// `serve`, in a child: the program does not exist.
    NotFound = 127,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a program ends early. Only `main` reports it.
#[derive(Debug)]
pub enum Error {
    /// A call that sets `errno` failed: `what: strerror(errno)`.
    Errno {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        errno: Errno,
    },
    /// Some output to stdout was lost. It was reported when it happened.
    Stdout,
    /// The command line is wrong; the exit code to use.
    CommandLine(clap::Error, Exit),
    /// Help was requested and has been printed: nothing is wrong.
    Help,
    /// The server to examine could not be started; the reason.
    NotStarted(String),
    /// `serve` cannot do what the command line asks for; the reason.
    Denied(String),
    /// `serve` cannot start because a call failed: `what: strerror(errno)`.
    System(String, Errno),
    /// Ctrl-C, or another signal that asks the program to stop.
    Stopped(Signal),
}

/// Make an [`Error::Errno`], for `map_err`. It prints as `perror(what)` does.
pub fn perror(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Errno { what, errno }
}

/// Make an [`Error::System`], for `map_err`.
pub fn system(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::System(what.into(), errno)
}

/// An errno that prints as C's `strerror`, with nothing around it: the errno crate does that.
pub fn strerror(errno: Errno) -> errno::Errno {
    errno::Errno(errno as i32)
}

impl Error {
    /// Print the error on stderr.
    pub fn print(&self) {
        // there is nowhere to report that stderr itself failed
        let _ = match self {
            Error::Stdout | Error::Help => Ok(()),
            Error::CommandLine(error, _) => error.print(),
            error => std::io::stderr().write_all(format!("{error}\n").as_bytes()),
        };
    }

    /// Print the error, and return the exit code.
    pub fn report(self) -> ExitCode {
        self.print();
        let exit = match self {
            Error::Help => Exit::Success,
            Error::NotStarted(_) => Exit::NotStarted,
            // 128 + N, as a shell reports a process that signal N killed
            Error::Stopped(signal) => return ExitCode::from(128 + signal as u8),
            Error::CommandLine(_, exit) => exit,
            Error::Denied(_) => Exit::Denied,
            Error::System(..) => Exit::System,
            Error::Errno { .. } | Error::Stdout => Exit::Failure,
        };
        exit.into()
    }
}

impl std::error::Error for Error {}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Error::Errno { what, errno } => write!(f, "{what}: {}", strerror(*errno)),
            Error::Stdout => f.write_str("stdout"),
            Error::CommandLine(error, _) => error.fmt(f),
            Error::Help => f.write_str("help"),
            Error::NotStarted(why) => write!(f, "the server could not be started: {why}"),
            Error::Denied(why) => write!(f, "prise serve: {why}"),
            Error::System(what, errno) => write!(f, "prise serve: {what}: {}", strerror(*errno)),
            Error::Stopped(signal) => write!(f, "stopped by {signal}"),
        }
    }
}
