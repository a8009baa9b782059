//! handler: talks to one client on descriptors 0 and 1, as the child of `prise server robust` does on its socket.
//! Usage: tcpserver 127.0.0.1 8888 target/release/examples/handler
//!
//! A superserver runs this program for each client. It reads a message, which may come in pieces, writes `ok` and 16
//! NULs, half-closes, and reads until the client closes, too. It prints nothing to stderr, because under inetd stderr
//! is the client's socket, too.

use std::io::{stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::{close, read, write};

/// How long to wait for the next piece of a message: as long as `prise server robust`.
const PIECE_MS: u16 = 1500;
/// How long to wait, after the reply, for the client to close; and how long the client may go on sending.
const LINGER_MS: u16 = 2000;
const MESSAGE_MAX: usize = 255;
const REPLY: [u8; 18] = *b"ok\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn main() -> ExitCode {
    match converse(stdin().as_fd(), stdout().as_fd()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn converse(input: BorrowedFd, output: BorrowedFd) -> Result<(), Errno> {
    read_message(input)?;
    writen(output, &REPLY)?;
    half_close();
    drain(input);
    Ok(())
}

/// Read up to a newline, a NUL, 255 bytes, the end of file, or a pause of [`PIECE_MS`].
fn read_message(input: BorrowedFd) -> Result<(), Errno> {
    let mut buffer = [0; MESSAGE_MAX];
    let mut len = 0;
    while len < MESSAGE_MAX && !buffer[..len].iter().any(|byte| matches!(byte, b'\n' | 0)) {
        if len > 0 && !readable(input, PIECE_MS) {
            break;
        }
        match read(input, &mut buffer[len..]) {
            Err(Errno::EINTR) => {}
            Ok(0) => break,
            n => len += n?,
        }
    }
    Ok(())
}

fn writen(output: BorrowedFd, mut buffer: &[u8]) -> Result<(), Errno> {
    while !buffer.is_empty() {
        match write(output, buffer) {
            Err(Errno::EINTR) => {}
            Ok(0) => return Err(Errno::EIO),
            written => buffer = &buffer[written?..],
        }
    }
    Ok(())
}

/// End the output. A superserver that relays may use a pipe for stdout: a pipe cannot be half-closed, so close it.
fn half_close() {
    if shutdown(1, Shutdown::Write) == Err(Errno::ENOTSOCK) {
        let _ = close(1);
    }
}

/// Read until the client closes, too, or [`LINGER_MS`] have passed.
fn drain(input: BorrowedFd) {
    let mut rest = [0; 1024];
    let mut first = None;
    let mut left = LINGER_MS;
    while left > 0 && readable(input, left) {
        match read(input, &mut rest) {
            Err(Errno::EINTR) => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let spent = first.get_or_insert_with(Instant::now).elapsed().as_millis();
        left = LINGER_MS.saturating_sub(spent.try_into().unwrap_or(u16::MAX));
    }
}

/// Whether bytes or the end of file arrive within `ms` milliseconds.
fn readable(input: BorrowedFd, ms: u16) -> bool {
    let mut fds = [PollFd::new(input, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, ms) {
            Err(Errno::EINTR) => {}
            ready => return ready.is_ok_and(|n| n > 0),
        }
    }
}
