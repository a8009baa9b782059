//! accept: accept one client, and end.
//! Usage: `prise server accept [--port 8888] [--backlog 3]`
//! Twin: c/server/accept.c. Next: reply.rs

use libc::{INADDR_ANY, SOCK_STREAM, c_int, socklen_t};

use crate::ffi::c::{AF_INET, accept, bind, listen, socket};
use crate::ffi::{htons, sockaddr_in};
use crate::server::options::On;
use crate::stdio::{perror, printf, puts};

/// `prise server accept`
pub fn main(on: &On) -> c_int {
    // Differs (c): the port and the backlog can be given
    let port = on.port;
    let backlog = on.backlog;

    let (mut server, mut client) = (sockaddr_in(), sockaddr_in());

    // create the socket
    let socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if socket_desc == -1 {
        printf!("\nCould not create socket\n");
    }

    // fill in the server's address: every interface, the port in network byte order
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = INADDR_ANY;
    server.sin_port = htons(port);

    // bind the socket to that address
    if bind(socket_desc, &server) < 0 {
        puts("\nbind failded\n");
    }
    puts("\nbind done\n");

    // listen
    listen(socket_desc, backlog);

    // accept a client
    puts("Waiting for incoming connections...\n");
    let mut c = size_of::<sockaddr_in>() as socklen_t;
    let new_socket = accept(socket_desc, &mut client, &mut c);
    if new_socket < 0 {
        perror("accept failed\n");
    }

    puts("Connection accepted\n");

    0
}
