//! Sockets: calls that nix does not provide, or provides without the peer address.
//!
//! `sin_port` and `s_addr` are in network byte order, as in C.

use std::ffi::c_int;
use std::mem::{size_of, zeroed};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

pub use libc::sockaddr_in;
use libc::socklen_t;
use nix::Result;
use nix::errno::Errno;

use super::names::ntohs;

/// An IPv4 socket address (`struct sockaddr_in`), all zero, for the caller to fill in.
///
/// `sin_port` and `sin_addr.s_addr` are in network byte order. On BSD, the length field is set.
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

/// Bind a socket to an address, whose fields are in network byte order:
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

/// Listen on a socket: `int listen(int, int)`. The backlog is the number of connections that may wait for accept; the
/// kernel lowers it to its own limit. (nix rejects values above that limit.)
///
/// # Errors
/// EADDRINUSE, EINVAL, and those of listen(2).
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/listen.html>
pub fn listen(socket: &OwnedFd, backlog: c_int) -> Result<()> {
    // SAFETY: listen takes two integers and no pointer.
    Errno::result(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// Accept a connection, and return it with the peer address, whose fields are in network byte order:
/// `int accept(int, struct sockaddr *, socklen_t *)`. (nix's accept returns no address.)
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
    // SAFETY: accept has just created fd, and nothing else owns it.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, address))
}

/// Accept an IPv4 or IPv6 connection, and return it with the peer address. The new socket is close-on-exec and
/// blocking: `int accept4(int, struct sockaddr *, socklen_t *, int)` (POSIX since 2024).
///
/// # Errors
/// As [`accept`]; EAGAIN if the listening socket is non-blocking and the backlog is empty.
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
    // SAFETY: accept has just created fd, and nothing else owns it.
    let client = unsafe { OwnedFd::from_raw_fd(fd) };
    #[cfg(target_os = "macos")]
    {
        use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
        fcntl(&client, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        // on macOS it inherits O_NONBLOCK from the listening socket
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

    /// Convert from network byte order.
    fn read(&self) -> SocketAddr {
        // SAFETY: the family is at the same offset in both variants, and all bytes were initialized to zero.
        let family = unsafe { self.v4.sin_family };
        if c_int::from(family) == libc::AF_INET6 {
            // SAFETY: all bytes were initialized to zero, and every bit pattern is a valid sockaddr_in6.
            let v6 = unsafe { self.v6 };
            let port = ntohs(v6.sin6_port);
            return SocketAddrV6::new(v6.sin6_addr.s6_addr.into(), port, v6.sin6_flowinfo, v6.sin6_scope_id)
                .into();
        }
        // SAFETY: all bytes were initialized to zero, and every bit pattern is a valid sockaddr_in.
        let v4 = unsafe { self.v4 };
        SocketAddrV4::new(u32::from_be(v4.sin_addr.s_addr).into(), ntohs(v4.sin_port)).into()
    }
}

/// The address that a socket is bound to, whose fields are in network byte order:
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

pub(super) const ADDRESS_LEN: socklen_t = size_of::<sockaddr_in>() as socklen_t;
