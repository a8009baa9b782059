//! The command line of `prise client …`.

use clap::{Args, Subcommand};

use crate::options::number;

/// `prise client …`
#[derive(Subcommand)]
pub enum Client {
    /// Create a TCP socket, and exit
    ///
    /// Shows socket(2): a socket is a file descriptor, not connected to anything yet.
    ///
    /// Tutorial: section 5.a. Twin: c/client/socket.c.
    #[command(after_help = "Example:\n  strace -e trace=socket prise client socket")]
    Socket,
    /// Connect to a server by its address
    ///
    /// Shows connect(2), and how to fill in a sockaddr_in by hand: inet_addr converts
    /// the address, htons puts the port into network byte order.
    ///
    /// Tutorial: section 5.b. Twin: c/client/connect.c.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:\n  prise client connect 127.0.0.1 8888")]
    Connect {
        /// Where to connect to
        #[command(flatten)]
        to: To,
    },
    /// Connect, and send a request
    ///
    /// Shows send(2). The request is the tutorial's: HTTP/1.1 without a Host header,
    /// which a conforming server answers with status 400.
    ///
    /// Tutorial: section 5.c. Twin: c/client/send.c.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:
  nc -l 8080
  # in another terminal:
  prise client send 127.0.0.1 8080")]
    Send {
        /// Where to connect to
        #[command(flatten)]
        to: To,
    },
    /// Connect, send a request, and print the reply
    ///
    /// Shows recv(2): one call returns what has arrived, at most 2000 bytes, often
    /// less. With --host it sends a request that conforms to HTTP/1.1, and reads the
    /// whole reply. It prints the reply unchanged, control characters included. There
    /// is no time limit.
    ///
    /// Tutorial: sections 5.d and 5.e. Twin: c/client/recv.c.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:
  python3 -m http.server 8080
  # in another terminal:
  prise client recv 127.0.0.1 8080 --host localhost")]
    Recv {
        /// Where to connect to
        #[command(flatten)]
        to: To,
        /// Name this host in the request, and read the whole reply
        ///
        /// The request has "Host: NAME" and "Connection: close".
        #[arg(long = "host", value_name = "NAME", value_parser = host_name)]
        name: Option<String>,
    },
    /// Find the address of a name
    ///
    /// Shows gethostbyname(3), its struct hostent, and h_errno, which is not errno. If
    /// the name has several addresses, it prints the first.
    ///
    /// Tutorial: section 6. Twin: c/client/resolve.c.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:\n  prise client resolve localhost")]
    Resolve {
        /// The name to resolve
        #[arg(default_value = "www.google.com")]
        name: String,
    },
    /// Ask for a message, and send it to a server by name
    ///
    /// Shows a whole client: resolve, connect, write. It reads one line of at most 254
    /// bytes, sends it padded with NULs to 255 bytes, and prints it. As in the
    /// tutorial, the exit status is 0 even if HOST or PORT is missing or HOST is
    /// unknown, and PORT is parsed by atoi and cut to 16 bits.
    ///
    /// Tutorial: the last section 6. Twin: c/client/message.c.
    #[command(verbatim_doc_comment)]
    #[command(override_usage = "prise client message HOST PORT [--reply]", allow_negative_numbers = true)]
    #[command(after_help = "Example:\n  echo hello | prise client message localhost 8888 --reply")]
    Message {
        /// The server's name or IPv4 address
        #[arg(value_name = "HOST")]
        host: Option<String>,
        /// The server's port number
        #[arg(value_name = "PORT")]
        port: Option<String>,
        /// Half-close, read to the end of file, and print the reply
        #[arg(long)]
        reply: bool,
    },
}

/// Where a client connects to.
#[derive(Args)]
pub struct To {
    /// The server's IPv4 address, not a name
    #[arg(default_value = "172.217.22.78")]
    pub host: String,
    /// The server's port
    #[arg(default_value_t = 80, value_parser = number(0, u16::MAX))]
    pub port: u16,
}

/// Parse a name that fits a Host header: one word of printable ASCII, no longer than DNS allows.
fn host_name(name: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.len() > 253 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("not a host name");
    }
    Ok(name.into())
}
