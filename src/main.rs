//! Parse, run, report, exit.

use std::process::ExitCode;

use prise::cli::{self, Client, Command, Server};
use prise::error::{Error, Exit};
use prise::{check, client, runtime, serve, server};

fn main() -> ExitCode {
    runtime::start();
    match cli::parse().and_then(run) {
        Ok(exit) => exit.into(),
        Err(error) => error.report(),
    }
}

fn run(command: Command) -> Result<Exit, Error> {
    match command {
        Command::Client(program) => client(program).map(|()| Exit::Success),
        Command::Server(program) => server(program).map(|()| Exit::Success),
        Command::Check(check) if check.list => check::list(check.faults),
        Command::Check(check) => check::main(&check.into()),
        Command::Serve(serve) => serve::main((*serve).into()),
    }
}

fn client(program: Client) -> Result<(), Error> {
    match program {
        Client::Socket => client::socket::main(),
        Client::Connect { to } => client::connect::main(&to.host, to.port),
        Client::Send { to } => client::send::main(&to.host, to.port),
        Client::Recv { to, name } => client::recv::main(&to.host, to.port, name.as_deref()),
        Client::Resolve { name } => client::resolve::main(&name),
        Client::Message { host, port, reply } => client::message::main(&host, port, reply),
    }
}

fn server(program: Server) -> Result<(), Error> {
    match program {
        Server::Accept { on } => server::accept::main(on.port, on.backlog),
        Server::Reply { on } => server::reply::main(on.port, on.backlog),
        Server::Loop { on } => server::r#loop::main(on.port, on.backlog),
        Server::Fork { on, no_reap } => server::fork::main(on.port, on.backlog, no_reap),
    }
}
