//! The child where no program is given, that of `server robust`, on descriptors 0 and 1: it reads a message, logs it, and
//! replies in 18 bytes.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::unistd::read;

use crate::error::strerror;
use crate::ffi::{_exit, inherited};
use crate::serve::log;
use crate::stream::{LINGER_MS, PIECE_MS, drain, readable, writen};
use crate::visible::{until_nul, visible_line};

/// A message is so long at most.
const LONGEST: usize = 255;

/// Serve the client whose socket is stdin, and end.
pub fn serve() -> ! {
    // a client that has gone is an error of write(2), too, and no signal to die of
    log::outlive_it();
    // std's stdin would make itself a buffer first
    let served = inherited(0).ok_or(Errno::EBADF).and_then(|client| answer(&client));
    if let Err(errno) = served {
        log::failed(std::process::id(), "serve", strerror(errno));
    }
    _exit(served.is_err().into())
}

fn answer(client: &OwnedFd) -> Result<(), Errno> {
    let mut buffer = [0; LONGEST + 1];
    let mut message = &buffer[..0];
    // it ends at a newline or a NUL, with its client's half, or where nothing more comes
    while message.len() < LONGEST && !message.contains(&b'\n') && !message.contains(&0) {
        if !message.is_empty() && !readable(client, PIECE_MS) {
            break;
        }
        let len = message.len();
        match read(client, &mut buffer[len..LONGEST]) {
            Ok(0) => break,
            Ok(n) => message = &buffer[..len + n],
            Err(Errno::EINTR) => message = &buffer[..len],
            Err(errno) => return Err(errno),
        }
    }
    let text = until_nul(&buffer);
    let line = text.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    log::message(std::process::id(), visible_line(line.unwrap_or(text)));
    writen(client, b"ok\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")?;
    drain(client, LINGER_MS);
    Ok(())
}
