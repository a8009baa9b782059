//! Clients whose connection begins with a PROXY header that has not come whole yet. Nothing here blocks.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::addresses::unmapped;
use crate::serve::client::Client;
use crate::serve::proxy::{Header, parse};

/// How long a header may take: a proxy sends it at once.
const DEADLINE: Duration = Duration::from_secs(3);

/// A connection whose header is awaited.
pub struct ProxiedClient {
    /// The connection, with the proxy's address.
    client: Client,
    /// What has come of the header.
    header: Vec<u8>,
    /// More of it may have come.
    ready: bool,
    deadline: Instant,
}

/// What became of a connection that was looked at.
pub enum Outcome {
    /// The header is whole, and this is the client.
    Client(Client),
    /// It is refused: the proxy's address, and why.
    Refused(SocketAddr, String),
}

/// What of a header has come.
enum Progress {
    Partial,
    /// Whole; the addresses that it tells of, if it does.
    Whole(Option<crate::serve::proxy::Addresses>),
    /// Wrong, or cut off.
    Bad(String),
}

impl ProxiedClient {
    /// A connection from a proxy.
    pub fn new(client: Client, now: Instant) -> ProxiedClient {
        ProxiedClient { client, header: Vec::new(), ready: true, deadline: now + DEADLINE }
    }

    /// The connection.
    pub fn socket(&self) -> &OwnedFd {
        &self.client.socket
    }

    /// The address of the proxy.
    pub fn proxy(&self) -> SocketAddr {
        self.client.address
    }

    /// Until when the header must be whole.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// More of the header may have come, or has not.
    pub fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
    }

    /// Read what has come of the header. The client is given back while more of it may still come.
    pub fn look(mut self, now: Instant) -> Result<Outcome, ProxiedClient> {
        if !self.ready && now < self.deadline {
            return Err(self);
        }
        match self.read_header() {
            Progress::Partial if now < self.deadline => Err(self),
            Progress::Partial => Ok(Outcome::Refused(self.proxy(), "proxy-timeout".into())),
            Progress::Bad(why) => Ok(Outcome::Refused(self.proxy(), why)),
            Progress::Whole(told) => {
                let Client { socket, address, .. } = self.client;
                let address = told.map_or(address, |told| unmapped(told.client));
                Ok(Outcome::Client(Client { socket, address, local: told.map(|told| unmapped(told.local)) }))
            }
        }
    }

    /// Read what there is of the header, and not a byte of what follows it.
    fn read_header(&mut self) -> Progress {
        self.ready = false;
        loop {
            let at_least = match parse(&self.header) {
                Header::Whole { source, .. } => return Progress::Whole(source),
                Header::Bad(fault) => return Progress::Bad(fault.to_string()),
                Header::Partial { at_least } => at_least,
            };
            let came = self.header.len();
            self.header.resize(came + at_least, 0);
            let socket = self.client.socket.as_raw_fd();
            let read = recv(socket, &mut self.header[came..], MsgFlags::MSG_DONTWAIT);
            self.header.truncate(came + read.unwrap_or(0));
            match read {
                Ok(0) => return Progress::Bad("proxy-closed".into()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Progress::Partial,
                Err(errno) => return Progress::Bad(format!("proxy-{errno:?}").to_lowercase()),
            }
        }
    }
}
