//! The command line of `prise serve`: its options and their bounds.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::ffi::Resource;
use crate::options::{mebibytes, number, seconds};
use crate::serve::limits::Rate;
use crate::serve::listener::Address;
use crate::serve::network::Network;
use crate::serve::reaper;

/// `prise serve`
#[derive(Args)]
pub struct Options {
    /// Let N clients wait to be accepted
    ///
    /// While the backlog is full, connecting is slow or fails. A socket that
    /// is handed over (LISTEN_FDS) keeps its own backlog.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = number(1, i32::MAX))]
    #[arg(verbatim_doc_comment)]
    pub backlog: i32,
    /// Run at most N children
    ///
    /// At the limit, the next client waits in the backlog.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = number(1, u32::MAX))]
    pub max_children: u32,
    /// Serve at most N clients per address at a time
    ///
    /// One more client is closed at once. An IPv6 /64 counts as one address.
    #[arg(long, value_name = "N", value_parser = number(1, u32::MAX))]
    pub per_ip: Option<u32>,
    /// Admit N new clients per address within SECONDS
    ///
    /// One more client in that time is closed at once. An IPv6 /64 counts as
    /// one address.
    #[arg(long, value_name = "N/SECONDS", verbatim_doc_comment)]
    pub rate: Option<Rate>,
    /// Serve a client for at most SECONDS
    ///
    /// Then the child's process group gets SIGTERM, and SIGKILL 2 seconds
    /// later.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1), verbatim_doc_comment)]
    pub timeout: Option<Duration>,
    /// End a child when its client is gone
    ///
    /// A client is gone when it has reset the connection, or when both
    /// directions are closed. A half-close does not count.
    #[arg(long, verbatim_doc_comment)]
    pub hangup: bool,
    /// On stop, wait SECONDS for children
    ///
    /// Then each process group that is left gets SIGTERM, and SIGKILL 2
    /// seconds later.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds(0))]
    #[arg(verbatim_doc_comment)]
    pub grace: Duration,
    /// Run children as this user
    ///
    /// They get all groups of the user; GROUP replaces its login group. Both
    /// may be numbers. Only root may use --user.
    #[arg(long, value_name = "NAME[:GROUP]", verbatim_doc_comment)]
    pub user: Option<String>,
    /// Make DIR the root directory of the children
    ///
    /// The program is looked up inside DIR. Only root may use --chroot.
    #[arg(long, value_name = "DIR")]
    pub chroot: Option<PathBuf>,
    /// Let exec give children no new privileges
    ///
    /// Set-user-ID and set-group-ID bits and file capabilities have no
    /// effect. Linux and FreeBSD only.
    #[arg(long, verbatim_doc_comment)]
    pub no_new_privs: bool,
    /// Limit each process to SECONDS of CPU time
    ///
    /// Then it gets SIGXCPU, and SIGKILL a second later.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1))]
    pub cpu: Option<Duration>,
    /// Limit each process's address space to MIB MiB
    ///
    /// An allocation that exceeds it fails.
    #[arg(long, value_name = "MIB", value_parser = mebibytes())]
    pub memory: Option<u64>,
    /// Let each process open at most N descriptors
    ///
    /// At the limit, open(2) and its like fail. Descriptors 0 to 2 count.
    #[arg(long, value_name = "N", value_parser = number(3, MANY))]
    pub nofile: Option<u64>,
    /// Let the children's user run N processes at most
    ///
    /// At the limit, fork(2) fails. All processes of that user count: those
    /// of all clients, and all others on the machine. Root has no limit.
    #[arg(long, value_name = "N", value_parser = number(1, MANY), verbatim_doc_comment)]
    pub nproc: Option<u64>,
    /// Pass children no environment but PATH
    ///
    /// UCSPI's variables of the connection are still set.
    #[arg(long)]
    pub clear_env: bool,
    /// Expect a PROXY header from these networks
    ///
    /// The header, version 1 or 2, says who the client is. A connection
    /// without a whole header after 3 seconds is closed. Several networks are
    /// separated by commas.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', verbatim_doc_comment)]
    pub proxy_protocol: Vec<Network>,
    /// How to find ended children
    ///
    /// hint: wait for the child that SIGCHLD names, for recent children, and
    /// from time to time for all; costs the same with 10,000 children as with
    /// 10. sigchld: at each SIGCHLD, call waitpid(-1) until no ended child is
    /// left; costs more the more children there are.
    #[arg(long, value_enum, default_value_t = reaper::Kind::Hint, verbatim_doc_comment)]
    #[arg(value_name = "hint|sigchld", hide_possible_values = true)]
    pub reaper: reaper::Kind,
    /// Where to listen; port 0 picks a free one
    ///
    /// Without HOST: 0.0.0.0, every IPv4 address. `[::]:PORT` is IPv6 and,
    /// where the system can, IPv4. The address may be left out if a socket is
    /// handed over (LISTEN_FDS).
    #[arg(value_name = "[HOST:]PORT", verbatim_doc_comment)]
    pub address: Option<Address>,
    /// The program for each client, with its arguments
    ///
    /// Without it, the built-in child serves: that of `prise server robust`.
    #[arg(last = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// The most that --nofile and --nproc accept: more than any system has.
const MANY: u64 = crate::options::MAX_MEBIBYTES;

impl Options {
    /// The most children at a time.
    pub fn cap(&self) -> usize {
        self.max_children as usize
    }

    /// The resource limits of each child, in the units of setrlimit(2).
    pub fn rlimits(&self) -> Vec<(Resource, u64)> {
        let asked = [
            (Resource::Cpu, self.cpu.map(|time| time.as_secs())),
            (Resource::Memory, self.memory),
            (Resource::Descriptors, self.nofile),
            (Resource::Processes, self.nproc),
        ];
        asked.into_iter().filter_map(|(what, value)| Some((what, value?))).collect()
    }

    /// A mistake in the command line that clap does not find: a script with an empty variable after `--` must not serve
    /// the built-in child by accident.
    pub fn usage_error(&self) -> Option<&'static str> {
        let has_separator = std::env::args_os().any(|word| word == "--");
        (self.program.is_empty() && has_separator).then_some("there is no program after --")
    }
}
