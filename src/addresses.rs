//! The local address of a socket, and conversions of socket addresses.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, getsockname};

/// The address that a socket is bound to.
///
/// # Errors
/// EAFNOSUPPORT if the socket is neither IPv4 nor IPv6, and those of getsockname(2).
pub fn local_address(socket: &OwnedFd) -> Result<SocketAddr> {
    let address: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    let v6 = address.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port())));
    v4.or(v6).map(unmapped).ok_or(Errno::EAFNOSUPPORT)
}

/// Turn an IPv4-mapped IPv6 address into IPv4: `::ffff:192.0.2.7` becomes `192.0.2.7`.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => (v4, address.port()).into(),
            None => (v6, address.port()).into(),
        },
        IpAddr::V4(_) => address,
    }
}
