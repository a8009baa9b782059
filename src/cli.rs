//! The command line: what can be asked, and nothing else.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::Client;
use crate::error::{Error, Exit};
use crate::server::Server;
use crate::stdio::{flush_stdout, say};
use crate::{check, serve};

/// Read the command line of this process.
///
/// # Errors
/// [`Error::CommandLine`] for a wrong one, [`Error::Help`] once the help it asks for is printed.
pub fn parse() -> Result<Command, Error> {
    match read().and_then(Prise::validated) {
        Ok(command) => Ok(command),
        Err(error) if error.use_stderr() => {
            let command = std::env::args_os().nth(1).unwrap_or_default();
            let runs_another = command == "serve" || command == "check";
            let error = if runs_another { with_a_tip(error) } else { error };
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

/// The command tree, from which the manual pages and the completions are made.
pub fn command() -> clap::Command {
    Prise::command().mut_subcommand("check", check::with_names)
}

/// Unix servers that fork one process per client: a tutorial's in Rust and C, one to deploy, an examiner of any.
#[derive(Parser)]
#[command(name = "prise", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Start with:  prise server fork         in one terminal, and
             prise client message localhost 8888 --reply    in another.

Exit status of a client or a server: the tutorial's, 0 done, 1 a call failed; 2 usage.")]
struct Prise {
    #[command(subcommand)]
    command: Command,
}

impl Prise {
    /// What clap cannot see.
    fn validated(self) -> Result<Command, clap::Error> {
        let fault = match &self.command {
            Command::Check(options) => options.fault().map(|why| missing("check", why)),
            Command::Serve(options) => options.fault().map(|why| missing("serve", why)),
            Command::Client(_) | Command::Server(_) => None,
        };
        fault.map_or(Ok(self.command), Err)
    }
}

/// Whoever names a program without `--` is told about that; and whoever mistypes an option, not that a program might
/// have it.
fn with_a_tip(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
    {
        if word.starts_with('-') {
            error.remove(ContextKind::Suggested);
        } else {
            let tip = format!("what is to be run stands after --, its arguments too: -- {word} ...");
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
    }
    error
}

/// What is missing, as clap would say it.
fn missing(command: &str, why: &str) -> clap::Error {
    let mut prise = self::command();
    prise.build();
    let error = |command: &mut clap::Command| command.error(ErrorKind::MissingRequiredArgument, why);
    prise.find_subcommand_mut(command).map_or_else(|| error(&mut Prise::command()), error)
}

/// The folders of programs.
#[derive(Subcommand)]
pub enum Command {
    /// The tutorial's clients, from an unused socket to a conversation
    #[command(subcommand, arg_required_else_help = true)]
    Client(Client),
    /// The tutorial's servers, from one client to a process per client
    #[command(subcommand, arg_required_else_help = true)]
    Server(Server),
    /// Examine any server that forks per client, and say which mistake it makes
    ///
    /// Each check starts the server afresh on a port of its own, is a client that would expose one
    /// mistake, and looks at the wire and at the process table. A check that fails says what was
    /// expected, what was seen, why it matters, and which call mends it.
    ///
    /// Exit status: 0 all hold, 1 some fail, 2 usage, 3 the server could not be started.
    #[command(after_long_help = "Examples:
  prise check -- prise server fork --port {port}
  prise check --send 'hello\\n' --expect hello -- tcpserver 127.0.0.1 {port} cat
  prise check --only no-zombies --port 8888 --verbose -- ./server")]
    Check(check::Options),
    /// Serve each client by a process of its own: any program, or the child of `prise server robust`
    ///
    /// The program finds its client on descriptors 0 and 1, the log on 2, and UCSPI's variables in its
    /// environment (TCPREMOTEIP, TCPREMOTEPORT, …). Without a program, the child of `prise server robust`
    /// serves. The bound address is printed on stdout, the log goes to stderr.
    ///
    /// SIGTERM, SIGINT, SIGQUIT and SIGHUP stop it: it accepts no more clients, lets children finish, then ends them.
    /// A second one skips the wait. SIGUSR1 asks for a line of counters in the log.
    ///
    /// Exit status: 0 after a clean stop, 100 usage or denied, 111 a call failed.
    #[command(after_long_help = "Examples:
  prise serve 8888
  prise serve --timeout 60 --per-ip 4 --user nobody 4000 -- ./challenge
  prise serve --hangup '[::]:9418' -- git daemon --inetd --base-path=/srv/git")]
    Serve(Box<serve::Options>),
}
