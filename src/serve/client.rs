//! A client that was accepted, from then until its child has its socket.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// A client that has no child yet.
pub struct Client {
    /// Its connection.
    pub socket: OwnedFd,
    /// Its own address: that of the connection, or the one that a proxy has told.
    pub address: SocketAddr,
    /// Where it connected to, if that is known without asking the socket.
    pub local: Option<SocketAddr>,
}
