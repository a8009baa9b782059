//! Errors as `perror` prints them, and the exit codes.

use std::fmt::{self, Display, Formatter};
use std::io::Write;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::signal::Signal;

/// How prise exits: 0 and 1 as in C, 2 for a usage error, 3 where there was nothing to examine; `serve` as
/// the UCSPI tools do, 100 and 111.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked; of a server examined: all checks hold.
    Success = 0,
    /// A call failed, and stderr says which, and why; of a server examined: some checks fail.
    Failure = 1,
    /// The command line was wrong: nothing was done.
    Usage = 2,
    /// The server to examine could not be started.
    NotStarted = 3,
    /// `serve`: the command line was wrong, or asks for what is not allowed.
    Denied = 100,
    /// `serve`: a call failed.
    System = 111,
    /// `serve`, in a child: the program is there, and cannot be run.
    CannotRun = 126,
    /// `serve`, in a child: there is no such program.
    NotFound = 127,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// What ends a program. Only `main` reports it.
#[derive(Debug)]
pub enum Error {
    /// A call that sets `errno` failed: `what: strerror(errno)`.
    Errno {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        errno: Errno,
    },
    /// Not everything could be printed: said when it happened.
    Stdout,
    /// The command line is wrong; what to exit with.
    CommandLine(clap::Error, Exit),
    /// Help was asked for, and has been printed: nothing is wrong.
    Help,
    /// The server to examine could not be started, and why.
    NotStarted(String),
    /// `serve` cannot do what it is asked, and why.
    Denied(String),
    /// `serve` cannot begin, since a call failed: `what: strerror(errno)`.
    System(String, Errno),
    /// Ctrl-C, or another signal that asks to stop.
    Stopped(Signal),
}

/// The error of a call that sets `errno`, printed as `perror(what)` does: for `map_err`.
pub fn perror(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Errno { what, errno }
}

/// The same for what keeps `serve` from beginning.
pub fn system(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::System(what.into(), errno)
}

/// What an errno means, as C's `strerror` says it: the errno crate prints that and nothing else.
pub fn strerror(errno: Errno) -> errno::Errno {
    errno::Errno(errno as i32)
}

impl Error {
    /// Print the error on stderr.
    pub fn print(&self) {
        // nowhere is left to say that stderr itself failed
        let _ = match self {
            Error::Stdout | Error::Help => Ok(()),
            Error::CommandLine(error, _) => error.print(),
            error => std::io::stderr().write_all(format!("{error}\n").as_bytes()),
        };
    }

    /// Print the error, and give the code to exit with.
    pub fn report(self) -> ExitCode {
        self.print();
        let exit = match self {
            Error::Help => Exit::Success,
            Error::NotStarted(_) => Exit::NotStarted,
            // as a shell counts a death by a signal
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
