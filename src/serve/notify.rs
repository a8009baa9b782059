//! Readiness and the end, as datagrams to the socket that NOTIFY_SOCKET names.

use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, socket};

use crate::serve::log;

/// Tell whoever started us, if they asked.
pub fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(errno) = send(name.as_bytes(), state) {
        log::failed(std::process::id(), "notify", errno::Errno(errno as i32));
    }
}

fn send(name: &[u8], state: &str) -> Result<(), Errno> {
    let address = match name.strip_prefix(b"@") {
        // the abstract namespace, which is Linux's
        #[cfg(target_os = "linux")]
        Some(name) => UnixAddr::new_abstract(name)?,
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(Errno::EAFNOSUPPORT),
        None => UnixAddr::new(name)?,
    };
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::empty(), None)?;
    // a supervisor that does not read is not waited for
    sendto(socket.as_raw_fd(), state.as_bytes(), &address, MsgFlags::MSG_DONTWAIT).map(drop)
}
