//! A free port for a server under examination.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
#[cfg(target_os = "linux")]
use nix::sys::socket::UnixAddr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};

use crate::subject::system;

/// A port that nothing is bound to, below those that the kernel gives to clients. No other examiner gets it
/// while this one runs: see [`right_to`].
pub fn free() -> u16 {
    static RIGHT: Mutex<Option<OwnedFd>> = Mutex::new(None);
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() as u16).wrapping_mul(97) % 20_000;
    let candidates = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed) % 20_000)
        .map(|n| 12_000 + (start + n) % 20_000)
        .take(20_000);
    let unbound = |port: u16| can_be_bound(port) && !system::listens_anywhere(port);
    // a server that forgets htons() may have the port that it means, and no client takes it first
    let usable = |port: &u16| {
        let swapped = port.swap_bytes();
        (1024..32_768).contains(&swapped) && unbound(*port) && unbound(swapped)
    };
    for port in candidates {
        if let Ok(right) = right_to(port)
            && usable(&port)
        {
            if let Ok(mut held) = RIGHT.lock() {
                *held = Some(right);
            }
            return port;
        }
    }
    8888
}

/// What stands for the right to a port, and is in no server's way: a name in Linux's abstract namespace; elsewhere
/// the UDP port of the same number.
fn right_to(port: u16) -> nix::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let (family, address) =
        (AddressFamily::Unix, UnixAddr::new_abstract(format!("prise check {port}").as_bytes())?);
    #[cfg(not(target_os = "linux"))]
    let (family, address) = (AddressFamily::Inet, SockaddrIn::new(127, 0, 0, 1, port));
    let right = socket(family, SockType::Datagram, SockFlag::empty(), None)?;
    fcntl(&right, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    bind(right.as_raw_fd(), &address)?;
    Ok(right)
}

/// Whether a server that does not set SO_REUSEADDR could bind to a port, too: what other servers have left in
/// TIME_WAIT is in its way.
fn can_be_bound(port: u16) -> bool {
    socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .and_then(|socket| bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port)))
        .is_ok()
}
