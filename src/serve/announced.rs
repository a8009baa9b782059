//! Clients whose proxy has yet to say who they are. Nothing here blocks.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::serve::proxy::{Addresses, Header, parse};

/// A proxy sends its header at once.
const DEADLINE: Duration = Duration::from_secs(3);

/// A connection that begins with a header.
pub struct Announced {
    /// The connection.
    pub client: OwnedFd,
    /// The proxy.
    pub proxy: SocketAddr,
    /// What has come of the header.
    header: Vec<u8>,
    /// More of it has come.
    pub ready: bool,
    /// Until when it must be whole.
    pub deadline: Instant,
}

/// What a look at a connection gives.
pub enum Told {
    /// Not all yet.
    Partly,
    /// Who the client is; nothing, where the proxy speaks for itself.
    Who(Option<Addresses>),
    /// Why it is no use to wait.
    Wrong(String),
}

impl Announced {
    /// From a proxy.
    pub fn new(client: OwnedFd, proxy: SocketAddr, now: Instant) -> Announced {
        Announced { client, proxy, header: Vec::new(), ready: true, deadline: now + DEADLINE }
    }

    /// Read what there is of the header, and not a byte of what follows it.
    pub fn look(&mut self) -> Told {
        self.ready = false;
        loop {
            let at_least = match parse(&self.header) {
                Header::Whole { source, .. } => return Told::Who(source),
                Header::Bad(fault) => return Told::Wrong(fault.to_string()),
                Header::Partial { at_least } => at_least,
            };
            let came = self.header.len();
            self.header.resize(came + at_least, 0);
            let read = recv(self.client.as_raw_fd(), &mut self.header[came..], MsgFlags::MSG_DONTWAIT);
            self.header.truncate(came + read.unwrap_or(0));
            match read {
                Ok(0) => return Told::Wrong("proxy-closed".into()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Told::Partly,
                Err(errno) => return Told::Wrong(format!("proxy-{errno:?}").to_lowercase()),
            }
        }
    }
}
