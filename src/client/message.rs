//! message: ask for a message, and send it to a server by name.
//! Usage: prise client message HOST PORT [--reply]
//! Twin: c/client/message.c. Read before: ../server/fork.rs, the server for it

use std::os::fd::AsRawFd;

use libc::{AF_INET, sa_family_t};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socket};

use crate::error::{Error, herror, perror};
use crate::ffi::{connect, gethostbyname, htons, sockaddr_in};
use crate::stdio::{fgets, flush_stdout, printf, puts};
use crate::stream::{print_to_end, writen};
use crate::visible::visible_line;

/// `prise client message`
///
/// # Errors
/// The call that failed, with its reason; or [`Error::Stdout`], when not everything could be printed.
pub fn main(host: &str, portno: u16, reply: bool) -> Result<(), Error> {
    // create the socket
    let socket_desc = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .map_err(perror("ERROR opening socket"))?;

    // resolve the server's name
    let server = gethostbyname(host).map_err(herror("ERROR, no such host"))?;

    // fill in the server's address
    let mut server_addr = sockaddr_in();
    server_addr.sin_family = AF_INET as sa_family_t;
    server_addr.sin_addr = server.h_addr_list[0];
    server_addr.sin_port = htons(portno);

    // connect to the server
    connect(&socket_desc, &server_addr).map_err(perror("ERROR connecting"))?;

    // ask for the message
    printf!("Please enter a message: ");
    flush_stdout().ok();
    let mut buffer = [0; 256];
    fgets(&mut buffer[..255]).map_err(perror("ERROR reading from stdin"))?;

    // send the message: 255 bytes, whatever its length
    writen(&socket_desc, &buffer[..255]).map_err(perror("ERROR writing to socket"))?;

    // print it
    puts(visible_line(&buffer));

    // with --reply, say that no more will come, and print the reply to its end
    if reply {
        shutdown(socket_desc.as_raw_fd(), Shutdown::Write).ok();
        print_to_end(&socket_desc).map_err(perror("ERROR reading from socket"))?;
        puts("");
    }

    flush_stdout()
}
