//! send: connect, and send a request.
//! Usage: prise client send [HOST [PORT]]
//! Twin: c/client/send.c. Next: recv.rs

use std::os::fd::AsRawFd;

use libc::{AF_INET, sa_family_t};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socket};

use crate::error::{Error, perror};
use crate::ffi::{connect, htons, inet_addr, sockaddr_in};
use crate::stdio::{flush_stdout, puts};

/// `prise client send`
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

    puts("Connected\n");

    // send the request
    let message = "GET / HTTP/1.1\r\n\r\n";
    send(socket_desc.as_raw_fd(), message.as_bytes(), MsgFlags::empty()).map_err(perror("Send failed"))?;

    puts("Data Send\n");

    flush_stdout()
}
