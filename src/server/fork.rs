//! fork: a server that forks one process per client.
//! Usage: `prise server fork [--port 8888] [--backlog 3] [--no-reap]`
//! Twin: c/server/fork.c. Next: ../client/message.rs

use libc::{INADDR_ANY, SOCK_STREAM, c_int, socklen_t};
use nix::sys::signal::SaFlags;
use nix::sys::signal::Signal::SIGCHLD;

use crate::ffi::c::{AF_INET, accept, bind, close, fork, listen, read, sigaction, socket, write};
use crate::ffi::{Handler, htons, inet_ntoa, ntohs, sockaddr_in};
use crate::server::options::On;
use crate::stdio::{exit, perror, printf};

/// `prise server fork`
pub fn main(on: &On, no_reap: bool) -> c_int {
    // Differs (c): the port and the backlog can be given, and --no-reap
    let port = on.port;
    let backlog = on.backlog;

    let mut server = sockaddr_in();
    let mut client = sockaddr_in();

    // create the socket
    let socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if socket_desc == -1 {
        perror("ERROR opening socket");
        exit(1);
    }

    // fill in the server's address: every interface, the port in network byte order
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = INADDR_ANY;
    server.sin_port = htons(port);

    // bind the socket to that address
    if bind(socket_desc, &server) < 0 {
        perror("ERROR on binding");
        exit(1);
    }
    printf!("\nbind done\n");

    // listen
    listen(socket_desc, backlog);
    printf!("\nwaiting for incoming connections...\n");
    let mut n = size_of::<sockaddr_in>() as socklen_t;

    // Differs (b): have SIGCHLD, which says that a child has ended, call reap_children
    if !no_reap {
        sigaction(SIGCHLD, Handler::ReapChildren, SaFlags::SA_RESTART);
    }

    loop {
        // accept a client
        let new_socket = accept(socket_desc, &mut client, &mut n);
        if new_socket < 0 {
            perror("ERROR on accept");
            exit(1);
        }

        // print the client's address
        // Differs (d): stdout keeps back no whole line, so the child has none of its parent's to print again
        printf!("Connection from %s:%d accepted\n", inet_ntoa(client.sin_addr), ntohs(client.sin_port));

        // fork a child for the client
        let pid = fork();
        if pid < 0 {
            perror("ERROR on fork");
            exit(1);
        }
        if pid == 0 {
            close(socket_desc); // the child's copy: the parent accepts
            childProcess(new_socket);
            exit(0);
        } else {
            close(new_socket); // the parent's copy: the child serves
        }
    }
}

#[expect(non_snake_case, reason = "the tutorial's name")]
fn childProcess(sock: c_int) {
    let mut buffer = [0; 256]; // all zeros

    // read the client's message
    let mut n = read(sock, &mut buffer[..255]);
    if n < 0 {
        perror("ERROR reading from socket\n");
        exit(1);
    }

    // print the message
    printf!("Message from client: %s\n", buffer);

    // Differs (a): answer with 18 bytes of its own, "ok" and 16 NULs; the tutorial's text has only 3 of its 18
    n = write(sock, b"ok\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    if n < 0 {
        perror("ERROR reading from socket");
        exit(1);
    }
}

// Differs (b): the handler of SIGCHLD, reap_children, is in src/ffi/signals.rs: to set one is unsafe.
