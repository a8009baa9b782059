//! Parse, run, report, exit.

use std::process::ExitCode;

use prise::cli::{self, Client, Command, Server};
use prise::error::Error;
use prise::{client, runtime, server};

fn main() -> ExitCode {
    runtime::start();
    match cli::parse().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Client(Client::Socket) => client::socket::main(),
        Command::Client(Client::Connect { to }) => client::connect::main(&to.host, to.port),
        Command::Client(Client::Send { to }) => client::send::main(&to.host, to.port),
        Command::Client(Client::Recv { to, name }) => client::recv::main(&to.host, to.port, name.as_deref()),
        Command::Client(Client::Resolve { name }) => client::resolve::main(&name),
        Command::Client(Client::Message { host, port, reply }) => client::message::main(&host, port, reply),
        Command::Server(Server::Accept { on }) => server::accept::main(on.port, on.backlog),
        Command::Server(Server::Reply { on }) => server::reply::main(on.port, on.backlog),
        Command::Server(Server::Loop { on }) => server::r#loop::main(on.port, on.backlog),
        Command::Server(Server::Fork { on, no_reap }) => server::fork::main(on.port, on.backlog, no_reap),
    }
}
