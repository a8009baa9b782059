//! `prise serve`: a server to deploy, which runs any program in one process per client.
//!
//! One parent accepts, forks and reaps. It reads nothing that a client sends, except the header of a proxy. Each
//! client has one child, with no shell and no relay in between.

mod builtin;
mod child;
mod children;
mod client;
mod counters;
mod env;
mod hangup;
pub mod limits;
mod listener;
mod log;
mod network;
mod notify;
mod options;
mod parent;
mod pause;
mod proxied;
pub mod proxy;
mod reaper;
mod signals;
mod stop;
mod table;

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Group, User, geteuid, getpid};

use self::child::{ChildSetup, Identity};
use self::listener::Listener;
pub use self::options::Options;
use self::parent::Parent;
use crate::error::{Error, Exit, strerror, system};
use crate::ffi::{Strings, getgrouplist, malloc_trim};
use crate::options::digits;

/// Run `prise serve`.
///
/// # Errors
/// [`Error::Denied`] and [`Error::System`], before the first client is accepted.
pub fn main(options: Options) -> Result<Exit, Error> {
    if (options.user.is_some() || options.chroot.is_some()) && !geteuid().is_root() {
        return Err(Error::Denied("only root may use --user and --chroot".into()));
    }
    let mut setup = child_setup(&options)?;
    if let Some((step, errno)) = child::try_in_a_child(&setup) {
        return Err(setup_error(&options, &step, errno));
    }
    let opened = listener::open(options.address.as_ref(), options.backlog)?;
    let Listener { socket: listener, address, local } = opened;
    log::count_lost_lines().map_err(system("mmap"))?;
    setup.stderr = log::make_nonblocking();
    let cap = options.cap();
    let parent = Parent::new(options, setup, listener, local)?;
    log::listening(address, std::process::id(), cap);
    log::print_address(address);
    notify::ready();
    malloc_trim();
    Ok(parent.run())
}

/// What the options ask of every child.
fn child_setup(options: &Options) -> Result<ChildSetup, Error> {
    let (arguments, paths) = program(&options.program)?;
    Ok(ChildSetup {
        arguments: Strings::new(arguments),
        paths,
        environment: Strings::new(env::inherited(options.clear_env)),
        connection: String::new(),
        signals_to_reset: Vec::new(), // the parent fills this in after it has set its own handlers
        stderr: None,
        chroot: options.chroot.clone(),
        rlimits: options.rlimits(),
        identity: options.user.as_deref().map(identity).transpose()?,
        no_new_privs: options.no_new_privs,
        own_session: has_terminal(),
        server: getpid(),
    })
}

/// The error to report when a step fails in the trial child.
fn setup_error(options: &Options, step: &str, errno: Errno) -> Error {
    let why = strerror(errno);
    let name = options.program.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    Error::Denied(match (step, &options.chroot) {
        ("exec", _) if name.is_empty() => format!("the program's name is empty: {why}"),
        ("exec", _) => format!("{name}: {why}"),
        ("chroot", Some(folder)) => format!("children cannot start: chroot {}: {why}", folder.display()),
        _ => format!("children cannot start: {step}: {why}"),
    })
}

/// The program's argument list, and the paths where the program may be.
fn program(words: &[OsString]) -> Result<(Vec<CString>, Vec<CString>), Error> {
    let words = words.iter().map(|word| CString::new(word.as_bytes()));
    let words: Vec<CString> = words
        .collect::<Result<_, _>>()
        .map_err(|_| Error::Denied("the program's arguments contain a NUL byte".into()))?;
    let Some(name) = words.first() else { return Ok((words, Vec::new())) };
    let paths = child::candidate_paths(name);
    Ok((words, paths))
}

/// Whether this process has a controlling terminal.
fn has_terminal() -> bool {
    open("/dev/tty", OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty()).is_ok()
}

/// The user and group IDs for `NAME[:GROUP]`. Each part may be a numeric ID, which need not have a name.
fn identity(name: &str) -> Result<Identity, Error> {
    let (user_name, group_name) = match name.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (name, None),
    };
    let unknown = |what: &str, name: &str| Error::Denied(format!("there is no {what} '{name}'"));
    let named = User::from_name(user_name).ok().flatten();
    let uid = numeric_id(user_name);
    let user = named.or_else(|| User::from_uid(uid?.into()).ok().flatten());
    let gid = match (group_name, &user) {
        (Some(name), _) => match Group::from_name(name).ok().flatten() {
            Some(group) => group.gid.as_raw(),
            None => numeric_id(name).ok_or_else(|| unknown("group", name))?,
        },
        (None, Some(user)) => user.gid.as_raw(),
        (None, None) => return Err(unknown("user", user_name)),
    };
    let Some(user) = user else {
        let uid = uid.ok_or_else(|| unknown("user", user_name))?;
        return Ok(Identity { uid, gid, groups: vec![gid] });
    };
    let c_name = CString::new(user.name).map_err(|_| unknown("user", user_name))?;
    let groups = getgrouplist(&c_name, gid).map_err(system("getgrouplist"))?;
    Ok(Identity { uid: user.uid.as_raw(), gid, groups })
}

/// A numeric user or group ID. The highest number is none: calls like setreuid(2) take it as "no change".
fn numeric_id(text: &str) -> Option<u32> {
    digits(text).filter(|number| *number != u32::MAX)
}
