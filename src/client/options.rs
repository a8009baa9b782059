//! The command line of `prise client …`.

use clap::{Args, Subcommand};

use crate::options::number;

/// `prise client …`
#[derive(Subcommand)]
pub enum Client {
    /// Create a TCP socket, and end without a word
    ///
    /// Shows socket(2): a socket is a file descriptor, and nothing is connected yet.
    ///
    /// Tutorial: section 5.a. Twin: c/client/socket.c.
    #[command(after_long_help = "Example:\n  strace -e trace=socket prise client socket")]
    Socket,
    /// Connect to a server whose address is known
    ///
    /// Shows connect(2), and a sockaddr_in filled in by hand: inet_addr for the address, htons for
    /// the port, which go in network byte order.
    ///
    /// Tutorial: section 5.b. Twin: c/client/connect.c.
    #[command(after_long_help = "Example:\n  prise client connect 127.0.0.1 8888")]
    Connect {
        /// Where to connect to
        #[command(flatten)]
        to: To,
    },
    /// Connect, and send a request
    ///
    /// Shows send(2), with the request of the tutorial: HTTP/1.1 without a Host header, to which a
    /// conforming server answers 400.
    ///
    /// Tutorial: section 5.c. Twin: c/client/send.c.
    #[command(
        after_long_help = "Example:\n  nc -l 8080\n  prise client send 127.0.0.1 8080    (in another terminal)"
    )]
    Send {
        /// Where to connect to
        #[command(flatten)]
        to: To,
    },
    /// Connect, send a request, and print the reply
    ///
    /// Shows recv(2): one call, which brings at most 2000 bytes and as few as the network pleases.
    /// With --host it sends a request that conforms to HTTP/1.1, and reads to the end.
    /// The reply is printed as it comes, control characters too. There is no time limit.
    ///
    /// Tutorial: sections 5.d and 5.e. Twin: c/client/recv.c.
    #[command(
        after_long_help = "Example:\n  python3 -m http.server 8080\n  prise client recv 127.0.0.1 8080 --host localhost    (in another terminal)"
    )]
    Recv {
        /// Where to connect to
        #[command(flatten)]
        to: To,
        /// Send "Host: NAME" and "Connection: close", and read the reply to its end
        #[arg(long = "host", value_name = "NAME", value_parser = host_name)]
        name: Option<String>,
    },
    /// Find the address of a name
    ///
    /// Shows gethostbyname(3), its hostent and h_errno, which is not errno. Of several addresses the
    /// first is printed.
    ///
    /// Tutorial: section 6. Twin: c/client/resolve.c.
    #[command(after_long_help = "Example:\n  prise client resolve localhost")]
    Resolve {
        /// The name to resolve
        #[arg(default_value = "www.google.com")]
        name: String,
    },
    /// Ask for a message, and send it to a server by name
    ///
    /// Shows a whole client: resolve, connect, write. It sends one line of at most 254 bytes, padded
    /// with NULs to 255, and prints it. As in the tutorial, it exits with 0 also when the host or the
    /// port is missing or the host is unknown, and takes the port as atoi does, cut to 16 bits.
    ///
    /// Tutorial: the last section 6. Twin: c/client/message.c.
    #[command(override_usage = "prise client message HOST PORT [--reply]", allow_negative_numbers = true)]
    #[command(after_long_help = "Example:\n  echo hello | prise client message localhost 8888 --reply")]
    Message {
        /// The server's name, or its address
        #[arg(value_name = "HOST")]
        host: Option<String>,
        /// The server's port, a number
        #[arg(value_name = "PORT")]
        port: Option<String>,
        /// Half-close, read to the end, and print what the server answered
        #[arg(long)]
        reply: bool,
    },
}

/// Where a client connects to.
#[derive(Args)]
pub struct To {
    /// The server's address, a dotted quad: inet_addr resolves no names
    #[arg(default_value = "172.217.22.78")]
    pub host: String,
    /// The server's port: htons puts it into network byte order
    #[arg(default_value_t = 80, value_parser = number(0, u16::MAX))]
    pub port: u16,
}

/// A name that can stand in a Host header: one word of printable ASCII, no longer than DNS allows.
fn host_name(name: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.len() > 253 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("not a host name");
    }
    Ok(name.into())
}
