//! send: connect, and send a request.
//! Usage: `prise client send [HOST [PORT]]`
//! Twin: c/client/send.c. Next: recv.rs

use libc::{SOCK_STREAM, c_int};

use crate::client::options::To;
use crate::ffi::c::{AF_INET, connect, inet_addr, send, socket};
use crate::ffi::{htons, sockaddr_in};
use crate::stdio::{printf, puts};

/// `prise client send`
pub fn main(to: &To) -> c_int {
    // Differs (c): the server's address and port can be given
    let host = &to.host;
    let port = to.port;

    let mut server = sockaddr_in();

    // create the socket
    let socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if socket_desc == -1 {
        printf!("Could not create socket");
    }

    // fill in the server's address
    server.sin_addr.s_addr = inet_addr(host);
    server.sin_family = AF_INET;
    server.sin_port = htons(port);

    // connect to the server
    if connect(socket_desc, &server) < 0 {
        puts("connect error\n");
        return 1;
    }

    puts("Connected\n");

    // send the request
    let message = "GET / HTTP/1.1\r\n\r\n";
    if send(socket_desc, message.as_bytes(), 0) < 0 {
        puts("Send failed\n");
        return 1;
    }

    puts("Data Send\n");
    0
}
