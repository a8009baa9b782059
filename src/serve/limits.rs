//! Limits per source: how many clients a source may have at a time, and at what rate they may come.
//!
//! This is pure logic: the caller passes the addresses and the time.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use crate::options::digits;

/// How many sources one call checks at most, so that no call takes long, even after a flood.
const TIDY_BATCH: usize = 64;

/// The source of a client: clients with the same source count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An IPv4 address, also if it was IPv4-mapped into IPv6.
    V4(Ipv4Addr),
    /// The upper 64 bits of an IPv6 address: a host may use any address of its /64 network.
    V6(u64),
}

impl Source {
    /// The source of an address.
    pub fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source::V4(address),
            IpAddr::V6(address) => Source::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// `192.0.2.7`, `2001:db8:0:1::/64`.
impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Source::V4(address) => address.fmt(f),
            Source::V6(prefix) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(prefix) << 64)),
        }
    }
}

/// A rate limit: a token bucket that holds `clients` tokens, and fills up in `per`.
///
/// The state of a bucket is the time when it will be full. Times are counted in units of a nanosecond divided by
/// `clients`: a token then takes as many units to come back as `per` has nanoseconds, and nothing is ever rounded. The
/// longest duration has fewer than 2^94 nanoseconds, so a time has fewer than 2^126 units, and the sums below fit in
/// 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many clients may come in that time.
    pub clients: u32,
    /// The time in which an empty bucket fills up.
    pub per: Duration,
}

impl Rate {
    fn units(self, time: Duration) -> u128 {
        time.as_nanos() * u128::from(self.clients)
    }

    /// Take a token. Returns when the bucket will be full again, or `None` if it is empty.
    fn take(self, full_at: u128, now: Duration) -> Option<u128> {
        let token = self.per.as_nanos();
        let then = full_at.max(self.units(now)) + token;
        (then <= self.units(now) + self.units(self.per)).then_some(then)
    }
}

/// `N/SECONDS`, both greater than 0.
impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Rate, &'static str> {
        let (clients, seconds) = text.split_once('/').ok_or("not N/SECONDS, such as 10/60")?;
        let clients = positive(clients).ok_or("N must be a whole number from 1 to 4294967295")?;
        let seconds =
            positive(seconds).ok_or("SECONDS must be a whole number from 1 to 18446744073709551615")?;
        Ok(Rate { clients, per: Duration::from_secs(seconds) })
    }
}

/// A number greater than 0.
fn positive<N: FromStr + Default + PartialEq>(text: &str) -> Option<N> {
    digits(text).filter(|number| *number != N::default())
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its source already has as many clients as it may have.
    PerIp,
    /// Clients of its source come too fast.
    Rate,
}

/// The word after `why=` in the log.
impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::PerIp => "per-ip",
            Refusal::Rate => "rate",
        })
    }
}

/// The limits, and the state of each source.
///
/// A source is kept as long as it has a client, and then until its bucket is full again. Whether the bucket is full is
/// checked when its last client goes, and every `per` after that.
pub struct Limits {
    per_ip: Option<u32>,
    rate: Option<Rate>,
    /// The latest time that a caller passed.
    now: Duration,
    entries: HashMap<Source, Entry>,
    /// When to check which source. A source has one check at most. The earliest comes first, since all wait for the
    /// same time.
    checks: VecDeque<(Duration, Source)>,
}

/// The state of a source. A source without an entry has no clients and a full bucket.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// How many clients it has.
    live: u64,
    full_at: u128,
    /// It is in [`Limits::checks`].
    has_check: bool,
}

impl Limits {
    /// Limits; `None` is no limit.
    pub fn new(per_ip: Option<u32>, rate: Option<Rate>) -> Limits {
        Limits { per_ip, rate, now: Duration::ZERO, entries: HashMap::new(), checks: VecDeque::new() }
    }

    /// Admit a client. It then counts for its source until it is [released](Limits::release), and takes a token. A
    /// refused client takes nothing, so refused clients do not delay the next one that is admitted.
    ///
    /// `now` is a monotonic time since any epoch. If it is earlier than in a previous call, the time of that call
    /// counts.
    ///
    /// # Errors
    /// The limit that the source has reached; [`Refusal::PerIp`] if it has reached both.
    pub fn admit(&mut self, source: Source, now: Duration) -> Result<(), Refusal> {
        self.tidy(now);
        let mut entry = self.entries.get(&source).copied().unwrap_or_default();
        if self.per_ip.is_some_and(|max| entry.live >= u64::from(max)) {
            return Err(Refusal::PerIp);
        }
        if let Some(rate) = self.rate {
            entry.full_at = rate.take(entry.full_at, self.now).ok_or(Refusal::Rate)?;
        }
        entry.live += 1;
        self.entries.insert(source, entry);
        Ok(())
    }

    /// A client that was admitted has gone. If its source has no clients, this does nothing.
    pub fn release(&mut self, source: Source) {
        let Some(entry) = self.entries.get_mut(&source) else { return };
        entry.live = entry.live.saturating_sub(1);
        if !entry.has_check {
            self.forget_or_recheck(source);
        }
    }

    /// How many clients a source has.
    pub fn live(&self, source: Source) -> u64 {
        self.entries.get(&source).map_or(0, |entry| entry.live)
    }

    /// How many sources are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many sources fit in the memory that is allocated.
    pub fn capacity(&self) -> usize {
        self.entries.capacity().max(self.checks.capacity())
    }

    /// Whether no source is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forget some of the sources that need not be kept any more. [`admit`](Limits::admit) does this too, so there is
    /// a reason to call it only if no clients come.
    pub fn tidy(&mut self, now: Duration) {
        self.now = self.now.max(now);
        for _ in 0..TIDY_BATCH {
            let Some(&(_, source)) = self.checks.front().filter(|&&(when, _)| when <= self.now) else {
                break;
            };
            self.checks.pop_front();
            if let Some(entry) = self.entries.get_mut(&source) {
                entry.has_check = false;
            }
            self.forget_or_recheck(source);
        }
        self.shrink();
    }

    /// Check a source that has no check to come: forget it, or check it again when its bucket must be full. A source
    /// with clients is checked when the last of them goes.
    fn forget_or_recheck(&mut self, source: Source) {
        let Some(entry) = self.entries.get_mut(&source).filter(|entry| entry.live == 0) else { return };
        match self.rate {
            Some(rate) if entry.full_at > rate.units(self.now) => {
                entry.has_check = true;
                self.checks.push_back((self.now.saturating_add(rate.per), source));
            }
            _ => {
                self.entries.remove(&source);
            }
        }
    }

    /// Free the memory that a flood took. The cost is in proportion to the number of sources forgotten.
    fn shrink(&mut self) {
        const SMALL: usize = 1024;
        if self.entries.capacity() > SMALL && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        if self.checks.capacity() > SMALL && self.checks.len() < self.checks.capacity() / 8 {
            self.checks.shrink_to(self.checks.len() * 2);
        }
    }
}
