//! recv: connect, send a request, and print what one recv brings.
//! Usage: prise client recv [HOST [PORT]] [--host NAME]
//! Twin: c/client/recv.c. Next: resolve.rs

use std::os::fd::AsRawFd;

use libc::{AF_INET, sa_family_t};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socket};
use nix::unistd::close;

use crate::error::{Error, perror};
use crate::ffi::{connect, htons, inet_addr, sockaddr_in};
use crate::stdio::{flush_stdout, puts};
use crate::stream::print_to_end;
use crate::visible::visible_text;

/// `prise client recv`
///
/// # Errors
/// The call that failed, with its reason; or [`Error::Stdout`], when not everything could be printed.
pub fn main(host: &str, port: u16, name: Option<&str>) -> Result<(), Error> {
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

    // send the request: a conforming one names the host, and asks for the end
    let message = match name {
        None => String::from("GET / HTTP/1.1\r\n\r\n"),
        Some(name) => format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"),
    };
    send(socket_desc.as_raw_fd(), message.as_bytes(), MsgFlags::empty()).map_err(perror("Send failed"))?;

    // receive the reply: what one recv brings, or with --host all of it
    if name.is_none() {
        let mut server_reply = [0; 2000];
        let n = recv(socket_desc.as_raw_fd(), &mut server_reply, MsgFlags::empty())
            .map_err(perror("recv failed"))?;
        puts("Reply received\n");
        puts(visible_text(&server_reply[..n]));
    } else {
        puts("Reply received\n");
        print_to_end(&socket_desc).map_err(perror("recv failed"))?;
        puts("");
    }

    puts("Data Send\n");

    // close the socket
    close(socket_desc).ok();

    flush_stdout()
}
