//! message: ask for a message, and send it to a server by name.
//! Usage: `prise client message HOST PORT [--reply]`
//! Twin: c/client/message.c. Next: ../server/robust.rs

use libc::{SHUT_WR, SOCK_STREAM, c_int};

use crate::ffi::c::{AF_INET, atoi, connect, gethostbyname, read, shutdown, socket, write};
use crate::ffi::{htons, sockaddr_in};
use crate::stdio::{exit, fgets, fprintf, perror, printf, stderr};

/// `prise client message`
pub fn main(argv: &[String], reply: bool) -> c_int {
    // take the server's name and port
    if argv.len() < 3 {
        fprintf!(stderr, "usage %s hostname port\n", argv[0]);
        exit(0);
    }
    let portno = atoi(&argv[2]);

    // create the socket
    let socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if socket_desc < 0 {
        perror("ERROR opening socket");
        exit(1);
    }

    // resolve the server's name
    let Some(server) = gethostbyname(&argv[1]) else {
        fprintf!(stderr, "ERROR, no such host\n");
        exit(0);
    };

    // fill in the server's address
    let mut server_addr = sockaddr_in(); // all zeros
    server_addr.sin_family = AF_INET;
    server_addr.sin_addr = server.h_addr(); // the first address
    server_addr.sin_port = htons(portno as u16);

    // connect to the server
    if connect(socket_desc, &server_addr) < 0 {
        perror("ERROR connecting");
        exit(1);
    }

    // ask for the message
    printf!("Please enter a message: ");
    let mut buffer = [0; 256]; // all zeros
    fgets(&mut buffer[..255]);

    // send the message: 255 bytes, whatever its length
    let mut n = write(socket_desc, &buffer[..255]);
    if n < 0 {
        perror("ERROR reading from socket");
        exit(1);
    }

    // print it
    printf!("%s\n", buffer);

    // Differs (e): with --reply, say that no more will come, and print what the server answers
    if reply {
        shutdown(socket_desc, SHUT_WR);
        while {
            n = read(socket_desc, &mut buffer[..255]);
            n > 0
        } {
            buffer[n as usize] = b'\0';
            printf!("%s", buffer);
        }
        printf!("\n");
        if n < 0 {
            perror("ERROR reading from socket");
            exit(1);
        }
    }

    0
}
