//! `prise serve`: a process per client, of any program, in a server that one would deploy.
//!
//! One parent that accepts, forks and reaps, and never reads what a client sends (but for a proxy's header);
//! one child for each client, with no shell and no relay in between.

mod announced;
mod child;
mod children;
mod counters;
mod env;
mod hangup;
pub mod limits;
mod listener;
mod log;
mod network;
mod notify;
mod parent;
mod pause;
pub mod proxy;
mod reaper;
mod stop;
mod table;
mod tutorial;

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Group, User, geteuid, getpid};

pub use self::listener::Address;
use self::listener::Listener;
pub use self::network::Network;
pub use self::reaper::Kind as ReaperKind;

use self::child::{Identity, Recipe};
use self::limits::Rate;
use self::parent::Parent;
use crate::error::{Error, Exit};
use crate::ffi::{Allowance, Strings, getgrouplist, malloc_trim};

/// What is asked of a server, as it is asked.
pub struct Request {
    /// Where to listen; none, where a socket is handed over.
    pub address: Option<Address>,
    /// The program and its arguments; none for the tutorial's child.
    pub program: Vec<OsString>,
    /// How many clients may wait to be accepted.
    pub backlog: i32,
    /// How many children there may be.
    pub max_children: usize,
    /// How many clients a source may have.
    pub per_ip: Option<u32>,
    /// How many clients of a source may come in a time.
    pub rate: Option<Rate>,
    /// How long a client may be served.
    pub timeout: Option<Duration>,
    /// End a child whose client has wholly gone.
    pub hangup: bool,
    /// How long children may go on when the server stops.
    pub grace: Duration,
    /// `NAME[:GROUP]`
    pub user: Option<String>,
    /// Where the children's file tree begins.
    pub chroot: Option<PathBuf>,
    /// Whether exec may give children more rights.
    pub no_new_privs: bool,
    /// What children are allowed less of.
    pub allowances: Vec<(Allowance, u64)>,
    /// Start children with an empty environment.
    pub clear_env: bool,
    /// The networks whose connections begin with a PROXY header.
    pub proxies: Vec<Network>,
    /// How children are reaped.
    pub reaper: ReaperKind,
}

/// The same, as the parent needs it.
pub struct Options {
    max_children: usize,
    per_ip: Option<u32>,
    rate: Option<Rate>,
    timeout: Option<Duration>,
    hangup: bool,
    grace: Duration,
    proxies: Vec<Network>,
    reaper: ReaperKind,
    recipe: Recipe,
}

/// `prise serve`
///
/// # Errors
/// [`Error::Denied`] and [`Error::System`], before anybody is served.
pub fn main(request: Request) -> Result<Exit, Error> {
    let (program, files) = program(&request)?;
    if (request.user.is_some() || request.chroot.is_some()) && !geteuid().is_root() {
        return Err(Error::Denied("only root may use --user and --chroot".into()));
    }
    let identity = request.user.as_deref().map(identity).transpose()?;
    let mut recipe = Recipe {
        program: Strings::new(program),
        files,
        environment: Strings::new(env::base(request.clear_env)),
        signals: Vec::new(), // the parent knows which, once it has set its own
        log: None,
        chroot: request.chroot,
        allowances: request.allowances,
        identity,
        no_new_privs: request.no_new_privs,
        own_session: has_terminal(),
        server: getpid(),
    };
    match child::rehearse(&recipe) {
        None => {}
        Some((step, errno)) => {
            let why = errno::Errno(errno as i32);
            let name = request.program.first().map(|name| name.to_string_lossy()).unwrap_or_default();
            return Err(Error::Denied(match (step.as_str(), &recipe.chroot) {
                ("exec", _) if name.is_empty() => format!("no program has an empty name: {why}"),
                ("exec", _) => format!("{name}: {why}"),
                ("chroot", Some(folder)) => {
                    format!("no child could begin: chroot {}: {why}", folder.display())
                }
                _ => format!("no child could begin: {step}: {why}"),
            }));
        }
    }
    let Listener { socket, address, local } = listener::open(request.address.as_ref(), request.backlog)?;
    log::count_lost().map_err(|errno| Error::System("mmap".into(), errno))?;
    recipe.log = log::never_wait();
    let options = Options {
        max_children: request.max_children,
        per_ip: request.per_ip,
        rate: request.rate,
        timeout: request.timeout,
        hangup: request.hangup,
        grace: request.grace,
        proxies: request.proxies,
        reaper: request.reaper,
        recipe,
    };
    let cap = options.max_children;
    let parent = Parent::new(options, socket, local)?;
    log::listening(address, std::process::id(), cap);
    log::address(address);
    notify::ready();
    malloc_trim();
    Ok(parent.run())
}

/// The program's words, and the files that it may be.
fn program(request: &Request) -> Result<(Vec<CString>, Vec<CString>), Error> {
    let words = request.program.iter().map(|word| CString::new(word.as_bytes()));
    let words: Vec<CString> = words
        .collect::<Result<_, _>>()
        .map_err(|_| Error::Denied("a NUL in the program's arguments".into()))?;
    let Some(name) = words.first() else { return Ok((words, Vec::new())) };
    let files = child::files(name);
    Ok((words, files))
}

/// Whether this process has a controlling terminal.
fn has_terminal() -> bool {
    open("/dev/tty", OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty()).is_ok()
}

/// The numbers behind `NAME[:GROUP]`; each may be a number itself, which then need not have a name.
fn identity(name: &str) -> Result<Identity, Error> {
    let (user_name, group_name) = match name.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (name, None),
    };
    let none = |what: &str, name: &str| Error::Denied(format!("there is no {what} '{name}'"));
    let named = User::from_name(user_name).ok().flatten();
    let uid = number(user_name);
    let user = named.or_else(|| User::from_uid(uid?.into()).ok().flatten());
    let gid = match (group_name, &user) {
        (Some(name), _) => match Group::from_name(name).ok().flatten() {
            Some(group) => group.gid.as_raw(),
            None => number(name).ok_or_else(|| none("group", name))?,
        },
        (None, Some(user)) => user.gid.as_raw(),
        (None, None) => return Err(none("user", user_name)),
    };
    let Some(user) = user else {
        let uid = uid.ok_or_else(|| none("user", user_name))?;
        return Ok(Identity { uid, gid, groups: vec![gid] });
    };
    let c_name = CString::new(user.name).map_err(|_| none("user", user_name))?;
    let groups = getgrouplist(&c_name, gid).map_err(|errno| Error::System("getgrouplist".into(), errno))?;
    Ok(Identity { uid: user.uid.as_raw(), gid, groups })
}

/// A user's or a group's number. The highest stands for none, in setuid(2) and its kin.
fn number(text: &str) -> Option<u32> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())??;
    (number != u32::MAX).then_some(number)
}
