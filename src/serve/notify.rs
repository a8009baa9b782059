//! Readiness and the end, as datagrams to the socket that NOTIFY_SOCKET names.

use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::strerror;
use crate::serve::log;

/// How long the datagram that says READY=1 may wait for room: whoever waits for it waits for nothing else.
const PATIENCE: i64 = 3;

/// Tell whoever started us that clients may come.
pub fn ready() {
    notify("READY=1", MsgFlags::empty());
}

/// Tell them that it is over. A supervisor that does not read is not waited for.
pub fn stopping() {
    notify("STOPPING=1", MsgFlags::MSG_DONTWAIT);
}

fn notify(state: &str, how: MsgFlags) {
    let name = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    if name.is_empty() {
        return;
    }
    if let Err(errno) = send(name.as_bytes(), state, how) {
        log::failed(std::process::id(), "notify", strerror(errno));
    }
}

fn send(name: &[u8], state: &str, how: MsgFlags) -> Result<(), Errno> {
    let address = match name.strip_prefix(b"@") {
        // the abstract namespace, which is Linux's
        #[cfg(target_os = "linux")]
        Some(name) => UnixAddr::new_abstract(name)?,
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(Errno::EAFNOSUPPORT),
        None => UnixAddr::new(name)?,
    };
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::empty(), None)?;
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(PATIENCE))?;
    sendto(socket.as_raw_fd(), state.as_bytes(), &address, how).map(drop)
}
