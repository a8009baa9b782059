//! The command line of `prise server …`.

use clap::{Args, Subcommand};

use crate::options::number;

/// `prise server …`
#[derive(Subcommand)]
pub enum Server {
    /// A server of the tutorial.
    #[command(flatten)]
    Tutorial(Tutorial),
    /// Fork one process per client, without the tutorial's mistakes
    ///
    /// The fork server without its mistakes. In the source, a step that mends a
    /// mistake says so, and names the lab if there is one. A message ends at a
    /// newline, a NUL, 255 bytes, the client's end of file, or a pause of 1.5 seconds.
    /// The reply is 18 bytes: "ok" and 16 NULs. Control characters in a message are
    /// printed as \n, \r, \t or \xNN. With --port 0 it prints the port that the
    /// kernel picked.
    ///
    /// SIGTERM and SIGINT end the parent; a running child still serves its client.
    ///
    /// Tutorial: section "5. fork()". Twin: c/server/robust.c.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:
  prise server robust
  # in another terminal:
  echo hello | prise client message localhost 8888 --reply")]
    Robust {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
}

/// The tutorial's servers.
#[derive(Subcommand)]
pub enum Tutorial {
    /// Accept one client, and exit
    ///
    /// Shows bind(2), listen(2) and accept(2). As in the tutorial, it goes on after a
    /// call that fails, at most with a message.
    ///
    /// Tutorial: section 7.b. Twin: c/server/accept.c.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:
  prise server accept
  # in another terminal:
  telnet localhost 8888")]
    Accept {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
    /// Accept one client, print its address, and greet it
    ///
    /// Shows the peer address that accept(2) fills in, inet_ntoa and ntohs, and
    /// write(2) on a socket.
    ///
    /// Tutorial: sections 7.c and 7.d. Twin: c/server/reply.c.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:
  prise server reply
  # in another terminal:
  telnet localhost 8888")]
    Reply {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
    /// Accept clients one after the other, and greet each
    ///
    /// Shows an iterative server: while it serves one client, the next waits in the
    /// backlog. As in the tutorial, it never closes a client's socket, so clients see
    /// the end of file only when the server ends; and it goes on when accept fails.
    ///
    /// Tutorial: section "4. Serveur live". Twin: c/server/loop.c.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:
  prise server loop
  # in another terminal:
  telnet localhost 8888")]
    Loop {
        /// Where to listen
        #[command(flatten)]
        on: On,
    },
    /// Fork one process per client
    ///
    /// Shows fork(2): a child serves its client while the parent accepts the next. The
    /// child calls read once, for at most 255 bytes, prints them unchanged, and
    /// replies with 18 bytes: "ok" and 16 NULs. A SIGCHLD handler reaps the children.
    /// Everything else is the tutorial's, its mistakes included: `prise check` finds
    /// them, and `prise server robust` mends them.
    ///
    /// Tutorial: section "5. fork()". Twin: c/server/fork.c.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:
  prise server fork
  # in another terminal:
  echo hello | prise client message localhost 8888 --reply")]
    Fork {
        /// Where to listen
        #[command(flatten)]
        on: On,
        /// Do not reap children: the tutorial leaves zombies
        #[arg(long)]
        no_reap: bool,
    },
}

/// Where a server listens.
#[derive(Args)]
pub struct On {
    /// Listen on this port; 0 picks a free one
    ///
    /// It listens on every IPv4 interface.
    #[arg(long, default_value_t = 8888, value_parser = number(0, u16::MAX))]
    pub port: u16,
    /// Let N connections wait to be accepted
    ///
    /// While the backlog is full, connecting is slow or fails. The tutorial
    /// has 3; a busy server needs more, such as 4096.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = number(0, i32::MAX))]
    #[arg(verbatim_doc_comment)]
    pub backlog: i32,
}
