//! The built-in child, for a server without a program. It does what the child of `server robust` does, on descriptors 0
//! and 1: it reads a message, logs it, and replies with 18 bytes.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::unistd::read;

use crate::error::strerror;
use crate::ffi::{_exit, inherited};
use crate::serve::log;
use crate::stream::{LINGER_MS, PIECE_MS, drain, readable, writen};
use crate::visible::{until_nul, visible_line};

/// The most bytes in a message.
const MAX_MESSAGE: usize = 255;

/// Serve the client whose socket is stdin, then exit.
pub fn serve() -> ! {
    // if the client has gone, write(2) must fail, and SIGPIPE not kill the child
    log::ignore_write_signals();
    // std's stdin would allocate a buffer
    let served = inherited(0).ok_or(Errno::EBADF).and_then(|socket| answer(&socket));
    if let Err(errno) = served {
        log::failed(std::process::id(), "serve", strerror(errno));
    }
    _exit(served.is_err().into())
}

fn answer(socket: &OwnedFd) -> Result<(), Errno> {
    let mut buffer = [0; MAX_MESSAGE + 1];
    let mut message = &buffer[..0];
    // the message ends at a newline, at a NUL, when the client half-closes, or when nothing more comes for a while
    while message.len() < MAX_MESSAGE && !message.contains(&b'\n') && !message.contains(&0) {
        if !message.is_empty() && !readable(socket, PIECE_MS) {
            break;
        }
        let len = message.len();
        match read(socket, &mut buffer[len..MAX_MESSAGE]) {
            Ok(0) => break,
            Ok(n) => message = &buffer[..len + n],
            Err(Errno::EINTR) => message = &buffer[..len],
            Err(errno) => return Err(errno),
        }
    }
    let text = until_nul(&buffer);
    let line = text.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    log::message(std::process::id(), visible_line(line.unwrap_or(text)));
    writen(socket, b"ok\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")?;
    drain(socket, LINGER_MS);
    Ok(())
}
