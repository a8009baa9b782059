//! Caps and rates per source: how many clients one may have at a time, and how fast they may come.
//!
//! Pure: the caller brings the addresses and the time.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use crate::options::digits;

/// How many entries one call looks at to forget them, so that none takes long, even after a flood.
const AT_ONCE: usize = 64;

/// Where a client comes from, as far as limits tell clients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An IPv4 address, also where it comes mapped into IPv6.
    V4(Ipv4Addr),
    /// The upper half of an IPv6 address: a host may take any address of its /64.
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

/// So many clients in such a time: a token bucket that holds `clients` tokens, and fills in `per`.
///
/// It is kept as the moment at which it will be full. Time is counted in units of which `clients` make a
/// nanosecond: a token then takes as many units to come back as `per` has nanoseconds, and nothing is ever
/// rounded. The longest duration has fewer than 2^94 nanoseconds, so a time has fewer than 2^126 units,
/// and the sums below fit in 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many clients.
    pub clients: u32,
    /// In which time.
    pub per: Duration,
}

impl Rate {
    fn units(self, time: Duration) -> u128 {
        time.as_nanos() * u128::from(self.clients)
    }

    /// Take a token: when the bucket will be full then, or none if it is empty.
    fn take(self, full_at: u128, now: Duration) -> Option<u128> {
        let token = self.per.as_nanos();
        let then = full_at.max(self.units(now)) + token;
        (then <= self.units(now) + self.units(self.per)).then_some(then)
    }
}

/// `N/SECONDS`, both positive.
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

/// A number that is not zero.
fn positive<N: FromStr + Default + PartialEq>(text: &str) -> Option<N> {
    digits(text).filter(|number| *number != N::default())
}

/// Why a client is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its source has as many clients as it may.
    PerIp,
    /// Its source's clients come too fast.
    Rate,
}

/// The words for the log, after `why=`.
impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::PerIp => "per-ip",
            Refusal::Rate => "rate",
        })
    }
}

/// Who is there, and who was lately.
///
/// A source is kept while it has a client, and after that until its bucket is full again, which is known
/// when it is looked at: when its last client goes, and every `per` from then on.
pub struct Limits {
    per_ip: Option<u32>,
    rate: Option<Rate>,
    /// The latest time that a caller brought.
    now: Duration,
    entries: HashMap<Source, Entry>,
    /// When to look at which source. Each is in it once at most, and the earliest is the first: the time
    /// to wait is the same for all.
    due: VecDeque<(Duration, Source)>,
}

/// What is known of a source. One that is not known has no client, and its bucket is full.
#[derive(Clone, Copy, Default)]
struct Entry {
    live: u64,
    full_at: u128,
    is_due: bool,
}

impl Limits {
    /// Limits, of which each may be absent.
    pub fn new(per_ip: Option<u32>, rate: Option<Rate>) -> Limits {
        Limits { per_ip, rate, now: Duration::ZERO, entries: HashMap::new(), due: VecDeque::new() }
    }

    /// Admit a client, which then takes a place, until it is [released](Limits::release), and a token. A
    /// refused one takes nothing: however many come, the source recovers as fast.
    ///
    /// `now` is a monotonic time since any epoch; an earlier one than before counts as the same.
    ///
    /// # Errors
    /// Which limit the source has reached; with both, its places.
    pub fn admit(&mut self, source: Source, now: Duration) -> Result<(), Refusal> {
        self.tidy(now);
        let mut entry = self.entries.get(&source).copied().unwrap_or_default();
        if self.per_ip.is_some_and(|most| entry.live >= u64::from(most)) {
            return Err(Refusal::PerIp);
        }
        if let Some(rate) = self.rate {
            entry.full_at = rate.take(entry.full_at, self.now).ok_or(Refusal::Rate)?;
        }
        entry.live += 1;
        self.entries.insert(source, entry);
        Ok(())
    }

    /// A client that was admitted has gone. Where a source has none, nothing happens.
    pub fn release(&mut self, source: Source) {
        let Some(entry) = self.entries.get_mut(&source) else { return };
        entry.live = entry.live.saturating_sub(1);
        if !entry.is_due {
            self.look_at(source);
        }
    }

    /// How many clients of a source are there.
    pub fn live(&self, source: Source) -> u64 {
        self.entries.get(&source).map_or(0, |entry| entry.live)
    }

    /// How many sources are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many sources there is memory for.
    pub fn capacity(&self) -> usize {
        self.entries.capacity().max(self.due.capacity())
    }

    /// Whether no source is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forget some of the sources that need not be kept any more. [`admit`](Limits::admit) does it too, so
    /// that only a server without clients has a reason to call this.
    pub fn tidy(&mut self, now: Duration) {
        self.now = self.now.max(now);
        for _ in 0..AT_ONCE {
            let Some(&(_, source)) = self.due.front().filter(|&&(when, _)| when <= self.now) else { break };
            self.due.pop_front();
            if let Some(entry) = self.entries.get_mut(&source) {
                entry.is_due = false;
            }
            self.look_at(source);
        }
        self.give_memory_back();
    }

    /// Look at a source that waits for no look: forget it, or look again when its bucket must be full. One
    /// with a client is looked at when that goes.
    fn look_at(&mut self, source: Source) {
        let Some(entry) = self.entries.get_mut(&source).filter(|entry| entry.live == 0) else { return };
        match self.rate {
            Some(rate) if entry.full_at > rate.units(self.now) => {
                entry.is_due = true;
                self.due.push_back((self.now.saturating_add(rate.per), source));
            }
            _ => {
                self.entries.remove(&source);
            }
        }
    }

    /// After a flood, let its memory go. The cost is in proportion to what was forgotten.
    fn give_memory_back(&mut self) {
        const SMALL: usize = 1024;
        if self.entries.capacity() > SMALL && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        if self.due.capacity() > SMALL && self.due.len() < self.due.capacity() / 8 {
            self.due.shrink_to(self.due.len() * 2);
        }
    }
}
