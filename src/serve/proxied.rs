//! Clients whose connection begins with a PROXY header that is not complete yet. Nothing here blocks.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::addresses::unmapped;
use crate::serve::client::Client;
use crate::serve::proxy::{Addresses, Header, parse};

/// How long a header may take to come. A proxy sends it at once.
const DEADLINE: Duration = Duration::from_secs(3);

/// A client of a proxy whose header is not complete yet.
pub struct ProxiedClient {
    /// The client; its address is still the proxy's.
    client: Client,
    /// The part of the header that has come.
    header: Vec<u8>,
    /// More of the header may have come.
    ready: bool,
    deadline: Instant,
}

/// What the header decides about a client.
pub enum Outcome {
    /// The header is complete: the client, with the addresses that the header gives.
    Client(Client),
    /// The client is refused: the proxy's address, and why.
    Refused(SocketAddr, String),
}

/// How much of a header has come.
enum Progress {
    Partial,
    /// It is complete; the addresses that it gives, if any.
    Whole(Option<Addresses>),
    /// It is wrong, or the connection has ended within it.
    Bad(String),
}

impl ProxiedClient {
    /// A client that a proxy has connected for.
    pub fn new(client: Client, now: Instant) -> ProxiedClient {
        ProxiedClient { client, header: Vec::new(), ready: true, deadline: now + DEADLINE }
    }

    /// The socket of its connection.
    pub fn socket(&self) -> &OwnedFd {
        &self.client.socket
    }

    /// The address of the proxy.
    pub fn proxy_address(&self) -> SocketAddr {
        self.client.address
    }

    /// When the header must be complete.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Set whether more of the header may have come.
    pub fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
    }

    /// Read what has come of the header. `Err` gives the client back if more of the header is still to come.
    pub fn read_header(mut self, now: Instant) -> Result<Outcome, ProxiedClient> {
        if !self.ready && now < self.deadline {
            return Err(self);
        }
        match self.receive_header() {
            Progress::Partial if now < self.deadline => Err(self),
            Progress::Partial => Ok(Outcome::Refused(self.proxy_address(), "proxy-timeout".into())),
            Progress::Bad(why) => Ok(Outcome::Refused(self.proxy_address(), why)),
            Progress::Whole(addresses) => {
                let Client { socket, address, .. } = self.client;
                let address = addresses.map_or(address, |addresses| unmapped(addresses.client));
                let local = addresses.map(|addresses| unmapped(addresses.local));
                Ok(Outcome::Client(Client { socket, address, local }))
            }
        }
    }

    /// Read what there is of the header, and no byte of the client's data after it.
    fn receive_header(&mut self) -> Progress {
        self.ready = false;
        loop {
            let at_least = match parse(&self.header) {
                Header::Whole { source, .. } => return Progress::Whole(source),
                Header::Bad(fault) => return Progress::Bad(fault.to_string()),
                Header::Partial { at_least } => at_least,
            };
            let received = self.header.len();
            self.header.resize(received + at_least, 0);
            let socket = self.client.socket.as_raw_fd();
            let read = recv(socket, &mut self.header[received..], MsgFlags::MSG_DONTWAIT);
            self.header.truncate(received + read.unwrap_or(0));
            match read {
                Ok(0) => return Progress::Bad("proxy-closed".into()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Progress::Partial,
                Err(errno) => return Progress::Bad(format!("proxy-{errno:?}").to_lowercase()),
            }
        }
    }
}
