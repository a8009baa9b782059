//! Tells the service manager that the server is ready or stopping: a datagram to the socket in NOTIFY_SOCKET.

use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::strerror;
use crate::serve::log;

/// How many seconds READY=1 may wait for space in the socket's queue. It must not be lost: the service manager waits
/// for it.
const READY_TIMEOUT: i64 = 3;

/// Say that the server is ready for clients.
pub fn ready() {
    notify("READY=1", MsgFlags::empty());
}

/// Say that the server stops, without waiting for a service manager that does not read.
pub fn stopping() {
    notify("STOPPING=1", MsgFlags::MSG_DONTWAIT);
}

fn notify(state: &str, flags: MsgFlags) {
    let name = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    if name.is_empty() {
        return;
    }
    if let Err(errno) = send(name.as_bytes(), state, flags) {
        log::failed(std::process::id(), "notify", strerror(errno));
    }
}

fn send(name: &[u8], state: &str, flags: MsgFlags) -> Result<(), Errno> {
    let address = match name.strip_prefix(b"@") {
        // an abstract socket address, which only Linux has
        #[cfg(target_os = "linux")]
        Some(name) => UnixAddr::new_abstract(name)?,
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(Errno::EAFNOSUPPORT),
        None => UnixAddr::new(name)?,
    };
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::empty(), None)?;
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(READY_TIMEOUT))?;
    sendto(socket.as_raw_fd(), state.as_bytes(), &address, flags).map(drop)
}
