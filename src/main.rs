//! Parse, run, report, exit.

use std::process::ExitCode;

use prise::cli::{self, Command};
use prise::error::{Error, Exit};
use prise::server::{self, Server};
use prise::{check, runtime, serve, stdio};

fn main() -> ExitCode {
    runtime::start();
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
        Command::Check(check) if check.list => check::list(check.faults),
        Command::Check(check) => check::main(&check.into()),
        Command::Serve(serve) => serve::main((*serve).into()),
    }
}
