//! The client's side of a connection. Every wait has a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};

use crate::ffi::stop_asked;

/// A connection to the server under examination. Dropping it resets the connection, so that no connection stays in
/// TIME_WAIT on the server's port and disturbs the next check.
pub struct Peer {
    stream: TcpStream,
}

/// An answer with more bytes than this is treated as endless.
const FLOOD: usize = 8 << 20;

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Enough bytes arrived; the stream has not ended yet.
    Enough,
    /// The server closed: end of file.
    Closed,
    /// The server reset the connection.
    Reset,
    /// Nothing more arrived within the timeout.
    Silence,
    /// More than [`FLOOD`] bytes arrived, and the stream has not ended.
    Flood,
}

/// The bytes that a client received, and how reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The bytes received.
    pub bytes: Vec<u8>,
    /// What followed them.
    pub end: End,
}

impl Peer {
    /// Connect to a port of this machine over IPv4 or, if that is refused, over IPv6.
    pub fn dial(port: u16, timeout: Duration) -> io::Result<Peer> {
        let refused = |error: &io::Error| error.kind() == ErrorKind::ConnectionRefused;
        let v4 = Peer::dial_to((Ipv4Addr::LOCALHOST, port).into(), timeout);
        match v4 {
            Err(error) if refused(&error) => {
                Peer::dial_to((Ipv6Addr::LOCALHOST, port).into(), timeout).map_err(|_| error)
            }
            other => other,
        }
    }

    fn dial_to(address: SocketAddr, timeout: Duration) -> io::Result<Peer> {
        let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let socket = socket(family, SockType::Stream, SockFlag::empty(), None)?;
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) => {}
            Err(Errno::EINPROGRESS) if ready(&socket, PollFlags::POLLOUT, timeout) => {}
            Err(Errno::EINPROGRESS) => return Err(ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::empty()))?;
        let stream = TcpStream::from(socket);
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&stream, sockopt::Linger, &linger)?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Peer { stream })
    }

    /// Send bytes; returns how many the kernel accepted.
    pub fn send(&mut self, mut bytes: &[u8]) -> usize {
        let all = bytes.len();
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(n @ 1..) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // a server that closed or reset the connection accepts no more
                Ok(0) | Err(_) => break,
            }
        }
        all - bytes.len()
    }

    /// Half-close: shut down the sending side.
    pub fn half_close(&mut self) {
        // ENOTCONN: the server has reset the connection; the next read reports it
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Read until `enough` accepts the bytes or the stream ends. Each wait takes at most `patience`, all waits together
    /// at most three times that.
    pub fn read_until(&mut self, patience: Duration, enough: impl Fn(&[u8]) -> bool) -> Answer {
        let mut bytes = Vec::new();
        let end = self.read_on(&mut bytes, patience, enough);
        Answer { bytes, end }
    }

    /// Like [`Peer::read_until`], but append to the bytes that have already arrived.
    pub fn read_on(
        &mut self,
        bytes: &mut Vec<u8>,
        patience: Duration,
        enough: impl Fn(&[u8]) -> bool,
    ) -> End {
        let mut piece = [0; 65_536];
        let deadline = Instant::now() + patience * 3;
        loop {
            if enough(bytes) {
                return End::Enough;
            }
            if bytes.len() > FLOOD {
                return End::Flood;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !ready(&self.stream, PollFlags::POLLIN, patience.min(left)) {
                return End::Silence;
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return End::Closed,
                Ok(n) => bytes.extend_from_slice(&piece[..n]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return End::Reset,
                    _ => return End::Silence,
                },
            }
        }
    }

    /// The client's own port.
    pub fn port(&self) -> u16 {
        self.stream.local_addr().map_or(0, |address| address.port())
    }

    /// Whether the server has already closed or reset the connection.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.read_until(Duration::from_millis(1), |_| false).end, End::Closed | End::Reset)
    }

    /// Whether any bytes have already arrived.
    pub fn has_received(&mut self) -> bool {
        !self.read_until(Duration::from_millis(1), |bytes| !bytes.is_empty()).bytes.is_empty()
    }

    /// Close without a reset, as most clients do.
    pub fn close_normally(self) {
        // unread bytes would turn the close into a reset
        let mut peer = self;
        peer.read_until(Duration::from_millis(500), |_| false);
        let _ = setsockopt(&peer.stream, sockopt::Linger, &libc::linger { l_onoff: 0, l_linger: 0 });
    }

    /// Reset the connection: dropping a peer does that.
    pub fn reset(self) {}
}

/// Wait until a socket is ready; false after the timeout, or if Ctrl-C ends the wait.
fn ready(socket: &impl AsFd, events: PollFlags, timeout: Duration) -> bool {
    // the wait is sliced because a signal may arrive after stop_asked() and before poll(), and would not interrupt it
    const SLICE: Duration = Duration::from_millis(50);
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let slice =
            PollTimeout::try_from(left.min(SLICE) + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
        if poll(&mut [PollFd::new(socket.as_fd(), events)], slice).is_ok_and(|ready| ready > 0) {
            return true;
        }
        if left.is_zero() || stop_asked().is_some() {
            return false;
        }
    }
}

impl Answer {
    /// Describe the answer for a report: the number of bytes, how they begin, and how reading ended.
    pub fn describe(&self) -> String {
        let beginning = crate::visible::visible_line(&self.bytes[..self.bytes.len().min(40)]).to_string();
        let end = match self.end {
            End::Enough => "",
            End::Closed => ", then end of file",
            End::Reset => ", then a reset",
            End::Silence => ", then nothing more, and no end of file",
            End::Flood => ", and it goes on",
        };
        match self.bytes.len() {
            0 => format!("no answer{end}"),
            n if self.bytes[0] == 0 => format!("{n} bytes beginning with a NUL{end}"),
            n => format!("{n} bytes beginning \"{}\"{end}", beginning.trim_end()),
        }
    }
}
