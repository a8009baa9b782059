//! connect: connect to a server whose address is known.
//! Usage: prise client connect [HOST [PORT]]
//! Twin: c/client/connect.c. Next: send.rs

use libc::{AF_INET, sa_family_t};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::{Error, perror};
use crate::ffi::{connect, htons, inet_addr, sockaddr_in};
use crate::stdio::{flush_stdout, puts};

/// `prise client connect`
///
/// # Errors
/// The call that failed, with its reason; or [`Error::Stdout`], when not everything could be printed.
pub fn main(host: &str, port: u16) -> Result<(), Error> {
    // create the socket
    let socket_desc = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .map_err(perror("Could not create socket"))?;

    // fill in the server's address
    let mut server = sockaddr_in();
    server.sin_addr.s_addr = inet_addr(host).ok_or_else(|| Error::Address(host.into()))?;
    server.sin_family = AF_INET as sa_family_t;
    server.sin_port = htons(port);

    // connect to the server
    connect(&socket_desc, &server).map_err(perror("connect error"))?;

    puts("Connected");

    flush_stdout()
}
