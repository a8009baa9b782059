//! socket: create a TCP socket, and end without a word.
//! Usage: `prise client socket`
//! Twin: c/client/socket.c. Next: connect.rs

use libc::{SOCK_STREAM, c_int};

use crate::ffi::c::{AF_INET, socket};
use crate::stdio::printf;

/// `prise client socket`
pub fn main() -> c_int {
    // create the socket
    let socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if socket_desc == -1 {
        printf!("Could not create socket");
    }

    0
}
