//! The command line: what can be asked, and nothing else.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::check::{self, Format, Text};
use crate::error::{Error, Exit};
use crate::ffi::Allowance;
use crate::serve::limits::Rate;
use crate::serve::{self, Address, Network, ReaperKind};
use crate::stdio::{flush_stdout, printf};

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
            printf!("{help}");
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

Exit status: 0 done, 1 a call failed (stderr says which), 2 usage.")]
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
    /// environment (TCPREMOTEIP, TCPREMOTEPORT, …). Without a program, the child of `prise server fork`
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

/// A whole number that is neither lower nor higher.
fn number<T: Copy + Display + FromStr + PartialOrd>(
    lowest: T,
    highest: T,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let in_range = |number: &T| (lowest..=highest).contains(number);
        text.parse()
            .ok()
            .filter(in_range)
            .ok_or_else(|| format!("a whole number from {lowest} to {highest} is expected"))
    }
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

/// `prise client …`
#[derive(Subcommand)]
pub enum Client {
    /// Create a TCP socket, and end without a word
    ///
    /// Shows socket(2): a socket is a file descriptor, and nothing is connected yet.
    ///
    /// Tutorial: section 5.a. Twin: c/client/socket.c.
    #[command(after_long_help = "Example:\n  strace -e trace=socket prise client socket")]
    Socket,
    /// Connect to a server whose address is known
    ///
    /// Shows connect(2), and a sockaddr_in filled in by hand: inet_addr for the address, htons for
    /// the port, which go in network byte order.
    ///
    /// Tutorial: section 5.b. Twin: c/client/connect.c.
    #[command(after_long_help = "Example:\n  prise client connect 127.0.0.1 8888")]
    Connect {
        /// Where to connect to
        #[command(flatten)]
        to: To,
    },
    /// Connect, and send a request
    ///
    /// Shows send(2), with the request of the tutorial: HTTP/1.1 without a Host header, to which a
    /// conforming server answers 400.
    ///
    /// Tutorial: section 5.c. Twin: c/client/send.c.
    #[command(
        after_long_help = "Example:\n  nc -l 8080\n  prise client send 127.0.0.1 8080    (in another terminal)"
    )]
    Send {
        /// Where to connect to
        #[command(flatten)]
        to: To,
    },
    /// Connect, send a request, and print the reply
    ///
    /// Shows recv(2): one call, which brings at most 2000 bytes and as few as the network pleases.
    /// With --host it is a conforming HTTP/1.1 client that reads to the end.
    /// Control characters in the reply are shown as \xNN. There is no time limit.
    ///
    /// Tutorial: sections 5.d and 5.e. Twin: c/client/recv.c.
    #[command(
        after_long_help = "Example:\n  python3 -m http.server 8080\n  prise client recv 127.0.0.1 8080 --host localhost    (in another terminal)"
    )]
    Recv {
        /// Where to connect to
        #[command(flatten)]
        to: To,
        /// Send "Host: NAME" and "Connection: close", and read the reply to its end
        #[arg(long = "host", value_name = "NAME", value_parser = host_name)]
        name: Option<String>,
    },
    /// Find the address of a name
    ///
    /// Shows gethostbyname(3), its hostent and h_errno, which is not errno. Of several addresses the
    /// first is printed.
    ///
    /// Tutorial: section 6. Twin: c/client/resolve.c.
    #[command(after_long_help = "Example:\n  prise client resolve localhost")]
    Resolve {
        /// The name to resolve
        #[arg(default_value = "www.google.com")]
        name: String,
    },
    /// Ask for a message, and send it to a server by name
    ///
    /// Shows a whole client: resolve, connect, write. It sends one line of at most 254 bytes, padded
    /// with NULs to 255, and prints it.
    ///
    /// Tutorial: the last section 6. Twin: c/client/message.c.
    #[command(after_long_help = "Example:\n  echo hello | prise client message localhost 8888 --reply")]
    Message {
        /// The server's name, or its address
        host: String,
        /// The server's port
        #[arg(value_parser = number(0, u16::MAX))]
        port: u16,
        /// Half-close, read to the end, and print what the server answered
        #[arg(long)]
        reply: bool,
    },
}

/// `prise server …`
#[derive(Subcommand)]
pub enum Server {
    /// Accept one client, and end
    ///
    /// Shows bind(2), listen(2), accept(2).
    ///
    /// Tutorial: section 7.b. Twin: c/server/accept.c.
    #[command(
        after_long_help = "Example:\n  prise server accept\n  telnet localhost 8888    (in another terminal)"
    )]
    Accept {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
    /// Accept one client, say who it is, and greet it
    ///
    /// Shows what accept(2) says of the peer, inet_ntoa and ntohs, and write(2) on a socket.
    ///
    /// Tutorial: sections 7.c and 7.d. Twin: c/server/reply.c.
    #[command(
        after_long_help = "Example:\n  prise server reply\n  telnet localhost 8888    (in another terminal)"
    )]
    Reply {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
    /// Accept clients one after the other, and greet each
    ///
    /// Shows an iterative server: while it talks to one client, the next waits in the backlog.
    ///
    /// Tutorial: section "4. Serveur live". Twin: c/server/loop.c.
    #[command(
        after_long_help = "Example:\n  prise server loop\n  telnet localhost 8888    (in another terminal)"
    )]
    Loop {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
    /// Fork one process per client
    ///
    /// Shows fork(2), a child that serves while the parent accepts, and children reaped through
    /// SIGCHLD. A message is what comes until a newline or a NUL is in it, or 255 bytes, or the
    /// client's end of file, or a pause of a second and a half. The reply is 18 bytes, "ok" and 16
    /// NULs. Control characters in a message are shown as \n, \r, \t or \xNN.
    ///
    /// SIGTERM and SIGINT end the parent; a child goes on until its client is served.
    ///
    /// Tutorial: section "5. fork()". Twin: c/server/fork.c.
    #[command(
        after_long_help = "Example:\n  prise server fork\n  echo hello | prise client message localhost 8888 --reply    (in another terminal)"
    )]
    Fork {
        /// Where to listen
        #[command(flatten)]
        on: On,
        /// Leave every child that ends a zombie, as the tutorial does: see them with ps
        #[arg(long)]
        no_reap: bool,
    },
}

/// Where a client connects to.
#[derive(Args)]
pub struct To {
    /// The server's address, a dotted quad: inet_addr resolves no names
    #[arg(default_value = "172.217.22.78")]
    pub host: String,
    /// The server's port: htons puts it into network byte order
    #[arg(default_value_t = 80, value_parser = number(0, u16::MAX))]
    pub port: u16,
}

/// Where a server listens.
#[derive(Args)]
pub struct On {
    /// The port to listen on, on every IPv4 interface; 0 picks a free one and prints it
    #[arg(long, default_value_t = 8888, value_parser = number(0, u16::MAX))]
    pub port: u16,
    /// How many connections may wait for accept: 3 in the tutorial, where a busy server wants 4096
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = number(0, i32::MAX))]
    pub backlog: i32,
}

/// A name that can stand in a Host header: one word of printable ASCII, no longer than DNS allows.
fn host_name(name: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.len() > 253 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("not a host name");
    }
    Ok(name.into())
}
