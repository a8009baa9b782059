//! The command tree. Each command's options are in the options.rs of its folder.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::Client;
use crate::error::{Error, Exit};
use crate::server::Server;
use crate::stdio::{flush_stdout, say};
use crate::{check, serve};

/// Parse the command line of this process.
///
/// # Errors
/// [`Error::CommandLine`] if it is wrong; [`Error::Help`] if it asks for help, which is then printed.
pub fn parse() -> Result<Command, Error> {
    match read().and_then(Prise::validated) {
        Ok(command) => Ok(command),
        Err(error) if error.use_stderr() => {
            let command = std::env::args_os().nth(1).unwrap_or_default();
            let runs_a_program = command == "serve" || command == "check";
            let error = if runs_a_program { with_tip(error) } else { error };
            Err(Error::CommandLine(error, if command == "serve" { Exit::Denied } else { Exit::Usage }))
        }
        Err(help) => {
            say!("{help}");
            flush_stdout()?;
            Err(Error::Help)
        }
    }
}

fn read() -> Result<Prise, clap::Error> {
    let matches = command().try_get_matches()?;
    Prise::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

/// The command tree. `make docs` generates the manual pages and the completions from it.
pub fn command() -> clap::Command {
    Prise::command().mut_subcommand("check", check::with_names)
}

/// Servers that fork one process per client: to learn, to deploy, to examine
#[derive(Parser)]
#[command(name = "prise", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Example:
  prise server fork
  # in another terminal:
  echo hello | prise client message localhost 8888 --reply

Exit status of the clients and servers: 0 done, 1 a call failed, 2 usage error.")]
struct Prise {
    #[command(subcommand)]
    command: Command,
}

impl Prise {
    /// Check what clap cannot check.
    fn validated(self) -> Result<Command, clap::Error> {
        let error = match &self.command {
            Command::Check(options) => options.usage_error().map(|why| missing("check", why)),
            Command::Serve(options) => options.usage_error().map(|why| missing("serve", why)),
            Command::Client(_) | Command::Server(_) => None,
        };
        error.map_or(Ok(self.command), Err)
    }
}

/// For a program that was given without `--`, add a tip that says so. For a mistyped option, remove clap's tip to pass
/// it after `--`.
fn with_tip(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
    {
        if word.starts_with('-') {
            error.remove(ContextKind::Suggested);
        } else {
            let tip = format!("put the program and its arguments after --: -- {word} ...");
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
    }
    error
}

/// The error of a missing argument, as clap prints it.
fn missing(command: &str, why: &str) -> clap::Error {
    let mut prise = self::command();
    prise.build();
    let error = |command: &mut clap::Command| command.error(ErrorKind::MissingRequiredArgument, why);
    prise.find_subcommand_mut(command).map_or_else(|| error(&mut Prise::command()), error)
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// The tutorial's clients, from an unused socket to a conversation
    #[command(subcommand, arg_required_else_help = true)]
    #[command(after_help = "Example:\n  echo hello | prise client message localhost 8888 --reply")]
    Client(Client),
    /// The tutorial's servers, from one client to a process per client
    #[command(subcommand, arg_required_else_help = true)]
    #[command(after_help = "Example:\n  prise server fork --port 8888")]
    Server(Server),
    /// Examine a server that forks per client, and name its mistakes
    ///
    /// Each check starts the server afresh, acts as a client that exposes one
    /// mistake, and looks at the wire and the process table. When a check fails, the
    /// report says what was expected, what was seen, why it matters, and which call
    /// mends it.
    ///
    /// Exit status: 0 no check fails, 1 some fail, 2 usage error, 3 the server could
    /// not be started.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Examples:
  prise check -- prise server fork --port {port}
  prise check --only no-zombies --port 8888 --verbose -- ./server
  prise check --send 'hello\\n' --expect hello -- tcpserver 127.0.0.1 {port} cat")]
    Check(check::Options),
    /// Run a program for each client: a server to deploy
    ///
    /// Each client gets a process of its own. The program finds its client on
    /// descriptors 0 and 1, the log on 2, and UCSPI's variables in its environment
    /// (TCPREMOTEIP, TCPREMOTEPORT, …). Without a program, the built-in child serves:
    /// that of `prise server robust`. The bound address is printed on stdout; the log
    /// goes to stderr.
    ///
    /// SIGTERM, SIGINT, SIGQUIT and SIGHUP stop the server: it accepts no more
    /// clients, lets its children finish, then ends those that are left. A second
    /// signal skips the wait. SIGUSR1 logs a line of counters.
    ///
    /// Exit status: 0 after a clean stop, 100 usage error or denied, 111 a call
    /// failed.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Examples:
  prise serve 8888 -- cat
  prise serve --timeout 60 --per-ip 4 --user nobody 4000 -- ./challenge
  prise serve --hangup '[::]:9418' -- git daemon --inetd --base-path=/srv/git")]
    Serve(Box<serve::Options>),
}
