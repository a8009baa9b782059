//! The child: everything between fork and exec, in order.

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
    _exit, Resource, Strings, become_user, closefrom_3, default_disposition, execve, fork, no_new_privs,
    setrlimit, term_with_parent,
};
use crate::serve::client::Client;
use crate::serve::pause::BACK_OFF;
use crate::serve::{builtin, env, log};

/// How many times exec is tried while a resource is exhausted, [`BACK_OFF`] apart: for five seconds. Trying for ever
/// would not do: children that wait count as processes of their user, and could keep each other waiting.
const EXEC_TRIES: u32 = 50;

/// All that a child needs to know to become the program.
pub struct ChildSetup {
    /// The program and its arguments; empty for the built-in child.
    pub arguments: Strings,
    /// The paths where the program may be, in the order to try them; empty for the built-in child.
    pub paths: Vec<CString>,
    /// The environment; the variables of the connection are added before fork.
    pub environment: Strings,
    /// The variables of the connection.
    pub connection: String,
    /// The signals whose disposition in the parent is not the default. A child resets these few: to reset all signals
    /// would take thirty calls.
    pub signals_to_reset: Vec<i32>,
    /// The child's stderr, if it is not the server's.
    pub stderr: Option<OwnedFd>,
    /// Its root directory.
    pub chroot: Option<PathBuf>,
    /// Its resource limits.
    pub rlimits: Vec<(Resource, u64)>,
    /// The user that it runs as.
    pub identity: Option<Identity>,
    /// Whether exec must not give it more rights.
    pub no_new_privs: bool,
    /// Whether it gets a session of its own, which takes it away from the server's terminal. Without a terminal, the
    /// server's session is kept: Linux may schedule each session as a group (sched(7)), which costs more than fork.
    pub own_session: bool,
    /// The server's process ID.
    pub server: Pid,
}

/// The user, group and supplementary groups of a process.
pub struct Identity {
    /// The user ID.
    pub uid: u32,
    /// The group ID.
    pub gid: u32,
    /// The supplementary groups, for setgroups(2).
    pub groups: Vec<u32>,
}

/// The step that failed, and why.
type FailedStep = (&'static str, Errno);

impl ChildSetup {
    /// Set the environment variables that describe a client's connection. `local` is the address that all clients
    /// connect to, if there is only one.
    pub fn set_connection(&mut self, client: &Client, local: Option<SocketAddr>) {
        if !self.paths.is_empty() {
            let local = client.local.or(local).or_else(|| local_address(&client.socket).ok());
            self.connection.clear();
            env::write_connection(&mut self.connection, client.address, local);
            self.environment.set_more(&self.connection);
        }
    }
}

/// Become the program that serves the client. If a step fails, the child logs why and exits, which closes the client's
/// connection.
pub fn become_child(setup: &ChildSetup, socket: OwnedFd) -> ! {
    let (step, errno) = match prepare(setup, socket) {
        Ok(()) if setup.paths.is_empty() => builtin::serve(),
        Ok(()) => ("exec", exec_with_retries(setup)),
        Err(failed) => failed,
    };
    log::ignore_write_signals();
    log::failed(std::process::id(), step, strerror(errno));
    _exit(match (step, errno) {
        ("exec", Errno::ENOENT | Errno::ENOTDIR) => Exit::NotFound,
        ("exec", _) => Exit::CannotRun,
        _ => Exit::System,
    } as i32)
}

fn prepare(setup: &ChildSetup, socket: OwnedFd) -> Result<(), FailedStep> {
    let at = |step: &'static str| move |errno| (step, errno);

    // a process group of its own, so that a signal reaches all that the child starts; if the server has a terminal, a
    // session of its own, so that the program cannot type into the terminal
    if setup.own_session {
        setsid().map_err(at("setsid"))?;
    } else {
        setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(at("setpgid"))?;
    }

    // signal dispositions and mask as programs expect them; SIGPIPE too, which Rust ignores
    setup.signals_to_reset.iter().for_each(|&signal| default_disposition(signal));
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(at("sigprocmask"))?;

    // descriptors: 0 and 1 are the client's socket itself, 2 is the log, and there is no other
    dup2_stdin(&socket).map_err(at("dup2"))?;
    dup2_stdout(&socket).map_err(at("dup2"))?;
    if let Some(stderr) = &setup.stderr {
        log::use_shared_stderr(stderr).map_err(at("dup2"))?;
    }
    // close all descriptors above 2 at once, including the original of the client's socket
    std::mem::forget(socket);
    closefrom_3();

    restrict(setup)
}

/// Take away the rights that the program must not have.
fn restrict(setup: &ChildSetup) -> Result<(), FailedStep> {
    let at = |step: &'static str| move |errno| (step, errno);

    // the root directory
    if let Some(folder) = &setup.chroot {
        chroot(folder).map_err(at("chroot"))?;
        chdir("/").map_err(at("chdir"))?;
    }

    // resource limits; before the change of user, because the new user may lack the right to set some of them
    for &(resource, value) in &setup.rlimits {
        setrlimit(resource, value).map_err(at(resource.name()))?;
    }

    // user and groups
    if let Some(Identity { uid, gid, groups }) = &setup.identity {
        become_user(*uid, *gid, groups)?;
    }
    if setup.no_new_privs {
        no_new_privs().map_err(at("no-new-privs"))?;
    }

    // SIGTERM when the server dies; last, because a change of user clears this setting
    term_with_parent();
    // the child has another parent: the server died before that call
    if getppid() != setup.server {
        _exit(Exit::System as i32);
    }
    Ok(())
}

/// Take away the same rights in a trial child, and check that the program can be executed: it is better to report an
/// error now than at each client. Returns the step that failed; `None` also if fork fails, since a later fork may
/// succeed.
pub fn try_in_a_child(setup: &ChildSetup) -> Option<(String, Errno)> {
    let (reader, writer) = pipe().ok()?;
    match fork().ok()? {
        ForkResult::Child => {
            // no allocation here: the memory limit may already be reached
            if let Err((step, errno)) = restrict(setup).and_then(|()| check_program(setup)) {
                let _ = write(&writer, &(errno as i32).to_ne_bytes());
                let _ = write(&writer, step.as_bytes());
            }
            _exit(0)
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut text = Vec::new();
            // if the report cannot be read, there is none
            let _ = File::from(reader).read_to_end(&mut text);
            let _ = waitpid(child, None);
            let (errno, step) = text.split_first_chunk()?;
            Some((String::from_utf8_lossy(step).into(), Errno::from_raw(i32::from_ne_bytes(*errno))))
        }
    }
}

/// Check that one of the program's paths is an executable file. If none is, the error is the first that is not ENOENT.
fn check_program(setup: &ChildSetup) -> Result<(), FailedStep> {
    let mut why = Errno::ENOENT;
    for path in &setup.paths {
        match check_executable(path) {
            Ok(()) => return Ok(()),
            Err(errno) if why == Errno::ENOENT => why = errno,
            Err(_) => {}
        }
    }
    if setup.paths.is_empty() { Ok(()) } else { Err(("exec", why)) }
}

fn check_executable(path: &CStr) -> Result<(), Errno> {
    let mode = SFlag::from_bits_truncate(stat(path)?.st_mode) & SFlag::S_IFMT;
    access(path, AccessFlags::X_OK)?;
    if mode == SFlag::S_IFREG { Ok(()) } else { Err(Errno::EACCES) }
}

/// Execute the program, and try again while a resource is exhausted. Returns only if that fails.
fn exec_with_retries(setup: &ChildSetup) -> Errno {
    let mut tries = EXEC_TRIES;
    loop {
        match exec_first(setup) {
            Errno::EAGAIN | Errno::ENOMEM | Errno::ENFILE | Errno::EMFILE if tries > 1 => {
                tries -= 1;
                std::thread::sleep(BACK_OFF);
            }
            errno => return errno,
        }
    }
}

/// Execute the first path that can be executed. Returns only if none can.
fn exec_first(setup: &ChildSetup) -> Errno {
    let mut why = Errno::ENOENT;
    for path in &setup.paths {
        match execve(path, &setup.arguments, &setup.environment) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            // a later path may be executable
            Errno::EACCES => why = Errno::EACCES,
            errno => return errno,
        }
    }
    why
}

/// The paths that a program's name may stand for, as a shell searches PATH.
pub fn candidate_paths(name: &CStr) -> Vec<CString> {
    if name.is_empty() || name.to_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    let search_path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let file_name = OsStr::from_bytes(name.to_bytes());
    let paths = std::env::split_paths(&search_path).map(|folder| folder.join(file_name));
    paths.filter_map(|path| CString::new(path.into_os_string().into_encoded_bytes()).ok()).collect()
}
