//! recv: connect, send a request, and print what one recv brings.
//! Usage: `prise client recv [HOST [PORT]] [--host NAME]`
//! Twin: c/client/recv.c. Next: resolve.rs

use libc::{SOCK_STREAM, c_int};

use crate::client::options::To;
use crate::ffi::c::{AF_INET, close, connect, inet_addr, recv, send, socket};
use crate::ffi::{htons, sockaddr_in};
use crate::stdio::{fwrite, printf, puts};

/// `prise client recv`
pub fn main(to: &To, name: Option<&str>) -> c_int {
    // Differs (c): the server's address and port can be given
    let host = &to.host;
    let port = to.port;

    // Differs (a): one byte more than recv fills, and all of them zero: what is printed ends where the reply does
    let mut server_reply = [0; 2001];
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

    // Differs (e): with a NAME, ask as HTTP/1.1 wants it and print the whole reply, instead of what follows
    if let Some(name) = name {
        return converse(socket_desc, name);
    }

    // send the request
    let message = "GET / HTTP/1.1\r\n\r\n";
    if send(socket_desc, message.as_bytes(), 0) < 0 {
        puts("Send failed\n");
        return 1;
    }

    // receive a reply
    if recv(socket_desc, &mut server_reply[..2000], 0) < 0 {
        puts("recv failed");
    }

    puts("Reply received\n");
    puts(server_reply);

    puts("Data Send\n");

    // Differs (a): the semicolon that the tutorial's line lacks
    close(socket_desc);
    0
}

fn converse(socket_desc: c_int, name: &str) -> c_int {
    let mut server_reply = [0; 2000];
    let mut n;

    // send a request that names its host, and asks the server to close after the reply
    let message = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    if send(socket_desc, message.as_bytes(), 0) < 0 {
        puts("Send failed\n");
        return 1;
    }

    // print the reply as it comes, to its end
    puts("Reply received\n");
    while {
        n = recv(socket_desc, &mut server_reply, 0);
        n > 0
    } {
        fwrite(&server_reply[..n as usize]);
    }
    puts("");
    if n < 0 {
        puts("recv failed");
        return 1;
    }

    puts("Data Send\n");

    close(socket_desc);
    0
}
