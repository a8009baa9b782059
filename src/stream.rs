//! How robust and serve read, write and close a TCP stream.
//! Twin: `c/stream.h`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::{read, write};

use crate::error::perror;
use crate::ffi::{getsockname, ntohs};
use crate::stdio::printf;

/// How long a server waits before it retries when descriptors, memory or processes ran out.
pub const BACK_OFF_MS: u16 = 100;
/// How long a child waits for the next piece of a message. TCP retransmits a piece
/// that was lost once after at most a second (RFC 6298).
pub const PIECE_MS: u16 = 1500;
/// How long a server waits for a client to close after the reply; see [`drain`].
pub const LINGER_MS: u16 = 2000;

/// Handle a failed call of a server. If a signal interrupted it or the client vanished,
/// return at once; otherwise print the error and wait a moment.
pub fn back_off(what: &'static str, errno: Errno) {
    match errno {
        Errno::EINTR | Errno::ECONNABORTED | Errno::EPROTO => {}
        _ => {
            perror(what)(errno).print();
            // EINTR ends the wait early: a child has ended, which may have freed what was missing
            let _ = poll(&mut [], BACK_OFF_MS);
        }
    }
}

/// Print the port that the kernel chose for port 0.
pub fn print_chosen_port(socket_desc: &OwnedFd) {
    match getsockname(socket_desc) {
        Err(errno) => perror("getsockname")(errno).print(),
        Ok(server) => printf!("port %d\n", ntohs(server.sin_port)),
    }
}

/// Whether data or end of file arrives on sock within ms milliseconds.
pub fn readable(sock: &OwnedFd, ms: u16) -> bool {
    let mut fds = [PollFd::new(sock.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, ms) {
            Err(Errno::EINTR) => continue,
            ready => return ready.is_ok_and(|n| n > 0),
        }
    }
}

/// Write all of a buffer: one write may take only a part (Stevens' writen).
///
/// # Errors
/// EPIPE, ECONNRESET, and those of write(2) except EINTR; EIO if a write takes no byte, which should not happen.
pub fn writen(sock: &OwnedFd, mut buffer: &[u8]) -> Result<(), Errno> {
    while !buffer.is_empty() {
        match write(sock, buffer) {
            Err(Errno::EINTR) => continue,
            Ok(0) => return Err(Errno::EIO),
            written => buffer = &buffer[written?..],
        }
    }
    Ok(())
}

/// Half-close, then read until the client closes too: a close with unread input
/// resets the connection, and the client may lose the reply. Wait up to ms
/// milliseconds for the first bytes, then up to ms milliseconds for all the rest.
pub fn drain(sock: &OwnedFd, ms: u16) {
    let mut rest = [0; 1024];
    let mut first = None;
    let mut left = ms;

    let _ = shutdown(sock.as_raw_fd(), Shutdown::Write);
    while left > 0 && readable(sock, left) {
        match read(sock, &mut rest) {
            Ok(0) => return,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        let spent = first.get_or_insert_with(Instant::now).elapsed().as_millis();
        left = ms.saturating_sub(spent.try_into().unwrap_or(u16::MAX));
    }
}
