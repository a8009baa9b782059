//! accept: accept one client, and end.
//! Usage: prise server accept [--port 8888] [--backlog 3]
//! Twin: c/server/accept.c. Next: reply.rs

use libc::{AF_INET, INADDR_ANY, sa_family_t};
use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket};
use nix::unistd::close;

use crate::error::{Error, perror};
use crate::ffi::{accept, bind, htonl, htons, listen, sockaddr_in};
use crate::stdio::{flush_stdout, puts};
use crate::stream::{back_off, print_chosen_port};

/// `prise server accept`
///
/// # Errors
/// The call that failed, with its reason; or [`Error::Stdout`], when not everything could be printed.
pub fn main(port: u16, backlog: i32) -> Result<(), Error> {
    // create the socket
    let socket_desc = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .map_err(perror("Could not create socket"))?;

    // Differs: let a restart bind at once, while old connections wait in TIME_WAIT
    setsockopt(&socket_desc, ReuseAddr, &true).ok();

    // fill in the address: every interface, the port in network byte order
    let mut server = sockaddr_in();
    server.sin_family = AF_INET as sa_family_t;
    server.sin_addr.s_addr = htonl(INADDR_ANY);
    server.sin_port = htons(port);

    // bind the socket to the port
    bind(&socket_desc, &server).map_err(perror("bind failed"))?;
    puts("\nbind done\n");
    if port == 0 {
        print_chosen_port(&socket_desc);
    }

    // listen
    listen(&socket_desc, backlog).map_err(perror("listen failed"))?;
    puts("Waiting for incoming connections...\n");
    flush_stdout().ok();

    // accept a client; Differs: a failed accept ends nothing
    let (new_socket, _client) = loop {
        match accept(&socket_desc) {
            Ok(accepted) => break accepted,
            Err(errno) => back_off("accept failed", errno),
        }
    };
    puts("Connection accepted\n");

    // close the client's socket
    close(new_socket).ok();

    flush_stdout()
}
