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
pub fn main(port: u16, backlog: i32, no_reap: bool) -> Result<(), Error> {
    // reap children through SIGCHLD, even if it came blocked or ignored
    let handler = if no_reap { Handler::Default } else { Handler::ReapChildren };
    sigaction(Signal::SIGCHLD, handler).ok();
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(Signal::SIGCHLD)), None).ok();

    // create the socket
    let socket_desc = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .map_err(perror("ERROR opening socket"))?;

    // let a restart bind at once, while old connections wait in TIME_WAIT
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
        // accept a client
        let (new_socket, client) = loop {
            match accept(&socket_desc) {
                Ok(accepted) => break accepted,
                Err(errno) => back_off("ERROR on accept", errno),
            }
        };

        // print the client's address, and flush it: a child must not print it again
        printf!("Connection from {}:{} accepted\n", inet_ntoa(client.sin_addr), ntohs(client.sin_port));
        flush_stdout().ok();

        // fork a child for the client
        match fork() {
            Err(errno) => {
                back_off("ERROR on fork", errno);
                close(new_socket).ok(); // the client's: nobody will serve it
            }
            Ok(ForkResult::Child) => {
                close(socket_desc).ok(); // the child's copy: the parent accepts
                child_process(new_socket)
            }
            Ok(ForkResult::Parent { .. }) => {
                close(new_socket).ok(); // the parent's copy: the child serves
            }
        }
    }
}

fn child_process(sock: OwnedFd) -> ! {
    let mut buffer = [0; 255];
    let mut reply = [0; 18];
    let mut len = 0;

    // read the client's message, in pieces: a line, 255 bytes, or all that comes
    while len < 255 && !buffer[..len].contains(&0) && !buffer[..len].contains(&b'\n') {
        if len > 0 && !readable(&sock, PIECE_MS) {
            break;
        }
        match read(&sock, &mut buffer[len..]) {
            Err(Errno::EINTR) => continue,
            Err(errno) => {
                perror("ERROR reading from socket")(errno).print();
                _exit(1)
            }
            Ok(0) => break,
            Ok(n) => len += n,
        }
    }

    // print the message
    printf!("Message from client: {}\n", visible_line(&buffer));
    flush_stdout().ok();

    // write the reply: 18 bytes, "ok" and 16 NULs
    reply[..2].copy_from_slice(b"ok");
    if let Err(errno) = writen(&sock, &reply) {
        perror("ERROR writing to socket")(errno).print();
        _exit(1)
    }

    // close the client's socket, once the client has read
    drain(&sock, LINGER_MS);
    close(sock).ok();
    _exit(0)
}
