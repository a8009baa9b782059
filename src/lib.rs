//! *prise*: Unix servers that fork one process per client.
//!
//! This library is for prise's own program, tests, benchmarks and fuzzing. Other programs should not depend on it.
//!
//! The module list below is the map of the code. No code here may start a thread: `fork` copies only the thread that
//! calls it.

#[cfg(not(unix))]
compile_error!("prise is about Unix processes and sockets");

// the commands, one folder each
mod check; // prise check: examines any server that forks one process per client
mod client; // prise client …: six programs of the tutorial, a file each
mod serve; // prise serve: a server to deploy
mod server; // prise server …: four programs of the tutorial, and robust, a file each

// used only by main
mod cli; // the command tree
mod error; // `what: strerror`, h_errno, exit codes
mod runtime; // what a program does before its first step: c/runtime.h

// used by the commands
mod addresses; // conversions of socket addresses
mod ffi; // the only unsafe code: calls that nix does not provide
mod options; // parsers that the options of several commands share
mod stdio; // printf!, puts, fgets, perror, exit
mod subject; // starts, watches and ends a server under examination
mod stream; // how robust and serve read, write and close a TCP stream: c/stream.h
mod visible; // makes text from the network safe to print: c/visible.h

use std::process::ExitCode;

use cli::Command;
use error::{Error, Exit};
use server::Server;

/// The program: parse, run, report, exit.
///
/// It forks, so call it while the process has only one thread. On Linux, if /proc is mounted, it refuses to run with
/// more; elsewhere nothing checks this.
pub fn main() -> ExitCode {
    if let Err(why) = runtime::start() {
        eprintln!("{why}");
        return Exit::System.into();
    }
    match cli::parse().and_then(run) {
        Ok(exit) => exit.into(),
        Err(error) => error.report(),
    }
}

fn run(command: Command) -> Result<Exit, Error> {
    match command {
        Command::Client(program) => {
            runtime::as_c();
            stdio::exit(program.run())
        }
        Command::Server(Server::Tutorial(program)) => {
            runtime::as_c();
            stdio::exit(program.run())
        }
        Command::Server(Server::Robust { on }) => server::robust::main(&on).map(|()| Exit::Success),
        Command::Check(options) if options.list => check::list(options.faults),
        Command::Check(options) => check::main(&options),
        Command::Serve(options) => serve::main(*options),
    }
}

/// What the tests, the fuzzer and `make docs` use.
#[doc(hidden)]
pub mod inside {
    pub use crate::cli::command;
    pub use crate::serve::{limits, proxy};
}
