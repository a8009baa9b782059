//! socket: create a TCP socket, and end without a word.
//! Usage: prise client socket
//! Twin: c/client/socket.c. Next: connect.rs

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::{Error, perror};

/// `prise client socket`
///
/// # Errors
/// The call that failed, with its reason; or [`Error::Stdout`], when not everything could be printed.
pub fn main() -> Result<(), Error> {
    // create the socket
    let _socket_desc = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .map_err(perror("Could not create socket"))?;

    Ok(())
}
