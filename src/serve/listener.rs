//! The listening socket: opened here, or handed over by the program that started this server (LISTEN_FDS).

use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::str::FromStr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt, socket, sockopt,
};

use crate::addresses::{local_address, unmapped};
use crate::error::{Error, system};
use crate::ffi::{gethostbyname, hstrerror, inherited, listen};
use crate::options::digits;

/// Where to listen: `[HOST:]PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: Option<String>,
    port: u16,
}

/// The first descriptor that is handed over.
const LISTEN_FDS_START: i32 = 3;

impl FromStr for Address {
    type Err = String;

    /// `PORT`, `HOST:PORT`, `[IPv6]:PORT`.
    fn from_str(text: &str) -> Result<Address, String> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (Some(host), port),
            None => (None, text),
        };
        if text.ends_with(']') {
            return Err(format!("a port is missing: {text}:PORT"));
        }
        let port = match digits::<u16>(port) {
            Some(port) => port,
            None if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(format!("{port} is more than 65535, the highest port"));
            }
            None => {
                return Err("PORT must be a number from 0 to 65535: write [HOST:]PORT".into());
            }
        };
        match host {
            Some("") => Err("the host before the colon is missing".into()),
            Some(host) if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) => {
                Err(format!("an IPv6 address must be in brackets: [{host}]:{port}"))
            }
            host => Ok(Address { host: host.map(String::from), port }),
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host.as_deref().unwrap_or("0.0.0.0"), self.port)
    }
}

impl Address {
    /// Whether a socket's address is the one requested: without a host, on any address; with port 0, on any port.
    fn matches(&self, bound: SocketAddr) -> Result<bool, Error> {
        let host_matches = self.host.is_none() || unmapped(self.resolve()?).ip() == bound.ip();
        Ok(host_matches && (self.port == 0 || self.port == bound.port()))
    }

    fn resolve(&self) -> Result<SocketAddr, Error> {
        let Some(host) = &self.host else {
            return Ok((Ipv4Addr::UNSPECIFIED, self.port).into());
        };
        if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let (v6, zone) = v6.split_once('%').map_or((v6, None), |(v6, zone)| (v6, Some(zone)));
            let address: Ipv6Addr =
                v6.parse().map_err(|_| Error::Denied(format!("'{v6}' is not an IPv6 address")))?;
            let scope_id = zone.map(scope_id).transpose()?.unwrap_or(0);
            return Ok(SocketAddrV6::new(address, self.port, 0, scope_id).into());
        }
        if let Ok(v4) = host.parse::<Ipv4Addr>() {
            return Ok((v4, self.port).into());
        }
        match gethostbyname(host) {
            Ok(found) => Ok((Ipv4Addr::from(u32::from_be(found.h_addr_list[0].s_addr)), self.port).into()),
            Err(h_errno) => Err(Error::Denied(format!("{host}: {}", hstrerror(h_errno)))),
        }
    }
}

/// The scope ID of a link-local address: the number of its interface, which is given by name or number.
fn scope_id(zone: &str) -> Result<u32, Error> {
    let named = || if_nametoindex(zone).ok();
    digits(zone).or_else(named).ok_or_else(|| Error::Denied(format!("there is no interface '{zone}'")))
}

/// A nonblocking listening socket.
pub struct Listener {
    /// The socket.
    pub socket: OwnedFd,
    /// The address that it is bound to.
    pub address: SocketAddr,
    /// The address that all clients connect to; `None` if it may differ from one client to the next.
    pub local: Option<SocketAddr>,
}

/// Open the requested address, or take the socket that was handed over.
///
/// # Errors
/// [`Error::Denied`] if the request is wrong, [`Error::System`] if a call fails.
pub fn open(requested: Option<&Address>, backlog: i32) -> Result<Listener, Error> {
    let handed_over = handed_over_listener()?;
    let is_handed_over = handed_over.is_some();
    let listener = match (handed_over, requested) {
        (Some(listener), _) => listener,
        (None, Some(requested)) => bind_and_listen(requested.resolve()?, backlog)?,
        (None, None) => {
            let why = "[HOST:]PORT is missing, and no socket was handed over (LISTEN_FDS)";
            return Err(Error::Denied(why.into()));
        }
    };
    fcntl(&listener, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(system("fcntl"))?;
    let address = local_address(&listener).map_err(|errno| match errno {
        Errno::EAFNOSUPPORT => Error::Denied("the socket is not a TCP socket".into()),
        errno => system("getsockname")(errno),
    })?;
    if is_handed_over
        && let Some(requested) = requested
        && !requested.matches(address)?
    {
        return Err(Error::Denied(format!(
            "a socket on {address} was handed over, but {requested} was asked for"
        )));
    }
    // a socket that another program has opened may accept connections to other addresses (IP_TRANSPARENT)
    let local = (!is_handed_over && !address.ip().is_unspecified()).then_some(address);
    Ok(Listener { socket: listener, address, local })
}

fn bind_and_listen(address: SocketAddr, backlog: i32) -> Result<OwnedFd, Error> {
    let system = |what: &str| {
        let what = format!("{what} {address}");
        move |errno| Error::System(what, errno)
    };
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let listener = socket(family, SockType::Stream, SockFlag::empty(), None).map_err(system("socket for"))?;
    fcntl(&listener, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(system("fcntl for"))?;
    setsockopt(&listener, sockopt::ReuseAddr, &true).map_err(system("setsockopt for"))?;
    // so that a client whose machine has vanished is eventually noticed; accepted sockets inherit the option
    let _ = setsockopt(&listener, sockopt::KeepAlive, &true);
    if address.is_ipv6() {
        // [::] accepts IPv4 too, if the system allows it
        let _ = setsockopt(&listener, sockopt::Ipv6V6Only, &false);
    }
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address)).map_err(system("bind"))?;
    listen(&listener, backlog).map_err(system("listen on"))?;
    Ok(listener)
}

/// The socket that LISTEN_FDS hands over, if LISTEN_PID says that it is for this process.
fn handed_over_listener() -> Result<Option<OwnedFd>, Error> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        None | Some(0) => return Ok(None),
        Some(1) => {}
        Some(n) => return Err(Error::Denied(format!("LISTEN_FDS={n}, but only one socket can be served"))),
    }
    let listener = inherited(LISTEN_FDS_START)
        .ok_or_else(|| Error::Denied("LISTEN_FDS=1, but descriptor 3 is not open".into()))?;
    match getsockopt(&listener, sockopt::AcceptConn) {
        Ok(true) => Ok(Some(listener)),
        Ok(false) | Err(Errno::ENOTSOCK) => {
            Err(Error::Denied("LISTEN_FDS=1, but descriptor 3 is not a listening socket".into()))
        }
        Err(errno) => Err(system("getsockopt")(errno)),
    }
}
