//! *prise*: Unix servers that fork one process per client.
//!
//! This library is for prise's own program, tests, benchmarks and fuzzing. It is no interface for other programs.
//!
//! The module list is the map. Nothing here starts a thread, and nothing may: `fork` copies one.

#[cfg(not(unix))]
compile_error!("prise is about Unix processes and sockets");

// the commands, one folder each
mod check; // prise check: an examiner of any server that forks per client
mod client; // prise client …: six programs of the tutorial, a file each
mod serve; // prise serve: a server to deploy
mod server; // prise server …: four programs of the tutorial and robust, a file each

// for main alone
mod cli; // the command tree
mod error; // `what: strerror`, h_errno, exit codes
mod runtime; // what happens before a program's first step: c/runtime.h

// what the commands stand on
mod addresses; // conversions of socket addresses
mod ffi; // the only unsafe: what nix does not give
mod options; // what the options of several commands have in common
mod stdio; // printf!, puts, fgets, perror, exit
mod subject; // a server under examination: started, followed, ended
mod stream; // what robust and serve do with a TCP stream: c/stream.h
mod visible; // text from the network, made safe to print: c/visible.h

use std::process::ExitCode;

use cli::Command;
use error::{Error, Exit};
use server::Server;

/// The program: parse, run, report, exit.
///
/// It forks, so it must be called while the process has one thread. On Linux it looks, and does nothing if there are more.
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

/// What the tests, the fuzzer and `make docs` look at from outside.
#[doc(hidden)]
pub mod inside {
    pub use crate::cli::command;
    pub use crate::serve::{limits, proxy};
}
