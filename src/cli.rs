//! The command line: what can be asked, and nothing else.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::check::{self, Format, Text};
use crate::client::Client;
use crate::error::{Error, Exit};
use crate::ffi::Allowance;
use crate::options::number;
use crate::serve::limits::Rate;
use crate::serve::{self, Address, Network, ReaperKind};
use crate::server::Server;
use crate::stdio::{flush_stdout, say};

/// Read the command line of this process.
///
/// # Errors
/// [`Error::CommandLine`] for a wrong one, [`Error::Help`] once the help it asks for is printed.
pub fn parse() -> Result<Command, Error> {
    match Prise::try_parse().and_then(Prise::validated) {
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

/// The command tree, from which the manual pages and the completions are made.
pub fn command() -> clap::Command {
    Prise::command()
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
        match &self.command {
            Command::Check(check) => check.is_told_where()?,
            Command::Serve(serve) => serve.names_what_it_separates()?,
            Command::Client(_) | Command::Server(_) => {}
        }
        Ok(self.command)
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
    let mut prise = Prise::command();
    prise.build();
    let error = |command: &mut clap::Command| command.error(ErrorKind::MissingRequiredArgument, why);
    prise.find_subcommand_mut(command).map_or_else(|| error(&mut Prise::command()), error)
}

impl Check {
    fn is_told_where(&self) -> Result<(), clap::Error> {
        let told = self.server.iter().any(|word| word.to_string_lossy().contains("{port}"));
        if self.list || self.port.is_some() || told {
            return Ok(());
        }
        let why = "no word of the server's has {port} in it, and no --port N says where it always listens";
        Err(missing("check", why))
    }
}

impl Serve {
    /// A script whose variable was empty is not to serve what nobody has asked for.
    fn names_what_it_separates(&self) -> Result<(), clap::Error> {
        if !self.program.is_empty() || std::env::args_os().all(|word| word != "--") {
            return Ok(());
        }
        Err(missing("serve", "no program stands after --"))
    }
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
    Check(Check),
    /// Serve each client by a process of its own: any program, or the tutorial's child
    ///
    /// The program finds its client on descriptors 0 and 1, the log on 2, and UCSPI's variables in its
    /// environment (TCPREMOTEIP, TCPREMOTEPORT, …). Without a program, the child of `prise server robust`
    /// serves. The bound address is printed on stdout, the log goes to stderr.
    ///
    /// SIGTERM, SIGINT, SIGQUIT, SIGHUP: accept nobody any more, let children finish, then end them. A second
    /// one skips the wait. SIGUSR1: a line of counters.
    ///
    /// Exit status: 0 after a clean stop, 100 usage or denied, 111 a call failed.
    #[command(after_long_help = "Examples:
  prise serve 8888
  prise serve --timeout 60 --per-ip 4 --user nobody 4000 -- ./challenge
  prise serve --hangup '[::]:9418' -- git daemon --inetd --base-path=/srv/git")]
    Serve(Box<Serve>),
}

/// `prise serve`
#[derive(Args)]
pub struct Serve {
    /// How many clients may wait to be accepted; not at a socket that is handed over
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = number(1, i32::MAX))]
    backlog: i32,
    /// How many children there may be; the next client waits in the backlog
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = number(1, u32::MAX))]
    max_children: u32,
    /// How many clients one source may have at a time: an IPv4 address, or an IPv6 /64. One more is closed
    #[arg(long, value_name = "N", value_parser = number(1, u32::MAX))]
    per_ip: Option<u32>,
    /// How many clients of one source may come in a time. One more is closed
    #[arg(long, value_name = "N/SECONDS")]
    rate: Option<Rate>,
    /// How long a client may be served: then SIGTERM to its process group, and SIGKILL 2 seconds later
    #[arg(long, value_name = "SECONDS", value_parser = number(1, MANY_SECONDS))]
    timeout: Option<u64>,
    /// End a child whose client has wholly gone: reset, or closed both ways; not one that half-closed
    #[arg(long)]
    hangup: bool,
    /// How long children may finish when the server stops
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = number(0, MANY_SECONDS))]
    grace: u64,
    /// Whom children run as, with all groups of that user; a number will do
    #[arg(long, value_name = "NAME[:GROUP]")]
    user: Option<String>,
    /// Where the file tree of children begins
    #[arg(long, value_name = "DIR")]
    chroot: Option<PathBuf>,
    /// Have exec give children no more rights (set-user-ID, capabilities) than they have (Linux, FreeBSD)
    #[arg(long)]
    no_new_privs: bool,
    /// How much CPU a child may use: then SIGXCPU, and SIGKILL a second later
    #[arg(long, value_name = "SECONDS", value_parser = number(1, MANY_SECONDS))]
    cpu: Option<u64>,
    /// How much memory a child may have
    #[arg(long, value_name = "MIB", value_parser = number(1, VERY_MANY))]
    memory: Option<u64>,
    /// How many descriptors a child may open
    #[arg(long, value_name = "N", value_parser = number(3, VERY_MANY))]
    nofile: Option<u64>,
    /// How many processes the children's user may have
    #[arg(long, value_name = "N", value_parser = number(1, VERY_MANY))]
    nproc: Option<u64>,
    /// Give children nothing of this environment but PATH
    #[arg(long)]
    clear_env: bool,
    /// The networks of proxies, with commas between them: from there, a connection begins with a PROXY header,
    /// version 1 or 2, which says who the client is
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    proxy_protocol: Vec<Network>,
    /// How children that have ended are found
    #[arg(long, value_enum, default_value_t = ReaperKind::Hint)]
    reaper: ReaperKind,
    /// Where to listen; port 0 picks one. May be left out where a socket is handed over (LISTEN_FDS)
    #[arg(value_name = "[HOST:]PORT")]
    address: Option<Address>,
    /// The program for each client, and its arguments; none for the tutorial's child
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// As much as nobody has, and as can still be counted in bytes where it is mebibytes.
const VERY_MANY: u64 = (1 << 40) - 1;
/// As many as no clock overflows with: a century.
const MANY_SECONDS: u64 = 3_155_760_000;

impl From<Serve> for serve::Request {
    fn from(serve: Serve) -> serve::Request {
        let allowances = [
            (Allowance::Cpu, serve.cpu),
            (Allowance::Memory, serve.memory.map(|mebibytes| mebibytes << 20)),
            (Allowance::Descriptors, serve.nofile),
            (Allowance::Processes, serve.nproc),
        ];
        serve::Request {
            address: serve.address,
            program: serve.program,
            backlog: serve.backlog,
            max_children: serve.max_children as usize,
            per_ip: serve.per_ip,
            rate: serve.rate,
            timeout: serve.timeout.map(Duration::from_secs),
            hangup: serve.hangup,
            grace: Duration::from_secs(serve.grace),
            user: serve.user,
            chroot: serve.chroot,
            no_new_privs: serve.no_new_privs,
            allowances: allowances.into_iter().filter_map(|(what, value)| Some((what, value?))).collect(),
            clear_env: serve.clear_env,
            proxies: serve.proxy_protocol,
            reaper: serve.reaper,
        }
    }
}

/// `prise check`
#[derive(Args)]
pub struct Check {
    /// List the checks, with --faults the faults too, and do nothing
    #[arg(long)]
    pub list: bool,
    /// Make these checks only: a name, or several with commas between them
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = check_names(), hide_possible_values = true)]
    only: Vec<String>,
    /// Make calls of the server and of its children fail too, one at a time, by strace
    #[arg(long)]
    pub faults: bool,
    /// What a client says; \n, \r, \t, \0, \\ and \xNN stand for what they do in C. [default: the
    /// tutorial's message, a line padded with NULs to 255 bytes]
    #[arg(long, value_name = "TEXT", value_parser = Text::unescaped)]
    send: Option<Text>,
    /// How a right answer begins, written the same way
    #[arg(long, value_name = "PREFIX", value_parser = Text::unescaped, default_value = "ok")]
    expect: Text,
    /// The port that the server always listens on, if {port} cannot tell it another
    #[arg(long, value_parser = number(1, u16::MAX))]
    port: Option<u16>,
    /// How long the server is given for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = number(1, 600_u64))]
    timeout: u64,
    /// How the findings are printed
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Print what is done, step by step
    #[arg(long)]
    verbose: bool,
    /// The server, and its arguments; {port} in one becomes the port
    #[arg(last = true, value_name = "SERVER", required_unless_present = "list")]
    server: Vec<OsString>,
}

impl From<Check> for check::Options {
    fn from(check: Check) -> check::Options {
        check::Options {
            server: check.server,
            send: check.send.unwrap_or_else(Text::of_the_tutorial).0,
            expect: check.expect.0,
            only: check.only,
            faults: check.faults,
            port: check.port,
            timeout: Duration::from_secs(check.timeout),
            format: check.format,
            verbose: check.verbose,
        }
    }
}

/// The names of all checks, which a shell completes.
fn check_names() -> PossibleValuesParser {
    check::all().map(|check| check.name).collect::<Vec<_>>().into()
}
