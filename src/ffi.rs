//! The only unsafe: the calls that nix does not give, or does not give well.
//!
//! One wrapper a call. Each owns what it returns and copies static buffers out at once. Byte order:
//! what POSIX keeps in network byte order (`sin_port`, `s_addr`) is in network byte order here too.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::{self, Display, Formatter, Write};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{hostent, in_addr, in_addr_t, pid_t, sockaddr_in, socklen_t};
use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid};

// What libc declares on no target, or not on all.
unsafe extern "C" {
    #[link_name = "gethostbyname"]
    fn c_gethostbyname(name: *const c_char) -> *const hostent;
    #[link_name = "hstrerror"]
    fn c_hstrerror(err: c_int) -> *const c_char;
    #[link_name = "inet_addr"]
    fn c_inet_addr(cp: *const c_char) -> in_addr_t;
    #[link_name = "inet_ntoa"]
    fn c_inet_ntoa(addr: in_addr) -> *const c_char;

    // h_errno is a macro that calls a function, or a plain variable
    #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
    #[cfg_attr(target_os = "linux", link_name = "__h_errno_location")]
    #[cfg_attr(any(target_os = "freebsd", target_os = "netbsd"), link_name = "__h_errno")]
    fn h_errno_location() -> *const c_int;
    #[cfg(any(target_os = "openbsd", target_os = "macos"))]
    #[link_name = "h_errno"]
    static mut H_ERRNO: c_int;
}

// ---- sockets ----

/// An IPv4 socket address, all zero, to be filled in by hand (`struct sockaddr_in`).
///
/// `sin_port` and `sin_addr.s_addr` are in network byte order. Where the structure has a length (BSD),
/// it is set.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/netinet_in.h.html>
pub fn sockaddr_in() -> sockaddr_in {
    // SAFETY: every field of sockaddr_in is an integer or an array of integers, for which all bits zero is a value.
    #[allow(unused_mut)]
    let mut address: sockaddr_in = unsafe { zeroed() };
    #[cfg(not(target_os = "linux"))]
    {
        address.sin_len = size_of::<sockaddr_in>() as u8;
    }
    address
}

/// Bind a socket to an address, its parts in network byte order:
/// `int bind(int, const struct sockaddr *, socklen_t)`.
///
/// # Errors
/// EADDRINUSE, EACCES (a port below 1024), EADDRNOTAVAIL, and those of bind(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/bind.html>
pub fn bind(socket: &OwnedFd, address: &sockaddr_in) -> Result<()> {
    // SAFETY: address points to a whole sockaddr_in, and the length is its size.
    Errno::result(unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(address).cast(), ADDRESS_LEN) })
        .map(drop)
}

/// Listen on a socket: `int listen(int, int)`. The backlog counts connections that wait for accept; the
/// kernel lowers it to its own limit. (nix refuses to pass on what is above that limit.)
///
/// # Errors
/// EADDRINUSE, EINVAL, and those of listen(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/listen.html>
pub fn listen(socket: &OwnedFd, backlog: c_int) -> Result<()> {
    // SAFETY: listen takes two integers and no pointer.
    Errno::result(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// Accept a connection, with its peer's address, its parts in network byte order:
/// `int accept(int, struct sockaddr *, socklen_t *)`.
/// (nix's accept gives no address.)
///
/// # Errors
/// EINTR, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, and those of accept(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/accept.html>
pub fn accept(socket: &OwnedFd) -> Result<(OwnedFd, sockaddr_in)> {
    let mut address = sockaddr_in();
    let mut length = ADDRESS_LEN;
    let pointer = ptr::from_mut(&mut address).cast();
    // SAFETY: pointer and length describe a whole sockaddr_in that lives until accept returns.
    let fd = Errno::result(unsafe { libc::accept(socket.as_raw_fd(), pointer, &raw mut length) })?;
    // SAFETY: accept has just made fd, and nothing else holds it.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, address))
}

/// Connect a socket to an address, its parts in network byte order:
/// `int connect(int, const struct sockaddr *, socklen_t)`.
///
/// # Errors
/// ECONNREFUSED, ETIMEDOUT, ENETUNREACH, and those of connect(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/connect.html>
pub fn connect(socket: &OwnedFd, address: &sockaddr_in) -> Result<()> {
    // SAFETY: address points to a whole sockaddr_in, and the length is its size.
    Errno::result(unsafe { libc::connect(socket.as_raw_fd(), ptr::from_ref(address).cast(), ADDRESS_LEN) })
        .map(drop)
}

/// The address that a socket is bound to, its parts in network byte order:
/// `int getsockname(int, struct sockaddr *, socklen_t *)`.
///
/// # Errors
/// Those of getsockname(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/getsockname.html>
pub fn getsockname(socket: &OwnedFd) -> Result<sockaddr_in> {
    let mut address = sockaddr_in();
    let mut length = ADDRESS_LEN;
    let pointer = ptr::from_mut(&mut address).cast();
    // SAFETY: pointer and length describe a whole sockaddr_in that lives until getsockname returns.
    Errno::result(unsafe { libc::getsockname(socket.as_raw_fd(), pointer, &raw mut length) })?;
    Ok(address)
}

const ADDRESS_LEN: socklen_t = size_of::<sockaddr_in>() as socklen_t;

// ---- names and addresses ----

/// A 16-bit number from host to network byte order: `uint16_t htons(uint16_t)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/htons.html>
pub const fn htons(hostshort: u16) -> u16 {
    hostshort.to_be()
}

/// A 16-bit number from network to host byte order: `uint16_t ntohs(uint16_t)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/ntohs.html>
pub const fn ntohs(netshort: u16) -> u16 {
    u16::from_be(netshort)
}

/// A 32-bit number from host to network byte order: `uint32_t htonl(uint32_t)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/htonl.html>
pub const fn htonl(hostlong: u32) -> u32 {
    hostlong.to_be()
}

/// A dotted quad as an address in network byte order: `in_addr_t inet_addr(const char *)`. None stands
/// for `INADDR_NONE`, which is the error and, alas, 255.255.255.255 too.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/inet_addr.html>
pub fn inet_addr(cp: &str) -> Option<in_addr_t> {
    let cp = CString::new(cp).ok()?;
    // SAFETY: cp is a NUL-terminated string that outlives the call.
    let address = unsafe { c_inet_addr(cp.as_ptr()) };
    (address != libc::INADDR_NONE).then_some(address)
}

/// An address, in network byte order, as a dotted quad: `char *inet_ntoa(struct in_addr)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/inet_ntoa.html>
pub fn inet_ntoa(address: in_addr) -> Quad {
    // SAFETY: inet_ntoa takes its argument by value and returns its static buffer, never a null pointer.
    let buffer = unsafe { c_inet_ntoa(address) };
    // SAFETY: the buffer is NUL-terminated, and nothing else writes to it before it is copied: there is one thread.
    let text = unsafe { CStr::from_ptr(buffer) }.to_bytes();
    let mut quad = Quad { text: [0; 15], len: text.len() };
    quad.text[..quad.len].copy_from_slice(text);
    quad
}

/// A dotted quad: at most the 15 characters of `255.255.255.255`.
#[derive(Clone, Copy)]
pub struct Quad {
    text: [u8; 15],
    len: usize,
}

impl Display for Quad {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.text[..self.len].iter().try_for_each(|&digit| f.write_char(digit.into()))
    }
}

/// What [`gethostbyname`] found, owned: `struct hostent`, less what no program here reads.
pub struct Hostent {
    /// The addresses, in network byte order, in the resolver's order; at least one.
    pub h_addr_list: Vec<in_addr>,
}

/// Resolve a name to its IPv4 addresses: `struct hostent *gethostbyname(const char *)`.
///
/// # Errors
/// The value of `h_errno`: `HOST_NOT_FOUND`, `TRY_AGAIN`, `NO_RECOVERY`, `NO_DATA`; see [`hstrerror`].
///
/// <https://pubs.opengroup.org/onlinepubs/009695399/functions/gethostbyname.html>
pub fn gethostbyname(name: &str) -> std::result::Result<Hostent, c_int> {
    let name = CString::new(name).map_err(|_| HOST_NOT_FOUND)?;
    // SAFETY: name is a NUL-terminated string that outlives the call.
    let host = unsafe { c_gethostbyname(name.as_ptr()) };
    // SAFETY: gethostbyname returns a null pointer or its static hostent, and nothing writes to it: there is one thread.
    let host = unsafe { host.as_ref() }.ok_or_else(h_errno)?;
    if host.h_addrtype != libc::AF_INET || host.h_length as usize != size_of::<in_addr>() {
        return Err(NO_DATA);
    }
    let mut h_addr_list = Vec::new();
    let mut entry = host.h_addr_list;
    loop {
        // SAFETY: h_addr_list is an array that a null pointer ends, and entry has not gone past that.
        let address = unsafe { *entry };
        if address.is_null() {
            break;
        }
        // SAFETY: an entry points to h_length bytes, which is the size of an in_addr, of any alignment.
        h_addr_list.push(unsafe { address.cast::<in_addr>().read_unaligned() });
        // SAFETY: *entry was not the null pointer that ends the array, so the array goes on.
        entry = unsafe { entry.add(1) };
    }
    if h_addr_list.is_empty() { Err(NO_DATA) } else { Ok(Hostent { h_addr_list }) }
}

/// `h_errno`, "unknown host" (`<netdb.h>`; the same number everywhere).
pub const HOST_NOT_FOUND: c_int = 1;
/// `h_errno`, "no address for this name" (`<netdb.h>`; the same number everywhere).
pub const NO_DATA: c_int = 4;

/// What an `h_errno` means: `const char *hstrerror(int)`.
pub fn hstrerror(err: c_int) -> String {
    // SAFETY: hstrerror takes any integer and returns a constant string, never a null pointer.
    let text = unsafe { c_hstrerror(err) };
    // SAFETY: the constant string is NUL-terminated and lives as long as the program.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Why the last call of the resolver failed.
fn h_errno() -> c_int {
    #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
    {
        // SAFETY: it takes nothing and returns the address of this thread's h_errno.
        let location = unsafe { h_errno_location() };
        // SAFETY: location is the address of an int that lives as long as the thread.
        unsafe { *location }
    }
    #[cfg(any(target_os = "openbsd", target_os = "macos"))]
    // SAFETY: the resolver alone writes to h_errno, and it is not running: there is one thread.
    unsafe {
        H_ERRNO
    }
}

// ---- processes ----

/// Make a child, a copy of this process: `pid_t fork(void)`.
///
/// # Errors
/// EAGAIN (the limit of processes), ENOMEM.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fork.html>
pub fn fork() -> Result<ForkResult> {
    // SAFETY: this crate starts no thread, so the child holds no lock that another thread had taken.
    unsafe { nix::unistd::fork() }
}

/// Reap a child that has ended, if there is one: `pid_t waitpid(-1, NULL, WNOHANG)`. None: there is
/// no child, or none has ended; EINTR cannot be, since it never waits. (nix's waitpid gives EINVAL for
/// a child that a real-time signal killed.)
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/waitpid.html>
pub fn waitpid_nohang() -> Option<Pid> {
    // SAFETY: a null status pointer tells waitpid to store no status.
    let pid: pid_t = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) };
    (pid > 0).then(|| Pid::from_raw(pid))
}

/// Reap any child that has ended, with its status as `WIFEXITED` and its kin read it:
/// `pid_t waitpid(-1, &status, WNOHANG)`. None: there is no child, or none has ended.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/waitpid.html>
pub fn waitpid_status() -> Option<(Pid, c_int)> {
    let mut status = 0;
    // SAFETY: status is an int that lives until waitpid returns.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then(|| (Pid::from_raw(pid), status))
}

/// Set the soft limit of a resource of another process, and give the one it had:
/// `int prlimit(pid_t, int, const struct rlimit *, struct rlimit *)` (Linux).
///
/// # Errors
/// EPERM for another user's process, ESRCH; elsewhere than on Linux, ENOSYS.
///
/// <https://man7.org/linux/man-pages/man2/prlimit.2.html>
pub fn prlimit(pid: i32, resource: Resource, soft: u64) -> Result<u64> {
    #[cfg(target_os = "linux")]
    {
        let resource = match resource {
            Resource::Descriptors => libc::RLIMIT_NOFILE,
            Resource::Processes => libc::RLIMIT_NPROC,
        };
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: limit is a whole rlimit that lives until prlimit returns; nothing is set.
        Errno::result(unsafe { libc::prlimit(pid, resource, ptr::null(), &raw mut limit) })?;
        let was = limit.rlim_cur;
        limit.rlim_cur = soft;
        // SAFETY: limit is a whole rlimit that lives until prlimit returns; the old one is not asked for.
        Errno::result(unsafe { libc::prlimit(pid, resource, &raw const limit, ptr::null_mut()) })?;
        Ok(was)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (pid, resource, soft);
        Err(Errno::ENOSYS)
    }
}

/// Have the orphans among our descendants become our children: `prctl(PR_SET_CHILD_SUBREAPER, 1)`
/// (Linux; elsewhere they become init's).
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html>
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    // it cannot fail where it is known, and where it is not, init adopts
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// A resource that [`prlimit`] limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `RLIMIT_NOFILE`: one more than the highest descriptor.
    Descriptors,
    /// `RLIMIT_NPROC`: the processes of the user.
    Processes,
}

/// End this process at once, without flushing what it shares with its parent: `void _exit(int)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/_exit.html>
pub fn _exit(status: c_int) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

// ---- signals ----

/// What a program does with a signal. There are no other handlers than these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// `SIG_DFL`
    Default,
    /// `SIG_IGN`
    Ignore,
    /// [`reap_children`]
    ReapChildren,
    /// [`note_stop`], which cuts waiting calls short
    NoteStop,
}

/// Set what a signal does: `int sigaction(int, const struct sigaction *, struct sigaction *)`, with
/// `SA_NOCLDSTOP` and, but for [`Handler::NoteStop`], `SA_RESTART`.
///
/// # Errors
/// EINVAL for a signal that cannot be caught.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/sigaction.html>
pub fn sigaction(signal: Signal, handler: Handler) -> Result<()> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet};
    let action_cuts_short = handler == Handler::NoteStop;
    let handler = match handler {
        Handler::Default => SigHandler::SigDfl,
        Handler::Ignore => SigHandler::SigIgn,
        Handler::ReapChildren => SigHandler::Handler(reap_children),
        Handler::NoteStop => SigHandler::Handler(note_stop),
    };
    let restart = if action_cuts_short { SaFlags::empty() } else { SaFlags::SA_RESTART };
    let action = SigAction::new(handler, restart | SaFlags::SA_NOCLDSTOP, SigSet::empty());
    // SAFETY: the handlers call waitpid or store an int, which is async-signal-safe, and keep errno.
    unsafe { nix::sys::signal::sigaction(signal, &action) }.map(drop)
}

/// The SIGCHLD handler. Signals coalesce, so one may stand for many children.
extern "C" fn reap_children(_signal: c_int) {
    let saved_errno = errno::errno();
    while waitpid_nohang().is_some() {}
    errno::set_errno(saved_errno);
}

static STOP: AtomicI32 = AtomicI32::new(0);

/// The handler of signals that ask a program to stop: it notes which.
extern "C" fn note_stop(signal: c_int) {
    STOP.store(signal, Ordering::Relaxed);
}

/// The signal that has asked this program to stop, if one has.
pub fn stop_asked() -> Option<Signal> {
    Signal::try_from(STOP.load(Ordering::Relaxed)).ok()
}
