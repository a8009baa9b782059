//! A client between accept and fork.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// A client that was accepted and has no child yet.
pub struct Client {
    /// Its connection.
    pub socket: OwnedFd,
    /// Its address: the peer address of the connection, or the address that its proxy's header gives.
    pub address: SocketAddr,
    /// The address that it connected to, if it is known without getsockname(2).
    pub local: Option<SocketAddr>,
}
