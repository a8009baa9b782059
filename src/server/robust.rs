//! robust: the fork server, with each of its mistakes mended.
//! Usage: `prise server robust [--port 8888] [--backlog 3]`
//! Twin: c/server/robust.c. Read before: fork.rs, which makes the mistakes

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
use crate::server::options::On;
use crate::stdio::{flush_stdout, printf};
use crate::stream::{LINGER_MS, PIECE_MS, back_off, drain, print_chosen_port, readable, writen};
use crate::visible::visible_line;

/// `prise server robust`
///
/// # Errors
/// The call that failed, with its reason; or [`Error::Stdout`], when not everything could be printed.
pub fn main(on: &On) -> Result<(), Error> {
    let (port, backlog) = (on.port, on.backlog);

    // ignore SIGPIPE. Mends: a write to a client that is gone kills (lab sigpipe)
    sigaction(Signal::SIGPIPE, Handler::Ignore).ok();

    // reap children on SIGCHLD, be it blocked or ignored before. Mends: nobody waits for them (labs no-reap, one-wait)
    sigaction(Signal::SIGCHLD, Handler::ReapChildren).ok();
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(Signal::SIGCHLD)), None).ok();

    // create the socket
    let socket_desc = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .map_err(perror("ERROR opening socket"))?;

    // let a restart bind at once. Mends: TIME_WAIT keeps the port (lab no-reuseaddr)
    setsockopt(&socket_desc, ReuseAddr, &true).ok();

    // fill in the address: every interface, the port in network byte order
    let mut server = sockaddr_in();
    server.sin_family = AF_INET as sa_family_t;
    server.sin_addr.s_addr = htonl(INADDR_ANY);
    server.sin_port = htons(port);

    // bind the socket to the port, or end (lab bind-ignored)
    bind(&socket_desc, &server).map_err(perror("ERROR on binding"))?;
    printf!("\nbind done\n");
    if port == 0 {
        print_chosen_port(&socket_desc);
    }

    // listen, or end. Mends: a listen that fails goes unnoticed
    listen(&socket_desc, backlog).map_err(perror("ERROR on listen"))?;
    printf!("\nwaiting for incoming connections...\n");
    flush_stdout().ok();

    loop {
        // accept a client. Mends: a failed accept ends the server (labs vanished-fatal, accept-fatal, accept-spins)
        let (new_socket, client) = loop {
            match accept(&socket_desc) {
                Ok(accepted) => break accepted,
                Err(errno) => back_off("ERROR on accept", errno),
            }
        };

        // print the client's address
        printf!("Connection from %s:%d accepted\n", inet_ntoa(client.sin_addr), ntohs(client.sin_port));
        // flush stdout. Mends: fork copies what stdio keeps, and the child prints it again (lab no-flush)
        flush_stdout().ok();

        // fork a child for the client. Mends: a failed fork ends the server (lab fork-fatal)
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

    // read a line, 255 bytes, or all that comes. Mends: one read is taken for it (labs one-read, interrupted-read)
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

    // print the message, made visible. Mends: it drives the terminal, and forges lines of the log
    printf!("Message from client: %s\n", visible_line(&buffer));
    flush_stdout().ok();

    // answer 18 bytes, "ok" and 16 NULs. Mends: the reply is longer than its text (lab wrong-length)
    if let Err(errno) = writen(&sock, &reply) {
        perror("ERROR writing to socket")(errno).print();
        _exit(1)
    }

    // close once the client has read. Mends: a close with unread input resets the connection (lab no-drain)
    drain(&sock, LINGER_MS);
    close(sock).ok();
    _exit(0)
}

// reap_children, the SIGCHLD handler, is in src/ffi/signals.rs: to set one is unsafe.
