//! The calls of the tutorial's programs, as in C: descriptors are plain numbers, a failed call returns -1 and sets
//! `errno`, and the program may ignore both. Only [`crate::client`] and [`crate::server`] use this module. As in C,
//! nothing here owns a descriptor or closes one automatically.
//!
//! Byte order: `sin_port` and `s_addr` are in network byte order.

use std::ffi::{CString, c_int};
use std::ptr;

use libc::{in_addr_t, sa_family_t, sockaddr_in, socklen_t, ssize_t};
use nix::sys::signal::{SaFlags, Signal};

use super::names::{Hostent, c_inet_addr};
use super::signals::{Handler, set_action};
use super::sockets::ADDRESS_LEN;

/// `AF_INET` as `sin_family` holds it.
pub const AF_INET: sa_family_t = libc::AF_INET as sa_family_t;

/// Create a socket: `int socket(int, int, int)`.
///
/// # Errors
/// -1: EMFILE, ENFILE, EACCES, and those of socket(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/socket.html>
pub fn socket(domain: sa_family_t, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: socket takes three integers and no pointer.
    unsafe { libc::socket(domain.into(), kind, protocol) }
}

/// Bind a socket to an address: `int bind(int, const struct sockaddr *, socklen_t)`.
///
/// # Errors
/// -1: EADDRINUSE, EACCES (a port below 1024), EBADF, and those of bind(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/bind.html>
pub fn bind(socket: c_int, address: &sockaddr_in) -> c_int {
    // SAFETY: address points to a whole sockaddr_in, and the length is its size.
    unsafe { libc::bind(socket, ptr::from_ref(address).cast(), ADDRESS_LEN) }
}

/// Listen on a socket: `int listen(int, int)`. The backlog is the number of connections that may wait for accept; the
/// kernel lowers it to its own limit.
///
/// # Errors
/// -1: EADDRINUSE, EBADF, and those of listen(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/listen.html>
pub fn listen(socket: c_int, backlog: c_int) -> c_int {
    // SAFETY: listen takes two integers and no pointer.
    unsafe { libc::listen(socket, backlog) }
}

/// Accept a connection, and fill in the peer address: `int accept(int, struct sockaddr *, socklen_t *)`. The length is
/// the size of the address in bytes, before and after the call.
///
/// # Errors
/// -1: EINTR, ECONNABORTED, EMFILE, ENFILE, EBADF, and those of accept(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/accept.html>
pub fn accept(socket: c_int, address: &mut sockaddr_in, length: &mut socklen_t) -> c_int {
    *length = ADDRESS_LEN.min(*length);
    // SAFETY: length is no more than the size of address, and both live until accept returns.
    unsafe { libc::accept(socket, ptr::from_mut(address).cast(), length) }
}

/// Connect a socket to an address: `int connect(int, const struct sockaddr *, socklen_t)`.
///
/// # Errors
/// -1: ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EBADF, and those of connect(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/connect.html>
pub fn connect(socket: c_int, address: &sockaddr_in) -> c_int {
    // SAFETY: address points to a whole sockaddr_in, and the length is its size.
    unsafe { libc::connect(socket, ptr::from_ref(address).cast(), ADDRESS_LEN) }
}

/// Send bytes on a socket: `ssize_t send(int, const void *, size_t, int)`. It returns how many the kernel accepted.
///
/// # Errors
/// -1: EPIPE, ECONNRESET, EBADF, and those of send(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/send.html>
pub fn send(socket: c_int, message: &[u8], flags: c_int) -> ssize_t {
    // SAFETY: pointer and length describe the slice, and send only reads it.
    unsafe { libc::send(socket, message.as_ptr().cast(), message.len(), flags) }
}

/// Receive bytes from a socket: `ssize_t recv(int, void *, size_t, int)`. It returns how many arrived; 0 is end of
/// file.
///
/// # Errors
/// -1: ECONNRESET, EBADF, and those of recv(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/recv.html>
pub fn recv(socket: c_int, buffer: &mut [u8], flags: c_int) -> ssize_t {
    // SAFETY: pointer and length describe the slice, which is borrowed exclusively until recv returns.
    unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), flags) }
}

/// Read bytes: `ssize_t read(int, void *, size_t)`. It returns how many arrived, 0 at end of file.
///
/// # Errors
/// -1: ECONNRESET, EINTR, EBADF, and those of read(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/read.html>
pub fn read(fd: c_int, buffer: &mut [u8]) -> ssize_t {
    // SAFETY: pointer and length describe the slice, which is borrowed exclusively until read returns.
    unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) }
}

/// Write bytes: `ssize_t write(int, const void *, size_t)`. It returns how many the kernel accepted.
///
/// # Errors
/// -1: EPIPE, ECONNRESET, EBADF, and those of write(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/write.html>
pub fn write(fd: c_int, bytes: &[u8]) -> ssize_t {
    // SAFETY: pointer and length describe the slice, and write only reads it.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) }
}

/// Shut down one or both directions of a connection: `int shutdown(int, int)`.
///
/// # Errors
/// -1: ENOTCONN, EBADF.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/shutdown.html>
pub fn shutdown(socket: c_int, how: c_int) -> c_int {
    // SAFETY: shutdown takes two integers and no pointer.
    unsafe { libc::shutdown(socket, how) }
}

/// Close a descriptor: `int close(int)`. It must come from a call of this module and not be used afterwards.
///
/// # Errors
/// -1: EBADF, EINTR, EIO.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/close.html>
pub fn close(fd: c_int) -> c_int {
    // SAFETY: the programs that call this hold descriptors only as numbers, so no OwnedFd refers to the closed one.
    unsafe { libc::close(fd) }
}

/// Make a child process, a copy of this one: `pid_t fork(void)`. It returns 0 in the child, and the child's process ID
/// in the parent.
///
/// # Errors
/// -1: EAGAIN (a limit on the number of processes), ENOMEM.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fork.html>
pub fn fork() -> c_int {
    // SAFETY: the process has one thread (see src/ffi.rs), so the child does not inherit a lock that another one holds.
    unsafe { libc::fork() }
}

/// Set the disposition of a signal: `int sigaction(int, const struct sigaction *, struct sigaction *)`.
///
/// # Errors
/// -1: EINVAL for a signal that cannot be caught.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/sigaction.html>
pub fn sigaction(signal: Signal, handler: Handler, flags: SaFlags) -> c_int {
    set_action(signal, handler, flags).map_or(-1, |()| 0)
}

/// Convert a dotted quad to an address in network byte order: `in_addr_t inet_addr(const char *)`. Any other text gives
/// `INADDR_NONE`, which is also the address 255.255.255.255.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/inet_addr.html>
pub fn inet_addr(cp: &str) -> in_addr_t {
    let Ok(cp) = CString::new(cp) else { return libc::INADDR_NONE };
    // SAFETY: cp is a NUL-terminated string that outlives the call.
    unsafe { c_inet_addr(cp.as_ptr()) }
}

/// Convert the number at the start of a text, 0 if there is none: `int atoi(const char *)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/atoi.html>
pub fn atoi(text: &str) -> c_int {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: text is a NUL-terminated string that outlives the call.
    unsafe { libc::atoi(text.as_ptr()) }
}

/// Resolve a name to its IPv4 addresses: `struct hostent *gethostbyname(const char *)`.
///
/// # Errors
/// `None`, where C has a null pointer: `h_errno` holds the reason, and [`crate::stdio::herror`] prints it.
///
/// <https://pubs.opengroup.org/onlinepubs/009695399/functions/gethostbyname.html>
pub fn gethostbyname(name: &str) -> Option<Hostent> {
    super::gethostbyname(name).ok()
}
