//! The command line of `prise serve`: what can be asked of a server, and within which bounds.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::ffi::Allowance;
use crate::options::{mebibytes, number, seconds};
use crate::serve::limits::Rate;
use crate::serve::listener::Address;
use crate::serve::network::Network;
use crate::serve::reaper;

/// `prise serve`
#[derive(Args)]
pub struct Options {
    /// Let N clients wait to be accepted; a socket that is handed over keeps its own backlog
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = number(1, i32::MAX))]
    pub backlog: i32,
    /// Run at most N children; the next client waits in the backlog
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = number(1, u32::MAX))]
    pub max_children: u32,
    /// Serve at most N clients of one source at a time (an IPv4 address, or an IPv6 /64); one more is closed
    #[arg(long, value_name = "N", value_parser = number(1, u32::MAX))]
    pub per_ip: Option<u32>,
    /// Accept at most N new clients of one source within SECONDS; one more is closed
    #[arg(long, value_name = "N/SECONDS")]
    pub rate: Option<Rate>,
    /// Serve a client for at most SECONDS: then SIGTERM to its process group, and SIGKILL 2 seconds later
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1))]
    pub timeout: Option<Duration>,
    /// End a child whose client has reset the connection or closed both directions; a half-close does not count
    #[arg(long)]
    pub hangup: bool,
    /// At a stop, let children finish for SECONDS
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds(0))]
    pub grace: Duration,
    /// Run children as this user, with all of its groups; a number will do
    #[arg(long, value_name = "NAME[:GROUP]")]
    pub user: Option<String>,
    /// Make DIR the root of the children's file tree
    #[arg(long, value_name = "DIR")]
    pub chroot: Option<PathBuf>,
    /// Have exec give children no more rights (set-user-ID, capabilities) than they have (Linux, FreeBSD)
    #[arg(long)]
    pub no_new_privs: bool,
    /// Limit the CPU time of each process to SECONDS: then SIGXCPU, and SIGKILL a second later
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1))]
    pub cpu: Option<Duration>,
    /// Limit the address space of each process to MIB mebibytes: a larger allocation fails
    #[arg(long, value_name = "MIB", value_parser = mebibytes())]
    pub memory: Option<u64>,
    /// Let each process open at most N descriptors
    #[arg(long, value_name = "N", value_parser = number(3, MANY))]
    pub nofile: Option<u64>,
    /// Let the children's user have at most N processes, of all clients together
    #[arg(long, value_name = "N", value_parser = number(1, MANY))]
    pub nproc: Option<u64>,
    /// Give children nothing of this environment but PATH
    #[arg(long)]
    pub clear_env: bool,
    /// Expect a PROXY header, version 1 or 2, from these networks (commas between them): it says who the client is
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub proxy_protocol: Vec<Network>,
    /// How children that have ended are found
    #[arg(long, value_enum, default_value_t = reaper::Kind::Hint)]
    pub reaper: reaper::Kind,
    /// Where to listen; port 0 picks one. May be left out where a socket is handed over (LISTEN_FDS)
    #[arg(value_name = "[HOST:]PORT")]
    pub address: Option<Address>,
    /// The program for each client, and its arguments; none for the child of `prise server robust`
    #[arg(last = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// More than any system has; in bytes it still fits a number where it counts mebibytes.
const MANY: u64 = crate::options::MANY_MEBIBYTES;

impl Options {
    /// How many children there may be.
    pub fn cap(&self) -> usize {
        self.max_children as usize
    }

    /// What each process of a child is allowed less of, as setrlimit(2) counts it.
    pub fn allowances(&self) -> Vec<(Allowance, u64)> {
        let asked = [
            (Allowance::Cpu, self.cpu.map(|time| time.as_secs())),
            (Allowance::Memory, self.memory),
            (Allowance::Descriptors, self.nofile),
            (Allowance::Processes, self.nproc),
        ];
        asked.into_iter().filter_map(|(what, value)| Some((what, value?))).collect()
    }

    /// Why this cannot be meant, if clap does not see it: a script whose variable was empty must not serve what
    /// nobody has asked for.
    pub fn fault(&self) -> Option<&'static str> {
        let separated = std::env::args_os().any(|word| word == "--");
        (self.program.is_empty() && separated).then_some("no program stands after --")
    }
}
