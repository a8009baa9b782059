//! Everything between fork and exec, in order.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{SFlag, stat};
use nix::sys::wait::waitpid;
use nix::unistd::{
    AccessFlags, ForkResult, Pid, access, chdir, chroot, dup2_stdin, dup2_stdout, getppid, pipe, setpgid,
    setsid, write,
};

use crate::addresses::local_address;
use crate::error::{Exit, strerror};
use crate::ffi::{
    _exit, Allowance, Strings, become_user, closefrom_3, default_disposition, execve, fork, no_new_privs,
    setrlimit, term_with_parent,
};
use crate::serve::client::Client;
use crate::serve::pause::BACK_OFF;
use crate::serve::{builtin, env, log};

/// So often is it tried to execute a program for which something is missing: [`BACK_OFF`] apart, for five seconds. It
/// cannot be for ever: those who wait count as processes of their user, and would keep each other waiting.
const EXEC_TRIES: u32 = 50;

/// What a child is made of.
pub struct Recipe {
    /// The program and its arguments; none is the built-in child.
    pub program: Strings,
    /// The files that the program may be, the first one first.
    pub files: Vec<CString>,
    /// The environment; what it says of the connection is written before fork.
    pub environment: Strings,
    /// The part of it that tells of the connection.
    pub connection: String,
    /// The signals whose disposition here is not the default: few, where setting all would be thirty calls.
    pub signals: Vec<i32>,
    /// What its stderr is, where the server's is another.
    pub log: Option<OwnedFd>,
    /// Where its file tree begins.
    pub chroot: Option<PathBuf>,
    /// What it is allowed less of.
    pub allowances: Vec<(Allowance, u64)>,
    /// Who it is.
    pub identity: Option<Identity>,
    /// Whether exec may give it more rights.
    pub no_new_privs: bool,
    /// Whether it has a session of its own, as it must where the server has a terminal. (Linux may schedule each
    /// session by itself, sched(7): that costs more than fork.)
    pub own_session: bool,
    /// The server.
    pub server: Pid,
}

/// A user, by numbers.
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
}

/// A step that failed.
type Step = (&'static str, Errno);

impl Recipe {
    /// Write down what the program is to know of a client; `local` is where all clients connect to, if that is one
    /// place.
    pub fn describe(&mut self, client: &Client, local: Option<SocketAddr>) {
        if !self.files.is_empty() {
            let local = client.local.or(local).or_else(|| local_address(&client.socket).ok());
            self.connection.clear();
            env::of_connection(&mut self.connection, client.address, local);
            self.environment.set_more(&self.connection);
        }
    }
}

/// Become what serves the client. A step that fails ends the child: its client is closed, the log says why.
pub fn become_child(recipe: &Recipe, client: OwnedFd) -> ! {
    let (step, errno) = match prepare(recipe, client) {
        Ok(()) if recipe.files.is_empty() => builtin::serve(),
        Ok(()) => ("exec", run(recipe)),
        Err(failed) => failed,
    };
    log::outlive_it();
    log::failed(std::process::id(), step, strerror(errno));
    _exit(match (step, errno) {
        ("exec", Errno::ENOENT | Errno::ENOTDIR) => Exit::NotFound,
        ("exec", _) => Exit::CannotRun,
        _ => Exit::System,
    } as i32)
}

fn prepare(recipe: &Recipe, client: OwnedFd) -> Result<(), Step> {
    let at = |step: &'static str| move |errno| (step, errno);

    // a process group of its own: it is signalled with all that it starts; and no terminal to type into
    if recipe.own_session {
        setsid().map_err(at("setsid"))?;
    } else {
        setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(at("setpgid"))?;
    }

    // signals as a program expects them: SIGPIPE too, which Rust ignores
    recipe.signals.iter().for_each(|&signal| default_disposition(signal));
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(at("sigprocmask"))?;

    // descriptors: 0 and 1 are the client's socket itself, 2 is the log, and there is no other
    dup2_stdin(&client).map_err(at("dup2"))?;
    dup2_stdout(&client).map_err(at("dup2"))?;
    if let Some(log) = &recipe.log {
        log::wait_again(log).map_err(at("dup2"))?;
    }
    // all above 2 are closed at once, the client's first copy too
    std::mem::forget(client);
    closefrom_3();

    restrict(recipe)
}

/// Give up what the program is not to have.
fn restrict(recipe: &Recipe) -> Result<(), Step> {
    let at = |step: &'static str| move |errno| (step, errno);

    // its place
    if let Some(folder) = &recipe.chroot {
        chroot(folder).map_err(at("chroot"))?;
        chdir("/").map_err(at("chdir"))?;
    }

    // what it may use; before it is another user, who could not set all of it
    for &(allowance, value) in &recipe.allowances {
        setrlimit(allowance, value).map_err(at(allowance.name()))?;
    }

    // who it is: groups first, while that is still allowed
    if let Some(Identity { uid, gid, groups }) = &recipe.identity {
        become_user(*uid, *gid, groups)?;
    }
    if recipe.no_new_privs {
        no_new_privs().map_err(at("no-new-privs"))?;
    }

    // how it ends when the server is killed; last, since another user's process loses it
    term_with_parent();
    if getppid() != recipe.server {
        _exit(Exit::System as i32);
    }
    Ok(())
}

/// Try in a child what each child will do, and whether the program can be run: why not is better said now than to
/// each client. Where not even that child can be made, it is too early to tell.
pub fn rehearse(recipe: &Recipe) -> Option<(String, Errno)> {
    let (said, say) = pipe().ok()?;
    match fork().ok()? {
        ForkResult::Child => {
            // no memory is asked for, of which there may be too little now
            if let Err((step, errno)) = restrict(recipe).and_then(|()| can_run(recipe)) {
                let _ = write(&say, &(errno as i32).to_ne_bytes());
                let _ = write(&say, step.as_bytes());
            }
            _exit(0)
        }
        ForkResult::Parent { child } => {
            drop(say);
            let mut text = Vec::new();
            // what cannot be read or waited for was not said
            let _ = File::from(said).read_to_end(&mut text);
            let _ = waitpid(child, None);
            let (errno, step) = text.split_first_chunk()?;
            Some((String::from_utf8_lossy(step).into(), Errno::from_raw(i32::from_ne_bytes(*errno))))
        }
    }
}

/// Whether a file that the program may be is there, and executable. Where several are, the first reason but "not there"
/// tells why none is.
fn can_run(recipe: &Recipe) -> Result<(), Step> {
    let mut why = Errno::ENOENT;
    for file in &recipe.files {
        match runs(file) {
            Ok(()) => return Ok(()),
            Err(errno) if why == Errno::ENOENT => why = errno,
            Err(_) => {}
        }
    }
    if recipe.files.is_empty() { Ok(()) } else { Err(("exec", why)) }
}

fn runs(file: &CStr) -> Result<(), Errno> {
    let mode = SFlag::from_bits_truncate(stat(file)?.st_mode) & SFlag::S_IFMT;
    access(file, AccessFlags::X_OK)?;
    if mode == SFlag::S_IFREG { Ok(()) } else { Err(Errno::EACCES) }
}

/// Execute the program. Returns why that failed; what may be there again soon is waited for.
fn run(recipe: &Recipe) -> Errno {
    let mut tries = EXEC_TRIES;
    loop {
        match run_first(recipe) {
            Errno::EAGAIN | Errno::ENOMEM | Errno::ENFILE | Errno::EMFILE if tries > 1 => {
                tries -= 1;
                std::thread::sleep(BACK_OFF);
            }
            errno => return errno,
        }
    }
}

/// Execute the first file that can be. Returns why none can.
fn run_first(recipe: &Recipe) -> Errno {
    let mut why = Errno::ENOENT;
    for file in &recipe.files {
        match execve(file, &recipe.program, &recipe.environment) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            // another of that name may be further on
            Errno::EACCES => why = Errno::EACCES,
            errno => return errno,
        }
    }
    why
}

/// The files that a name may stand for, as a shell finds them.
pub fn files(name: &CStr) -> Vec<CString> {
    if name.is_empty() || name.to_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let named = OsStr::from_bytes(name.to_bytes());
    let files = std::env::split_paths(&path).map(|folder| folder.join(named));
    files.filter_map(|file| CString::new(file.into_os_string().into_encoded_bytes()).ok()).collect()
}
