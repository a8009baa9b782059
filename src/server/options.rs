//! The command line of `prise server …`.

use clap::{Args, Subcommand};

use crate::options::number;

/// `prise server …`
#[derive(Subcommand)]
pub enum Server {
    /// One of the tutorial's.
    #[command(flatten)]
    Tutorial(Tutorial),
    /// Fork one process per client, without the tutorial's mistakes
    ///
    /// The fork server with each of its mistakes mended; a step of the source names each mistake and
    /// its lab. A message is what comes until a newline or a NUL is in it, or 255 bytes, or the
    /// client's end of file, or a pause of a second and a half. The reply is 18 bytes, "ok" and 16
    /// NULs. Control characters in a message are shown as \n, \r, \t or \xNN. With port 0 it prints
    /// the port that the kernel has picked.
    ///
    /// SIGTERM and SIGINT end the parent; a child goes on until its client is served.
    ///
    /// Tutorial: section "5. fork()". Twin: c/server/robust.c.
    #[command(
        after_long_help = "Example:\n  prise server robust\n  echo hello | prise client message localhost 8888 --reply    (in another terminal)"
    )]
    Robust {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
}

/// The tutorial's servers.
#[derive(Subcommand)]
pub enum Tutorial {
    /// Accept one client, and end
    ///
    /// Shows bind(2), listen(2), accept(2). As in the tutorial, a call that fails is said at most,
    /// and the program goes on.
    ///
    /// Tutorial: section 7.b. Twin: c/server/accept.c.
    #[command(
        after_long_help = "Example:\n  prise server accept\n  telnet localhost 8888    (in another terminal)"
    )]
    Accept {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
    /// Accept one client, learn its address, and greet it
    ///
    /// Shows what accept(2) says of the peer, inet_ntoa and ntohs, and write(2) on a socket.
    ///
    /// Tutorial: sections 7.c and 7.d. Twin: c/server/reply.c.
    #[command(
        after_long_help = "Example:\n  prise server reply\n  telnet localhost 8888    (in another terminal)"
    )]
    Reply {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
    /// Accept clients one after the other, and greet each
    ///
    /// Shows an iterative server: while it talks to one client, the next waits in the backlog. As in
    /// the tutorial, it closes no client's socket, so that no client sees the end before the server
    /// ends, and it does not stop when accept fails.
    ///
    /// Tutorial: section "4. Serveur live". Twin: c/server/loop.c.
    #[command(
        after_long_help = "Example:\n  prise server loop\n  telnet localhost 8888    (in another terminal)"
    )]
    Loop {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
    /// Fork one process per client
    ///
    /// Shows fork(2): a child serves its client while the parent accepts the next. The child reads
    /// once, at most 255 bytes, prints them as they came, and answers 18 bytes, "ok" and 16 NULs.
    /// Children are reaped through SIGCHLD; everything else is as in the tutorial, its mistakes too:
    /// `prise check` finds them, and `prise server robust` mends them.
    ///
    /// Tutorial: section "5. fork()". Twin: c/server/fork.c.
    #[command(
        after_long_help = "Example:\n  prise server fork\n  echo hello | prise client message localhost 8888 --reply    (in another terminal)"
    )]
    Fork {
        /// Where to listen
        #[command(flatten)]
        on: On,
        /// Leave every child that ends a zombie, as the tutorial does: see them with ps
        #[arg(long)]
        no_reap: bool,
    },
}

/// Where a server listens.
#[derive(Args)]
pub struct On {
    /// The port to listen on, on every IPv4 interface; 0 lets the kernel pick a free one
    #[arg(long, default_value_t = 8888, value_parser = number(0, u16::MAX))]
    pub port: u16,
    /// How many connections may wait for accept: 3 in the tutorial, where a busy server wants 4096
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = number(0, i32::MAX))]
    pub backlog: i32,
}
