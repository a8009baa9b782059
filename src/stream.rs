//! What robust and serve do with a TCP stream.
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

/// How long a server waits for descriptors, memory or processes to come back.
pub const BACK_OFF_MS: u16 = 100;
/// How long a child waits for the next piece of a message: a piece that was lost
/// once is sent again after at most a second (RFC 6298).
pub const PIECE_MS: u16 = 1500;
/// How long a server waits for a client that says nothing more to close; see [`drain`].
pub const LINGER_MS: u16 = 2000;

/// After a call that failed in a server: a client that vanished is no matter,
/// anything else is said, and waited for.
pub fn back_off(what: &'static str, errno: Errno) {
    match errno {
        Errno::EINTR | Errno::ECONNABORTED | Errno::EPROTO => {}
        _ => {
            perror(what)(errno).print();
            // EINTR: a child has ended, and may have left what was missing
            let _ = poll(&mut [], BACK_OFF_MS);
        }
    }
}

/// Port 0 lets the kernel choose: say what it chose.
pub fn print_chosen_port(socket_desc: &OwnedFd) {
    match getsockname(socket_desc) {
        Err(errno) => perror("getsockname")(errno).print(),
        Ok(server) => printf!("port %d\n", ntohs(server.sin_port)),
    }
}

/// Whether sock has something to read, or its end, within ms milliseconds.
pub fn readable(sock: &OwnedFd, ms: u16) -> bool {
    let mut fds = [PollFd::new(sock.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, ms) {
            Err(Errno::EINTR) => continue,
            ready => return ready.is_ok_and(|n| n > 0),
        }
    }
}

/// Write all of a buffer, in as many pieces as it takes (Stevens' writen).
///
/// # Errors
/// EPIPE, ECONNRESET, and those of write(2), less EINTR; EIO when nothing is written, which never is.
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

/// Say that no more will come, then read until the client closes too: a close
/// with unread input resets the connection, and the client loses its reply.
/// Wait ms milliseconds for its first bytes, and as long for all that follow.
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
