//! `prise serve`: a process per client, of any program, in a server that one would deploy.
//!
//! One parent that accepts, forks and reaps, and never reads what a client sends (but for a proxy's header);
//! one child for each client, with no shell and no relay in between.

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

use self::child::{Identity, Recipe};
use self::listener::Listener;
pub use self::options::Options;
use self::parent::Parent;
use crate::error::{Error, Exit, strerror, system};
use crate::ffi::{Strings, getgrouplist, malloc_trim};
use crate::options::digits;

/// `prise serve`
///
/// # Errors
/// [`Error::Denied`] and [`Error::System`], before anybody is served.
pub fn main(options: Options) -> Result<Exit, Error> {
    if (options.user.is_some() || options.chroot.is_some()) && !geteuid().is_root() {
        return Err(Error::Denied("only root may use --user and --chroot".into()));
    }
    let mut recipe = recipe(&options)?;
    if let Some((step, errno)) = child::rehearse(&recipe) {
        return Err(cannot_begin(&options, &step, errno));
    }
    let Listener { socket, address, local } = listener::open(options.address.as_ref(), options.backlog)?;
    log::count_lost().map_err(system("mmap"))?;
    recipe.log = log::never_wait();
    let cap = options.cap();
    let parent = Parent::new(options, recipe, socket, local)?;
    log::listening(address, std::process::id(), cap);
    log::address(address);
    notify::ready();
    malloc_trim();
    Ok(parent.run())
}

/// What each child is made of.
fn recipe(options: &Options) -> Result<Recipe, Error> {
    let (program, files) = program(&options.program)?;
    Ok(Recipe {
        program: Strings::new(program),
        files,
        environment: Strings::new(env::base(options.clear_env)),
        connection: String::new(),
        signals: Vec::new(), // the parent knows which, once it has set its own
        log: None,
        chroot: options.chroot.clone(),
        allowances: options.allowances(),
        identity: options.user.as_deref().map(identity).transpose()?,
        no_new_privs: options.no_new_privs,
        own_session: has_terminal(),
        server: getpid(),
    })
}

/// The rehearsal has failed at a step.
fn cannot_begin(options: &Options, step: &str, errno: Errno) -> Error {
    let why = strerror(errno);
    let name = options.program.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    Error::Denied(match (step, &options.chroot) {
        ("exec", _) if name.is_empty() => format!("no program has an empty name: {why}"),
        ("exec", _) => format!("{name}: {why}"),
        ("chroot", Some(folder)) => format!("no child could begin: chroot {}: {why}", folder.display()),
        _ => format!("no child could begin: {step}: {why}"),
    })
}

/// The program's words, and the files that it may be.
fn program(words: &[OsString]) -> Result<(Vec<CString>, Vec<CString>), Error> {
    let words = words.iter().map(|word| CString::new(word.as_bytes()));
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
    let groups = getgrouplist(&c_name, gid).map_err(system("getgrouplist"))?;
    Ok(Identity { uid: user.uid.as_raw(), gid, groups })
}

/// A user's or a group's number. The highest stands for none, in setuid(2) and its kin.
fn number(text: &str) -> Option<u32> {
    digits(text).filter(|number| *number != u32::MAX)
}
