//! The PROXY protocol's header, which a proxy sends ahead of its client's bytes to say who the client is.
//!
//! Pure: bytes in, addresses out. Version 1 is a line of text, version 2 is binary. A header may come in
//! pieces, and what follows it is the client's: [`Header::Partial`] says how much may be read without
//! taking any of that, and wrong bytes are [`Header::Bad`] at the first of them, however few there are.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is taken, in bytes: no client needs a larger buffer.
///
/// A line of version 1 has at most 107 bytes. Version 2 could announce 65,551, nearly all of it TLVs,
/// which we skip; but proxies fill a few hundred (a TLS server name, a certificate's names, an identifier
/// of 128 bytes), and as many bytes as are announced are kept and waited for before a client is served.
/// One page is enough for the former, and little for the latter.
pub const LONGEST: usize = 4096;

/// The longest line of version 1, with its CR LF.
const V1_LONGEST: usize = 107;

/// How version 2 begins.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What stands before the addresses in version 2: signature, version and command, family, length.
const V2_FIXED: usize = 16;

/// What some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The beginning of a header.
    Partial {
        /// How many bytes the header goes on for at the least, one or more: all of them are the header's.
        at_least: usize,
    },
    /// A header, and then perhaps the client's first bytes.
    Whole {
        /// How many bytes are the header.
        length: usize,
        /// Whom the proxy speaks for; none where it speaks for itself, or does not say: the connection's
        /// own addresses stand.
        source: Option<Addresses>,
    },
    /// No header, whatever may follow.
    Bad(Fault),
}

/// The two ends of the client's connection to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Where the client is.
    pub client: SocketAddr,
    /// Where it connected to.
    pub local: SocketAddr,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They begin like neither version.
    NoHeader,
    /// Version 1: neither `TCP4`, `TCP6` nor `UNKNOWN`.
    Protocol,
    /// Version 1: not an address of the family named.
    Address,
    /// Version 1: not a port, in decimal without leading zeros.
    Port,
    /// Version 1: a CR without its LF.
    LineEnd,
    /// Version 2 in its signature, but not in its version.
    Version,
    /// Version 2: neither LOCAL nor PROXY.
    Command,
    /// Version 2: a family or a transport that there is not.
    Family,
    /// Version 2: too short for two addresses of its family.
    Length,
    /// Longer than its version allows, or than [`LONGEST`].
    TooLong,
}

/// The words for the log, after `why=`.
impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::NoHeader => "proxy-header-missing",
            Fault::Protocol => "proxy-protocol",
            Fault::Address => "proxy-address",
            Fault::Port => "proxy-port",
            Fault::LineEnd => "proxy-line-end",
            Fault::Version => "proxy-version",
            Fault::Command => "proxy-command",
            Fault::Family => "proxy-family",
            Fault::Length => "proxy-length",
            Fault::TooLong => "proxy-too-long",
        })
    }
}

/// What these bytes, the first of a connection, are.
pub fn parse(bytes: &[u8]) -> Header {
    let line = &bytes[..bytes.len().min(V1_LONGEST)];
    let parsed = if agree(bytes, b"PROXY ") {
        v1(line)
    } else if agree(bytes, V2_SIGNATURE) {
        v2(bytes)
    } else {
        Err(Fault::NoHeader)
    };
    parsed.unwrap_or_else(Header::Bad)
}

/// Whether bytes are the same as far as both go.
fn agree(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(a, b)| a == b)
}

/// How a line of version 1 may begin, and the family of the addresses that then come.
const V1_BEGINNINGS: [(&[u8], Option<Field>); 3] =
    [(b"PROXY UNKNOWN", None), (b"PROXY TCP6 ", Some(Field::Ipv6)), (b"PROXY TCP4 ", Some(Field::Ipv4))];

/// A line of version 1, or the beginning of one.
fn v1(line: &[u8]) -> Result<Header, Fault> {
    let known = V1_BEGINNINGS.iter().find(|(beginning, _)| line.starts_with(beginning));
    let header = match known {
        Some(&(beginning, family)) => v1_rest(line, beginning.len(), family)?,
        None => v1_beginning(line)?,
    };
    match header {
        Header::Partial { at_least } if line.len() + at_least > V1_LONGEST => Err(Fault::TooLong),
        header => Ok(header),
    }
}

/// A line that does not yet say its family: the shortest that it can become.
fn v1_beginning(line: &[u8]) -> Result<Header, Fault> {
    let possible = V1_BEGINNINGS.iter().filter(|(beginning, _)| beginning.starts_with(line));
    let lengths =
        possible.filter_map(|&(beginning, family)| match v1_rest(beginning, beginning.len(), family) {
            Ok(Header::Partial { at_least }) => Some(beginning.len() - line.len() + at_least),
            _ => None,
        });
    lengths.min().map(|at_least| Header::Partial { at_least }).ok_or(Fault::Protocol)
}

/// The rest of a line, from an offset.
fn v1_rest(line: &[u8], at: usize, family: Option<Field>) -> Result<Header, Fault> {
    match family {
        Some(address) => v1_addresses(line, at, [address, address, Field::Port, Field::Port]),
        None => v1_unknown(line, at),
    }
}

/// After `UNKNOWN`: the line's end, or a space and anything up to the line's end.
fn v1_unknown(line: &[u8], at: usize) -> Result<Header, Fault> {
    let rest = &line[at..];
    match rest {
        [] | [b' ', ..] | [b'\r'] | [b'\r', b'\n', ..] => {}
        [b'\r', ..] => return Err(Fault::LineEnd),
        _ => return Err(Fault::Protocol),
    }
    Ok(match rest.windows(2).position(|pair| pair == b"\r\n") {
        Some(n) => Header::Whole { length: at + n + 2, source: None },
        None => Header::Partial { at_least: if rest.ends_with(b"\r") { 1 } else { 2 } },
    })
}

/// After `TCP4 ` or `TCP6 `: the client's address, the local one, the client's port, the local one.
fn v1_addresses(line: &[u8], mut at: usize, fields: [Field; 4]) -> Result<Header, Fault> {
    let mut texts = [""; 4];
    for (n, field) in fields.into_iter().enumerate() {
        let end = if n < 3 { b' ' } else { b'\r' };
        let length = line[at..].iter().position(|&byte| byte == end);
        let text = &line[at..length.map_or(line.len(), |length| at + length)];
        let text = str::from_utf8(text).map_err(|_| field.fault())?;
        let missing = field.missing(text).ok_or(field.fault())?;
        let Some(length) = length else {
            let following = fields[n + 1..].iter().map(|field| field.shortest() + 1).sum::<usize>();
            return Ok(Header::Partial { at_least: missing + 1 + following + 1 });
        };
        if missing > 0 {
            return Err(field.fault());
        }
        texts[n] = text;
        at += length + 1;
    }
    match line[at..] {
        [] => Ok(Header::Partial { at_least: 1 }),
        [b'\n', ..] => Ok(Header::Whole { length: at + 1, source: Some(v1_source(texts)?) }),
        _ => Err(Fault::LineEnd),
    }
}

/// The addresses that four whole fields stand for.
fn v1_source([client, local, client_port, local_port]: [&str; 4]) -> Result<Addresses, Fault> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| Fault::Address);
    let port = |text: &str| text.parse::<u16>().map_err(|_| Fault::Port);
    Ok(Addresses {
        client: SocketAddr::new(address(client)?, port(client_port)?),
        local: SocketAddr::new(address(local)?, port(local_port)?),
    })
}

/// A field of a line of version 1.
#[derive(Clone, Copy)]
enum Field {
    Ipv4,
    Ipv6,
    Port,
}

impl Field {
    /// How many bytes a text lacks of the shortest field that begins with it; none if no field does.
    fn missing(self, text: &str) -> Option<usize> {
        let completes = |ending: &&&str| self.is_whole(&format!("{text}{ending}"));
        self.endings().iter().find(completes).map(|ending| ending.len())
    }

    /// What completes any beginning of a field, the shortest first.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Field::Ipv4 => &["", "0", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0"],
            Field::Ipv6 => &["", "0", ":", "::", ".0", "0.0", ".0.0", "0.0.0"],
            Field::Port => &["", "0"],
        }
    }

    fn is_whole(self, text: &str) -> bool {
        match self {
            Field::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Field::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            // parse() alone would take +80 and 080
            Field::Port => text.parse::<u16>().is_ok_and(|port| port.to_string() == text),
        }
    }

    /// The length of the shortest: `0.0.0.0`, `::`, `0`.
    fn shortest(self) -> usize {
        match self {
            Field::Ipv4 => 7,
            Field::Ipv6 => 2,
            Field::Port => 1,
        }
    }

    fn fault(self) -> Fault {
        match self {
            Field::Ipv4 | Field::Ipv6 => Fault::Address,
            Field::Port => Fault::Port,
        }
    }
}

/// A header of version 2, or the beginning of one.
fn v2(bytes: &[u8]) -> Result<Header, Fault> {
    let is_proxy = match bytes.get(12) {
        None | Some(0x20) => false,
        Some(0x21) => true,
        Some(byte) if byte >> 4 != 2 => return Err(Fault::Version),
        Some(_) => return Err(Fault::Command),
    };
    // LOCAL has its addresses ignored, and its family with them
    let family = bytes.get(13).filter(|_| is_proxy);
    let least = family.map_or(Ok(0), |&family| v2_least(family))?;
    // of a length that is not yet there, what it may be
    let [high, low] = [14, 15].map(|n| bytes.get(n).copied());
    let lowest = usize::from(u16::from_be_bytes([high.unwrap_or(0), low.unwrap_or(0)]));
    let highest = usize::from(u16::from_be_bytes([high.unwrap_or(0xFF), low.unwrap_or(0xFF)]));
    if highest < least {
        return Err(Fault::Length);
    }
    let length = V2_FIXED + lowest.max(least);
    if length > LONGEST {
        return Err(Fault::TooLong);
    }
    let Some(addresses) = bytes.get(V2_FIXED..length) else {
        return Ok(Header::Partial { at_least: length - bytes.len() });
    };
    let source = match family {
        Some(0x11) => v2_source::<4>(addresses),
        Some(0x21) => v2_source::<16>(addresses),
        _ => None,
    };
    Ok(Header::Whole { length, source })
}

/// How many bytes two addresses of a family take, with their ports. A family or transport of 0 says that
/// it is unspecified: then there need be none.
fn v2_least(family: u8) -> Result<usize, Fault> {
    match (family >> 4, family & 0x0F) {
        (0, 0..=2) | (0..=3, 0) => Ok(0),
        (1, 1 | 2) => Ok(2 * 4 + 2 * 2),
        (2, 1 | 2) => Ok(2 * 16 + 2 * 2),
        (3, 1 | 2) => Ok(2 * 108),
        _ => Err(Fault::Family),
    }
}

/// The addresses of TCP over IPv4 or IPv6, in network byte order; TLVs may follow.
fn v2_source<const N: usize>(bytes: &[u8]) -> Option<Addresses>
where
    IpAddr: From<[u8; N]>,
{
    let (client, bytes) = bytes.split_first_chunk::<N>()?;
    let (local, bytes) = bytes.split_first_chunk::<N>()?;
    let (client_port, bytes) = bytes.split_first_chunk()?;
    let (local_port, _) = bytes.split_first_chunk()?;
    let socket = |ip: &[u8; N], port: &[u8; 2]| SocketAddr::new(IpAddr::from(*ip), u16::from_be_bytes(*port));
    Some(Addresses { client: socket(client, client_port), local: socket(local, local_port) })
}
