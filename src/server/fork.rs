//! fork: a server that forks one process per client.
//! Usage: prise server fork [--port 8888] [--backlog 3] [--no-reap]
//! Twin: c/server/fork.c. Next: ../client/message.rs

use std::os::fd::OwnedFd;

use libc::{AF_INET, INADDR_ANY, sa_family_t};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket};
use nix::unistd::{ForkResult, close, read};

use crate::error::{Error, perror};
use crate::ffi::{
    _exit, Handler, accept, bind, fork, htonl, htons, inet_ntoa, listen, ntohs, sigaction, sockaddr_in,
};
use crate::stdio::{flush_stdout, printf};
use crate::stream::{LINGER_MS, PIECE_MS, back_off, drain, print_chosen_port, readable, writen};
use crate::visible::visible_line;

/// `prise server fork`
///
/// # Errors
/// The call that failed, with its reason; or [`Error::Stdout`], when not everything could be printed.
pub fn main(port: u16, backlog: i32, no_reap: bool) -> Result<(), Error> {
    // Differs: reap children through SIGCHLD, even if it came blocked or ignored
    let handler = if no_reap { Handler::Default } else { Handler::ReapChildren };
    sigaction(Signal::SIGCHLD, handler).ok();
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(Signal::SIGCHLD)), None).ok();

    // create the socket
    let socket_desc = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .map_err(perror("ERROR opening socket"))?;

    // Differs: let a restart bind at once, while old connections wait in TIME_WAIT
    setsockopt(&socket_desc, ReuseAddr, &true).ok();

    // fill in the address: every interface, the port in network byte order
    let mut server = sockaddr_in();
    server.sin_family = AF_INET as sa_family_t;
    server.sin_addr.s_addr = htonl(INADDR_ANY);
    server.sin_port = htons(port);

    // bind the socket to the port
    bind(&socket_desc, &server).map_err(perror("ERROR on binding"))?;
    printf!("\nbind done\n");
    if port == 0 {
        print_chosen_port(&socket_desc);
    }

    // listen
    listen(&socket_desc, backlog).map_err(perror("ERROR on listen"))?;
    printf!("\nwaiting for incoming connections...\n");
    flush_stdout().ok();

    loop {
        // accept a client; Differs: a failed accept ends nothing
        let (new_socket, client) = loop {
            match accept(&socket_desc) {
                Ok(accepted) => break accepted,
                Err(errno) => back_off("ERROR on accept", errno),
            }
        };

        // print the client's address
        printf!("Connection from {}:{} accepted\n", inet_ntoa(client.sin_addr), ntohs(client.sin_port));
        // Differs: flush it, or the child prints it again
        flush_stdout().ok();

        // fork a child for the client
        match fork() {
            Err(errno) => {
                back_off("ERROR on fork", errno);
                close(new_socket).ok(); // the client's: nobody will serve it
            }
            Ok(ForkResult::Child) => {
                close(socket_desc).ok(); // the child's copy: the parent accepts
                child_process(new_socket) // never returns
            }
            Ok(ForkResult::Parent { .. }) => {
                close(new_socket).ok(); // the parent's copy: the child serves
            }
        }
    }
}

fn child_process(sock: OwnedFd) -> ! {
    let mut buffer = [0; 256];
    let reply = *b"ok\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut len = 0;

    // Differs: read the client's message in pieces: a line, 255 bytes, or all that comes
    while len < 255 && !buffer[..len].contains(&0) && !buffer[..len].contains(&b'\n') {
        if len > 0 && !readable(&sock, PIECE_MS) {
            break;
        }
        match read(&sock, &mut buffer[len..255]) {
            Err(Errno::EINTR) => continue,
            Err(errno) => {
                perror("ERROR reading from socket")(errno).print();
                _exit(1)
            }
            Ok(0) => break,
            Ok(n) => len += n,
        }
    }

    // print the message; Differs: it cannot drive the terminal or forge a line
    printf!("Message from client: {}\n", visible_line(&buffer));
    flush_stdout().ok();

    // Differs: write a reply that is 18 bytes long, "ok" and 16 NULs
    if let Err(errno) = writen(&sock, &reply) {
        perror("ERROR writing to socket")(errno).print();
        _exit(1)
    }

    // Differs: close the client's socket once the client has read
    drain(&sock, LINGER_MS);
    close(sock).ok();
    _exit(0)
}

// reap_children, the SIGCHLD handler, is in src/ffi.rs: to set one is unsafe.
