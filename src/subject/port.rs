//! A free port for a server under examination.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
#[cfg(target_os = "linux")]
use nix::sys::socket::UnixAddr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};

use crate::subject::system;

/// Find a port that nothing is bound to, below the ephemeral ports that the kernel gives to clients. It is reserved, so
/// no other `prise check` takes it until this process ends or finds another: see [`reserve`].
pub fn find_free() -> u16 {
    static RESERVATION: Mutex<Option<OwnedFd>> = Mutex::new(None);
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() as u16).wrapping_mul(97) % 20_000;
    let candidates = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed) % 20_000)
        .map(|n| 12_000 + (start + n) % 20_000)
        .take(20_000);
    let unbound = |port: u16| can_be_bound(port) && !system::listens_anywhere(port);
    // a server that forgets htons() uses the swapped port: it must be free too, and not be an ephemeral port
    let usable = |port: &u16| {
        let swapped = port.swap_bytes();
        (1024..32_768).contains(&swapped) && unbound(*port) && unbound(swapped)
    };
    for port in candidates {
        if let Ok(reservation) = reserve(port)
            && usable(&port)
        {
            if let Ok(mut held) = RESERVATION.lock() {
                *held = Some(reservation);
            }
            return port;
        }
    }
    8888
}

/// Reserve a port among all examiners, without binding it. The reservation is a Unix socket name in the abstract
/// namespace on Linux, and the UDP port with the same number elsewhere.
fn reserve(port: u16) -> nix::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let (family, address) =
        (AddressFamily::Unix, UnixAddr::new_abstract(format!("prise check {port}").as_bytes())?);
    #[cfg(not(target_os = "linux"))]
    let (family, address) = (AddressFamily::Inet, SockaddrIn::new(127, 0, 0, 1, port));
    let reservation = socket(family, SockType::Datagram, SockFlag::empty(), None)?;
    fcntl(&reservation, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    bind(reservation.as_raw_fd(), &address)?;
    Ok(reservation)
}

/// Whether a server could bind to a port, even one that does not set SO_REUSEADDR: connections of earlier servers in
/// TIME_WAIT would prevent that.
fn can_be_bound(port: u16) -> bool {
    socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .and_then(|socket| bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port)))
        .is_ok()
}
