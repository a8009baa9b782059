//! The header of the PROXY protocol. A proxy sends it before its client's data, to say who the client is.
//!
//! This is pure logic: bytes in, addresses out. Version 1 is a line of text, version 2 is binary. A header may come in
//! pieces, and the client's data follows it: [`Header::Partial`] says how many bytes may be read without taking any of
//! that data. A wrong byte is reported as [`Header::Bad`] as soon as it comes.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is accepted, in bytes: no client needs a larger buffer.
///
/// A line of version 1 has at most 107 bytes. A header of version 2 could have 65,551, nearly all of them TLVs, which
/// are skipped. Proxies send only a few hundred (a TLS server name, a certificate's names, an identifier of 128
/// bytes). But the server must wait for and keep all the bytes that a header announces. One page is enough for what
/// proxies send, and little to keep.
pub const LONGEST: usize = 4096;

/// The longest line of version 1, including CR LF.
const V1_LONGEST: usize = 107;

/// The first bytes of version 2.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of what comes before the addresses in version 2: signature, version and command, family, length.
const V2_FIXED: usize = 16;

/// The result of parsing the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The beginning of a header.
    Partial {
        /// How many more bytes the header has at least: one or more, and all of them belong to the header.
        at_least: usize,
    },
    /// A complete header; the client's first bytes may follow.
    Whole {
        /// How many bytes the header has.
        length: usize,
        /// The addresses of the client's connection to the proxy. `None` if the proxy connects for itself or gives no
        /// addresses: then those of its connection to the server count.
        source: Option<Addresses>,
    },
    /// Not a header, whatever may follow.
    Bad(Fault),
}

/// The two ends of the client's connection to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client's address.
    pub client: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
}

/// Why some bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They begin like neither of the two versions.
    NoHeader,
    /// Version 1: not `TCP4`, `TCP6` or `UNKNOWN`.
    Protocol,
    /// Version 1: not an address of the given family.
    Address,
    /// Version 1: not a port in decimal without leading zeros.
    Port,
    /// Version 1: a CR without an LF.
    LineEnd,
    /// The signature is that of version 2, but the version field is not 2.
    Version,
    /// Version 2: not LOCAL or PROXY.
    Command,
    /// Version 2: a family or transport that does not exist.
    Family,
    /// Version 2: too short for two addresses of the given family.
    Length,
    /// Longer than its version allows, or than [`LONGEST`].
    TooLong,
}

/// The word after `why=` in the log.
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

/// Parse the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Header {
    let line = &bytes[..bytes.len().min(V1_LONGEST)];
    let parsed = if common_part_agrees(bytes, b"PROXY ") {
        v1(line)
    } else if common_part_agrees(bytes, V2_SIGNATURE) {
        v2(bytes)
    } else {
        Err(Fault::NoHeader)
    };
    parsed.unwrap_or_else(Header::Bad)
}

/// Whether two byte strings are equal up to the length of the shorter one.
fn common_part_agrees(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(a, b)| a == b)
}

/// How a line of version 1 may begin, and the family of the addresses that follow.
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

/// A line that does not name its family yet: how many bytes the shortest line that begins so has more.
fn v1_beginning(line: &[u8]) -> Result<Header, Fault> {
    let possible = V1_BEGINNINGS.iter().filter(|(beginning, _)| beginning.starts_with(line));
    let lengths =
        possible.filter_map(|&(beginning, family)| match v1_rest(beginning, beginning.len(), family) {
            Ok(Header::Partial { at_least }) => Some(beginning.len() - line.len() + at_least),
            _ => None,
        });
    lengths.min().map(|at_least| Header::Partial { at_least }).ok_or(Fault::Protocol)
}

/// The rest of a line, from offset `at`.
fn v1_rest(line: &[u8], at: usize, family: Option<Field>) -> Result<Header, Fault> {
    match family {
        Some(address) => v1_addresses(line, at, [address, address, Field::Port, Field::Port]),
        None => v1_unknown(line, at),
    }
}

/// After `UNKNOWN`: the end of the line, or a space and anything up to the end of the line.
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

/// After `TCP4 ` or `TCP6 `: the client's address, the local address, the client's port, the local port.
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

/// The addresses in four complete fields.
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
    /// How many bytes must be added to a text to make the shortest complete field; `None` if no field begins with it.
    fn missing(self, text: &str) -> Option<usize> {
        let completes = |ending: &&&str| self.is_whole(&format!("{text}{ending}"));
        self.endings().iter().find(completes).map(|ending| ending.len())
    }

    /// Endings that complete a field, the shortest first: every beginning of a field is completed by one of them.
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
            // parse() alone would accept +80 and 080
            Field::Port => text.parse::<u16>().is_ok_and(|port| port.to_string() == text),
        }
    }

    /// The length of the shortest complete field: `0.0.0.0`, `::`, `0`.
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
    // with LOCAL, the addresses are ignored, and so is their family
    let family = bytes.get(13).filter(|_| is_proxy);
    let least = family.map_or(Ok(0), |&family| v2_least(family))?;
    // bytes of the length that have not come yet may have any value
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

/// How many bytes two addresses and ports of a family take. A family or transport of 0 is unspecified, and needs no
/// addresses.
fn v2_least(family: u8) -> Result<usize, Fault> {
    match (family >> 4, family & 0x0F) {
        (0, 0..=2) | (0..=3, 0) => Ok(0),
        (1, 1 | 2) => Ok(2 * 4 + 2 * 2),
        (2, 1 | 2) => Ok(2 * 16 + 2 * 2),
        (3, 1 | 2) => Ok(2 * 108),
        _ => Err(Fault::Family),
    }
}

/// The addresses of TCP over IPv4 or IPv6, in network byte order. TLVs may follow them.
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
