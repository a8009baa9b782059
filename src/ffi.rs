//! The only unsafe: the calls that nix does not give, or does not give well.
//!
//! One wrapper a call. Each owns what it returns and copies static buffers out at once. Byte order:
//! what POSIX keeps in network byte order (`sin_port`, `s_addr`) is in network byte order here too.
#![allow(unsafe_code)]

pub mod c; // the calls of the tutorial's programs, as C has them

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::{self, Display, Formatter, Write};
use std::mem::{size_of, zeroed};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

pub use libc::sockaddr_in;
use libc::{hostent, in_addr, in_addr_t, pid_t, socklen_t};
use nix::Result;
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
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
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    fn __nss_configure_lookup(dbname: *const c_char, string: *const c_char) -> c_int;

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

/// Accept a connection of any family, close-on-exec and blocking, with its peer's address:
/// `int accept4(int, struct sockaddr *, socklen_t *, int)`, which came into POSIX in 2024.
///
/// # Errors
/// As [`accept`]; EAGAIN when the listening socket does not block and nobody waits.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/accept.html>
pub fn accept4(socket: &OwnedFd) -> Result<(OwnedFd, SocketAddr)> {
    let mut address = Address::zeroed();
    let mut length = size_of::<Address>() as socklen_t;
    let pointer = ptr::from_mut(&mut address).cast();
    #[cfg(not(target_os = "macos"))]
    // SAFETY: pointer and length describe a whole union of addresses that lives until accept4 returns.
    let fd = unsafe { libc::accept4(socket.as_raw_fd(), pointer, &raw mut length, libc::SOCK_CLOEXEC) };
    #[cfg(target_os = "macos")]
    // SAFETY: pointer and length describe a whole union of addresses that lives until accept returns.
    let fd = unsafe { libc::accept(socket.as_raw_fd(), pointer, &raw mut length) };
    let fd = Errno::result(fd)?;
    // SAFETY: accept has just made fd, and nothing else holds it.
    let client = unsafe { OwnedFd::from_raw_fd(fd) };
    #[cfg(target_os = "macos")]
    {
        use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
        fcntl(&client, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        // there it inherits what the listening socket has
        fcntl(&client, FcntlArg::F_SETFL(OFlag::empty()))?;
    }
    Ok((client, address.read()))
}

/// An IPv4 or IPv6 socket address, as the kernel writes it.
#[repr(C)]
union Address {
    v4: sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Address {
    fn zeroed() -> Address {
        // SAFETY: both are structures of integers, for which all bits zero is a value.
        unsafe { zeroed() }
    }

    /// Out of network byte order.
    fn read(&self) -> SocketAddr {
        // SAFETY: the family stands at the same place in both, and all bits were set when it was made.
        let family = unsafe { self.v4.sin_family };
        if c_int::from(family) == libc::AF_INET6 {
            // SAFETY: all bits of it were set when it was made, and any are a value.
            let v6 = unsafe { self.v6 };
            let port = ntohs(v6.sin6_port);
            return SocketAddrV6::new(v6.sin6_addr.s6_addr.into(), port, v6.sin6_flowinfo, v6.sin6_scope_id)
                .into();
        }
        // SAFETY: all bits of it were set when it was made, and any are a value.
        let v4 = unsafe { self.v4 };
        SocketAddrV4::new(u32::from_be(v4.sin_addr.s_addr).into(), ntohs(v4.sin_port)).into()
    }
}

/// Take over a descriptor that another program has left open for this one; `None` if it is not open.
/// It is close-on-exec from now on. To be asked before this program opens anything that it keeps.
pub fn inherited(fd: c_int) -> Option<OwnedFd> {
    // SAFETY: fcntl with F_SETFD takes an integer and no pointer; EBADF tells that fd is not open.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).ok()?;
    // SAFETY: fd is open, and nothing in this program holds it: it was opened before the program began.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
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

impl Hostent {
    /// The first address: `h_addr`.
    pub fn h_addr(&self) -> in_addr {
        self.h_addr_list[0]
    }
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

/// Where glibc is linked statically, have it find users, groups and hosts by what it has built in: files and DNS.
/// The other modules that nsswitch.conf may name are shared libraries, and to load one into a static program ends it:
/// with Debian 12's `passwd: files systemd`, an unknown user was a segmentation fault.
pub fn do_without_nss_modules() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    for (database, services) in
        [(c"passwd", c"files"), (c"group", c"files"), (c"initgroups", c"files"), (c"hosts", c"files dns")]
    {
        // SAFETY: both are NUL-terminated constants, and no look-up is under way: there is one thread.
        unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
    }
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
pub fn h_errno() -> c_int {
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

/// Look at a child that has ended, with its status as `WIFEXITED` and its kin read it, and leave it to be reaped:
/// `waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT)`. None: there is no child, or none has ended.
/// (Not all of the BSDs have the call: there it is reaped, `waitpid(-1, &status, WNOHANG)`.)
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/waitid.html>
pub fn peek_ended() -> Option<(i32, c_int)> {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    {
        // SAFETY: siginfo is a structure of integers and pointers, for which all bits zero is a value.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let (pid, status) = loop {
            // SAFETY: info is whole and lives until waitid returns; P_ALL takes no number.
            if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) } != 0 {
                return None;
            }
            // SAFETY: all bits of it were set, here or by waitid.
            let pid = unsafe { info.si_pid() };
            // SAFETY: what waitid fills in has si_status.
            let status = unsafe { info.si_status() };
            match info.si_code {
                libc::CLD_EXITED => break (pid, status << 8),
                libc::CLD_DUMPED => break (pid, status | 0x80),
                // traced by this process, of which Linux tells unasked
                libc::CLD_TRAPPED | libc::CLD_STOPPED => detach(pid, status),
                _ => break (pid, status),
            }
        };
        (pid != 0).then_some((pid, status))
    }
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    {
        let mut status = 0;
        loop {
            // SAFETY: status is an int that lives until waitpid returns.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return None;
            }
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                return Some((pid, status));
            }
            detach(pid, libc::WSTOPSIG(status));
        }
    }
}

/// Let a child go that is traced by this process, for its own PTRACE_TRACEME, and has stopped at a signal, which it
/// then gets: `ptrace(PTRACE_DETACH, pid, …, signal)`, PT_DETACH on BSD.
fn detach(pid: pid_t, signal: c_int) {
    // at an exec it stops with a signal that nobody has sent
    let signal = if signal == libc::SIGTRAP { 0 } else { signal };
    #[cfg(target_os = "linux")]
    // SAFETY: this request takes integers and reads no memory; ESRCH: it has been killed meanwhile.
    unsafe {
        libc::ptrace(libc::PTRACE_DETACH as _, pid, ptr::null_mut::<libc::c_void>(), signal as libc::c_long);
    }
    #[cfg(not(target_os = "linux"))]
    // SAFETY: this request takes integers, and an address of 1 for "where it stopped", which nothing reads.
    unsafe {
        libc::ptrace(libc::PT_DETACH, pid, ptr::without_provenance_mut(1), signal);
    }
}

/// A child that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its number, free again.
    pub pid: i32,
    /// Its status, as `WIFEXITED` and its kin read it.
    pub status: c_int,
    /// The CPU that it and its own children have had.
    pub cpu: Duration,
    /// The most memory that it had, in kilobytes (in bytes on macOS).
    pub maxrss: libc::c_long,
}

/// Reap a child that has ended, with what it has used: `pid_t wait4(pid, &status, WNOHANG, &usage)`.
/// -1 stands for any child. None: it has not ended, or is not there. One that has asked to be traced by its parent
/// and has stopped, which is told too, is let go.
///
/// <https://man7.org/linux/man-pages/man2/wait4.2.html>
pub fn wait4(pid: i32) -> Option<Ended> {
    let mut status = 0;
    // SAFETY: every field of rusage is an integer, for which all bits zero is a value.
    let mut usage: libc::rusage = unsafe { zeroed() };
    let mut let_go = 0;
    let pid = loop {
        // SAFETY: status and usage are whole and live until wait4 returns.
        let found = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
        if found <= 0 || libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            break found;
        }
        detach(found, libc::WSTOPSIG(status));
        let_go += 1;
        // they may have themselves traced again at once: for each there is a signal, and another look
        if let_go == 64 {
            break 0;
        }
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    let cpu = time(usage.ru_utime) + time(usage.ru_stime);
    (pid > 0).then_some(Ended { pid, status, cpu, maxrss: usage.ru_maxrss })
}

/// Strings as execve takes them: an array of pointers that a null pointer ends. They are made before fork: a
/// child that asks for no memory touches, and so copies, fewer pages.
pub struct Strings {
    fixed: Vec<CString>,
    more: String,
    /// To all of `fixed`, to what NULs end in `more`, and a null pointer.
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// These.
    pub fn new(fixed: Vec<CString>) -> Strings {
        let pointers = fixed.iter().map(|string| string.as_ptr()).collect();
        let mut strings = Strings { fixed, more: String::new(), pointers };
        strings.set_more(|_| {});
        strings
    }

    /// Let others than before follow those that [`Strings::new`] was given, each with its NUL.
    pub fn set_more(&mut self, write: impl FnOnce(&mut String)) {
        self.pointers.truncate(self.fixed.len());
        self.more.clear();
        write(&mut self.more);
        let whole = self.more.split_inclusive('\0').filter(|string| string.ends_with('\0'));
        self.pointers.extend(whole.map(|string| string.as_ptr().cast::<c_char>()));
        self.pointers.push(ptr::null());
    }
}

/// Execute a program: `int execve(const char *, char *const [], char *const [])`. It returns only to say why it
/// could not. (nix's makes the arrays, after fork.)
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/execve.html>
pub fn execve(file: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    let (arguments, environment) = (arguments.pointers.as_ptr(), environment.pointers.as_ptr());
    // SAFETY: all are NUL-terminated strings, and arrays of such that a null pointer ends; their owners outlive the call.
    unsafe { libc::execve(file.as_ptr(), arguments, environment) };
    Errno::last()
}

/// Have malloc give back what it keeps for later: what is not there is not copied by fork (glibc; others keep less).
pub fn malloc_trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes an integer, and gives back only what is not allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Fresh memory, all zeros, aligned to a page and never unmapped:
/// `mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANON, -1, 0)`.
///
/// # Errors
/// ENOMEM.
///
/// <https://man7.org/linux/man-pages/man2/mmap.2.html>
fn map(size: usize, flags: c_int) -> Result<ptr::NonNull<libc::c_void>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, flags | libc::MAP_ANON);
    // SAFETY: no flags hold MAP_FIXED, and a mapping where the kernel chooses changes no memory that is in use.
    let address = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    ptr::NonNull::new(address).ok_or(Errno::ENOMEM)
}

/// A counter that a process has in common with the children that it forks: `mmap(MAP_SHARED | MAP_ANON)`.
///
/// # Errors
/// ENOMEM.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/mmap.html>
pub fn shared_counter() -> Result<&'static AtomicU64> {
    let zero = map(size_of::<AtomicU64>(), libc::MAP_SHARED)?;
    // SAFETY: it is a zero, aligned, that nothing takes away, and whoever has it has it as an atomic.
    Ok(unsafe { zero.cast().as_ref() })
}

/// A list of no more than a known length, that children made by fork do not have (Linux; elsewhere they have a copy).
/// It is there for as long as the process.
pub struct Unforked<T> {
    first: ptr::NonNull<T>,
    room: usize,
    len: usize,
}

impl<T: Copy> Unforked<T> {
    /// Room for so many; a page of it is made when it is first written to.
    ///
    /// # Errors
    /// ENOMEM.
    ///
    /// <https://man7.org/linux/man-pages/man2/madvise.2.html>
    pub fn with_room(room: usize) -> Result<Unforked<T>> {
        let size = room.max(1).checked_mul(size_of::<T>()).ok_or(Errno::ENOMEM)?;
        // the BSDs reserve nothing for what is not written to
        #[cfg(target_os = "linux")]
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE;
        #[cfg(not(target_os = "linux"))]
        let flags = libc::MAP_PRIVATE;
        let first = map(size, flags)?;
        #[cfg(target_os = "linux")]
        // SAFETY: address and size are those of the mapping. No child refers to it, which has no memory there: what
        // runs after fork is given the recipe and the client, and never returns.
        unsafe {
            libc::madvise(first.as_ptr(), size, libc::MADV_DONTFORK);
        }
        Ok(Unforked { first: first.cast(), room, len: 0 })
    }

    /// One more, if there is room.
    pub fn push(&mut self, item: T) -> bool {
        let fits = self.len < self.room;
        if fits {
            // SAFETY: len is less than room, so that this lies in the mapping.
            let end = unsafe { self.first.add(self.len) };
            // SAFETY: end lies in the mapping, is aligned, and nobody else refers to it.
            unsafe { end.write(item) };
            self.len += 1;
        }
        fits
    }

    /// Some more, as far as there is room.
    pub fn extend(&mut self, items: impl IntoIterator<Item = T>) {
        for item in items {
            let fits = self.push(item);
            debug_assert!(fits, "there is no more than there may be");
        }
    }

    /// Whether there is room for no more.
    pub fn is_full(&self) -> bool {
        self.len == self.room
    }

    /// Forget all.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Take one out; the last takes its place.
    pub fn swap_remove(&mut self, n: usize) -> T {
        let removed = self[n];
        self[n] = self[self.len - 1];
        self.len -= 1;
        removed
    }
}

impl Unforked<u32> {
    /// So many zeros, which is what the kernel gives.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn zeros(len: usize) -> Result<Unforked<u32>> {
        Ok(Unforked { len, ..Unforked::with_room(len)? })
    }
}

impl<T> Deref for Unforked<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the first len items are zeros or have been written, and nothing takes the mapping away.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Unforked<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the first len items are zeros or have been written, and only whoever has self has them.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

/// Write what there is room for, though the descriptor blocks: `pwritev2(fd, iov, 1, -1, RWF_NOWAIT)`. Nothing where
/// that is not to be had: elsewhere than on Linux; of a pipe before Linux 6.4; and of a named pipe or a terminal.
///
/// # Errors
/// EAGAIN where there is no room; and those of write(2).
///
/// <https://man7.org/linux/man-pages/man2/readv.2.html>
pub fn write_nowait(fd: &impl AsRawFd, bytes: &[u8]) -> Option<Result<usize>> {
    #[cfg(target_os = "linux")]
    {
        let iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let (fd, one, here) = (fd.as_raw_fd() as libc::c_long, 1 as libc::c_long, -1 as libc::c_long);
        // the system call itself: not every libc that can be linked has the function
        // SAFETY: the vector is of one, which names bytes that live until it returns and are only read.
        let n = unsafe {
            libc::syscall(libc::SYS_pwritev2, fd, &raw const iov, one, here, here, libc::RWF_NOWAIT)
        };
        match Errno::result(n) {
            // an old kernel, or a filter of system calls that does not know it
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => None,
            written => Some(written.map(|n| n as usize)),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (fd, bytes);
        None
    }
}

/// Close every descriptor from 3 on: `close_range(3, ~0U, 0)`, or `closefrom(3)`.
///
/// <https://man7.org/linux/man-pages/man2/close_range.2.html>
pub fn closefrom_3() {
    #[cfg(target_os = "linux")]
    // SAFETY: close_range takes integers; what it closes, nothing that goes on after this call owns.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    #[cfg(any(target_os = "freebsd", target_os = "openbsd", target_os = "netbsd"))]
    // SAFETY: closefrom takes an integer; what it closes, nothing that goes on after this call owns.
    unsafe {
        libc::closefrom(3);
    }
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        let open = std::fs::read_dir("/dev/fd").into_iter().flatten().flatten();
        let open: Vec<c_int> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        for fd in open.into_iter().filter(|&fd| fd > 2) {
            // SAFETY: close takes an integer; what it closes, nothing that goes on after this call owns.
            unsafe { libc::close(fd) };
        }
    }
}

/// Have exec give neither this process nor what it executes more rights than it has:
/// `prctl(PR_SET_NO_NEW_PRIVS, 1)` (Linux), `procctl(PROC_NO_NEW_PRIVS_CTL)` (FreeBSD).
///
/// # Errors
/// ENOSYS where there is no such call.
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_NO_NEW_PRIVS.2const.html>
pub fn no_new_privs() -> Result<()> {
    #[cfg(target_os = "linux")]
    return nix::sys::prctl::set_no_new_privs();
    #[cfg(target_os = "freebsd")]
    {
        let mut enable = libc::PROC_NO_NEW_PRIVS_ENABLE;
        let (command, enable) = (libc::PROC_NO_NEW_PRIVS_CTL, (&raw mut enable).cast());
        // SAFETY: this command reads one int, which lives until procctl returns; P_PID and 0 are this process.
        Errno::result(unsafe { libc::procctl(libc::P_PID, 0, command, enable) }).map(drop)
    }
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    Err(Errno::ENOSYS)
}

/// Have SIGTERM sent to this process when its parent ends, be it killed: `prctl(PR_SET_PDEATHSIG, SIGTERM)` (Linux),
/// `procctl(PROC_PDEATHSIG_CTL)` (FreeBSD); elsewhere it goes on. It stays over exec, unless that gives more rights.
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html>
pub fn term_with_parent() {
    // neither fails for a signal that there is
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM);
    #[cfg(target_os = "freebsd")]
    {
        let mut signal = libc::SIGTERM;
        // SAFETY: this command reads one int, which lives until procctl returns; P_PID and 0 are this process.
        unsafe { libc::procctl(libc::P_PID, 0, libc::PROC_PDEATHSIG_CTL, (&raw mut signal).cast()) };
    }
}

/// Set the groups of this process, and its user's numbers, for good:
/// `setgroups`, `setgid`, `setuid`, in this order.
///
/// # Errors
/// EPERM; which call it was stands beside it.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/setuid.html>
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> std::result::Result<(), (&'static str, Errno)> {
    // SAFETY: pointer and length describe the slice, which lives until setgroups returns.
    let set = unsafe { libc::setgroups(groups.len() as _, groups.as_ptr().cast()) };
    Errno::result(set).map_err(|errno| ("setgroups", errno))?;
    // SAFETY: setgid takes an integer.
    Errno::result(unsafe { libc::setgid(gid) }).map_err(|errno| ("setgid", errno))?;
    // SAFETY: setuid takes an integer.
    Errno::result(unsafe { libc::setuid(uid) }).map_err(|errno| ("setuid", errno))?;
    Ok(())
}

/// All groups of a user, `gid` among them: `int getgrouplist(const char *, gid_t, gid_t *, int *)`.
///
/// # Errors
/// EINVAL when there are more than can be set.
///
/// <https://man7.org/linux/man-pages/man3/getgrouplist.3.html>
pub fn getgrouplist(user: &CStr, gid: u32) -> Result<Vec<u32>> {
    #[cfg(not(target_os = "macos"))]
    {
        let groups = nix::unistd::getgrouplist(user, gid.into())?;
        Ok(groups.into_iter().map(nix::unistd::Gid::as_raw).collect())
    }
    #[cfg(target_os = "macos")]
    {
        // NGROUPS_MAX is 16 there
        let mut groups = [0; 16];
        let mut n = groups.len() as c_int;
        // SAFETY: user is NUL-terminated; groups has room for n numbers; both and n live until it returns.
        let got = unsafe { libc::getgrouplist(user.as_ptr(), gid as c_int, groups.as_mut_ptr(), &raw mut n) };
        if got < 0 {
            return Err(Errno::EINVAL);
        }
        Ok(groups[..n as usize].iter().map(|&gid| gid as u32).collect())
    }
}

/// What a child may be allowed less of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// `RLIMIT_CPU`, seconds
    Cpu,
    /// `RLIMIT_AS`, bytes; `RLIMIT_DATA` on OpenBSD, which has no other
    Memory,
    /// `RLIMIT_NOFILE`
    Descriptors,
    /// `RLIMIT_NPROC`
    Processes,
}

impl Allowance {
    /// How a log names it when it cannot be limited.
    pub fn name(self) -> &'static str {
        match self {
            Allowance::Cpu => "setrlimit-cpu",
            Allowance::Memory => "setrlimit-memory",
            Allowance::Descriptors => "setrlimit-nofile",
            Allowance::Processes => "setrlimit-nproc",
        }
    }
}

/// Limit a resource of this process, soft and hard; of CPU the hard limit, SIGKILL, is a second more than SIGXCPU, if
/// that is allowed: `int setrlimit(int, const struct rlimit *)`.
///
/// # Errors
/// EPERM for more than is allowed already, EINVAL.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/setrlimit.html>
pub fn setrlimit(allowance: Allowance, value: u64) -> Result<()> {
    let resource = match allowance {
        Allowance::Cpu => libc::RLIMIT_CPU,
        #[cfg(not(target_os = "openbsd"))]
        Allowance::Memory => libc::RLIMIT_AS,
        #[cfg(target_os = "openbsd")]
        Allowance::Memory => libc::RLIMIT_DATA,
        Allowance::Descriptors => libc::RLIMIT_NOFILE,
        Allowance::Processes => libc::RLIMIT_NPROC,
    };
    // more than there is a number for is no limit
    let soft = libc::rlim_t::try_from(value).unwrap_or(libc::RLIM_INFINITY);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit is a whole rlimit that lives until getrlimit returns.
    Errno::result(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    limit.rlim_cur = soft;
    limit.rlim_max = match allowance {
        Allowance::Cpu if soft <= limit.rlim_max => limit.rlim_max.min(soft.saturating_add(1)),
        _ => soft,
    };
    // SAFETY: limit is a whole rlimit that lives until setrlimit returns.
    Errno::result(unsafe { libc::setrlimit(resource, &raw const limit) }).map(drop)
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
    /// [`note_status`], which cuts waiting calls short
    NoteStatus,
    /// [`note_child`], which cuts waiting calls short
    NoteChild,
}

/// Set what a signal does: `int sigaction(int, const struct sigaction *, struct sigaction *)`, with `SA_RESTART`
/// except for handlers that note, and with `SA_NOCLDSTOP` except for [`note_child`].
///
/// # Errors
/// EINVAL for a signal that cannot be caught.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/sigaction.html>
pub fn sigaction(signal: Signal, handler: Handler) -> Result<()> {
    let notes = matches!(handler, Handler::NoteStop | Handler::NoteStatus | Handler::NoteChild);
    // a child that is traced by this process and stops is to be let go
    let hears_stops = handler == Handler::NoteChild;
    let restart = if notes { SaFlags::empty() } else { SaFlags::SA_RESTART };
    let stops = if hears_stops { SaFlags::empty() } else { SaFlags::SA_NOCLDSTOP };
    set_action(signal, handler, restart | stops)
}

fn set_action(signal: Signal, handler: Handler, flags: SaFlags) -> Result<()> {
    let handler = match handler {
        Handler::Default => SigHandler::SigDfl,
        Handler::Ignore => SigHandler::SigIgn,
        Handler::ReapChildren => SigHandler::Handler(reap_children),
        Handler::NoteStop => SigHandler::Handler(note_stop),
        Handler::NoteStatus => SigHandler::Handler(note_status),
        Handler::NoteChild => SigHandler::SigAction(note_child),
    };
    let action = SigAction::new(handler, flags, SigSet::empty());
    // SAFETY: the handlers call waitpid or store an int, which is async-signal-safe, and keep errno.
    unsafe { nix::sys::signal::sigaction(signal, &action) }.map(drop)
}

/// The signals whose disposition is not the default, those that have a number and no name too.
pub fn not_at_default() -> Vec<c_int> {
    // the highest number differs, and a number that none has is at no disposition
    const HIGHEST: c_int = 128;
    (1..=HIGHEST).filter(|&signal| disposition(signal).is_some_and(|what| what != libc::SIG_DFL)).collect()
}

/// Set what a signal does to its default: `signal(signal, SIG_DFL)`.
pub fn default_disposition(signal: c_int) {
    // SAFETY: signal takes two integers; SIG_DFL is no function of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Whether a signal is ignored.
pub fn is_ignored(signal: Signal) -> bool {
    disposition(signal as c_int) == Some(libc::SIG_IGN)
}

/// What a signal does: `sigaction(signal, NULL, &action)`. None: there is no such signal.
fn disposition(signal: c_int) -> Option<libc::sighandler_t> {
    // SAFETY: sigaction is a structure of integers, for which all bits zero is a value.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: nothing is set, and action is whole and lives until sigaction returns.
    let asked = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    (asked == 0).then_some(action.sa_sigaction)
}

/// The SIGCHLD handler. Signals coalesce, so one may stand for many children.
extern "C" fn reap_children(_signal: c_int) {
    let saved_errno = errno::errno();
    while waitpid_nohang().is_some() {}
    errno::set_errno(saved_errno);
}

static STOP: AtomicI32 = AtomicI32::new(0);
static STOPS: AtomicU32 = AtomicU32::new(0);
static STATUS: AtomicBool = AtomicBool::new(false);
static CHILD: AtomicBool = AtomicBool::new(false);
static CHILD_PID: AtomicI32 = AtomicI32::new(0);

/// The handler of signals that ask a program to stop: it notes which, and how often.
extern "C" fn note_stop(signal: c_int) {
    STOP.store(signal, Ordering::Relaxed);
    STOPS.fetch_add(1, Ordering::Relaxed);
}

/// The signal that has asked this program to stop, if one has.
pub fn stop_asked() -> Option<Signal> {
    Signal::try_from(STOP.load(Ordering::Relaxed)).ok()
}

/// How often it was asked.
pub fn stops_asked() -> u32 {
    STOPS.load(Ordering::Relaxed)
}

/// The handler of SIGUSR1.
extern "C" fn note_status(_signal: c_int) {
    STATUS.store(true, Ordering::Relaxed);
}

/// Whether a status was asked for since the last look.
pub fn status_asked() -> bool {
    STATUS.swap(false, Ordering::Relaxed)
}

/// The handler of SIGCHLD where a loop reaps: it notes that a child has ended, and which. Signals
/// coalesce: others may have ended too.
extern "C" fn note_child(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a siginfo that lives until it returns.
    let info = unsafe { &*info };
    // SAFETY: SIGCHLD's siginfo has si_pid; sent by kill() it has the sender's there, which is only a hint.
    let pid = unsafe { info.si_pid() };
    CHILD_PID.store(pid, Ordering::Relaxed);
    CHILD.store(true, Ordering::Relaxed);
}

/// Whether a child has ended since the last look, and which, as far as the signal told.
pub fn child_noted() -> Option<i32> {
    CHILD.swap(false, Ordering::Relaxed).then(|| CHILD_PID.load(Ordering::Relaxed))
}

/// Wait for descriptors with a signal mask that holds for the wait alone:
/// `int ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)`. No time-out: for ever.
/// macOS has no such call: there a signal that comes just before the wait is seen 50 ms late.
///
/// # Errors
/// EINTR, ENOMEM.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/ppoll.html>
pub fn ppoll(fds: &mut [libc::pollfd], timeout: Option<Duration>, mask: &SigSet) -> Result<()> {
    #[cfg(not(target_os = "macos"))]
    {
        let timeout = timeout
            .map(|time| libc::timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos() as _ });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: fds is a slice of that many pollfd; the timespec, unless null, and the set live until it returns.
        Errno::result(unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, timeout, mask.as_ref()) })
            .map(drop)
    }
    #[cfg(target_os = "macos")]
    {
        use nix::sys::signal::{SigmaskHow, sigprocmask};
        let slice = timeout.unwrap_or(Duration::MAX).min(Duration::from_millis(50));
        let mut before = nix::sys::signal::SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), Some(&mut before))?;
        let milliseconds = slice.as_micros().div_ceil(1000) as c_int;
        // SAFETY: fds is a slice of that many pollfd, and lives until poll returns.
        let ready = Errno::result(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as _, milliseconds) });
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        ready.map(drop)
    }
}
