//! The limits per source, compared with a simple model that keeps the whole history.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use prise::inside::limits::{Limits, Rate, Refusal, Source};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Only a few sources, so that each one often reaches its limits.
const SOURCES: u32 = 5;

const SECOND: Duration = Duration::from_secs(1);

fn source(n: u32) -> Source {
    Source::of(IpAddr::from(n.to_be_bytes()))
}

fn rate(clients: u32, per: Duration) -> Option<Rate> {
    Some(Rate { clients, per })
}

/// The model: all events so far.
#[derive(Default)]
struct History {
    now: Duration,
    admitted: HashMap<u32, Vec<Duration>>,
    released: HashMap<u32, usize>,
}

impl History {
    fn admitted(&self, n: u32) -> &[Duration] {
        self.admitted.get(&n).map_or(&[], Vec::as_slice)
    }

    fn live(&self, n: u32) -> usize {
        self.admitted(n).len() - self.released.get(&n).unwrap_or(&0)
    }

    /// Whether a client now exceeds the rate. The token bucket's rule: in no period since an earlier client may more
    /// clients come than the full bucket plus its refill during the period.
    fn exceeds_rate(&self, n: u32, rate: Rate) -> bool {
        let (clients, per) = (u128::from(rate.clients), rate.per.as_nanos());
        let admitted = self.admitted(n);
        (0..=admitted.len()).any(|first| {
            let count = (admitted.len() - first + 1) as u128;
            let since = admitted.get(first).unwrap_or(&self.now);
            count * per > clients * per + (self.now - *since).as_nanos() * clients
        })
    }

    fn admit(
        &mut self,
        n: u32,
        now: Duration,
        per_ip: Option<u32>,
        rate: Option<Rate>,
    ) -> Result<(), Refusal> {
        self.now = self.now.max(now);
        if per_ip.is_some_and(|most| self.live(n) >= most as usize) {
            return Err(Refusal::PerIp);
        }
        if rate.is_some_and(|rate| self.exceeds_rate(n, rate)) {
            return Err(Refusal::Rate);
        }
        self.admitted.entry(n).or_default().push(self.now);
        Ok(())
    }

    fn release(&mut self, n: u32) {
        if self.live(n) > 0 {
            *self.released.entry(n).or_default() += 1;
        }
    }

    /// The most sources that the table may keep: those with living clients, and those with a client within the last two
    /// `per`. (The table checks a source when its last client ends, then every `per`, and keeps it if a client came in
    /// the `per` before the check.)
    fn max_kept(&self, rate: Option<Rate>) -> usize {
        let kept_for = rate.map_or(Duration::ZERO, |rate| rate.per.saturating_mul(2));
        let is_kept = |at: &Duration| at.checked_add(kept_for).is_none_or(|until| until > self.now);
        (0..SOURCES).filter(|&n| self.live(n) > 0 || self.admitted(n).last().is_some_and(is_kept)).count()
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Admit(u32),
    Release(u32),
    /// The clock advances, perhaps far.
    Later(Duration),
    /// The clock goes back.
    Earlier(Duration),
}

/// Durations around the time in which a bucket fills, and of a few nanoseconds.
fn step(per: Duration) -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => (0..=12_u32).prop_map(move |twelfths| per / 12 * twelfths),
        2 => (0..3_u64).prop_map(Duration::from_nanos),
        1 => (0..4_u32).prop_map(move |times| per.saturating_mul(times)),
    ]
}

fn events(per: Duration) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..SOURCES).prop_map(Event::Admit),
        3 => (0..SOURCES).prop_map(Event::Release),
        3 => step(per).prop_map(Event::Later),
        1 => step(per).prop_map(Event::Earlier),
    ];
    prop::collection::vec(event, 0..200)
}

/// Any duration, including the longest ones.
fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
        (0..3_u64).prop_map(Duration::from_nanos),
        (0..3_u64).prop_map(|nanos| Duration::MAX - Duration::from_nanos(nanos)),
    ]
}

/// A limit of clients per source, and a rate; each may be missing.
fn limits() -> impl Strategy<Value = (Option<u32>, Option<Rate>)> {
    let per = prop_oneof![
        (1..5_u64).prop_map(Duration::from_secs),
        (1..5_u64).prop_map(Duration::from_nanos),
        any_duration(),
    ];
    let clients = prop_oneof![4 => 1..6_u32, 1 => any::<u32>()];
    let rate = (clients, per).prop_map(|(clients, per)| Rate { clients, per });
    (prop::option::of(0..4_u32), prop::option::of(rate))
}

fn limits_and_events() -> impl Strategy<Value = (Option<u32>, Option<Rate>, Duration, Vec<Event>)> {
    limits().prop_flat_map(|(per_ip, rate)| {
        let per = rate.map_or(SECOND, |rate| rate.per);
        (Just(per_ip), Just(rate), any_duration(), events(per))
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::with_cases(1000)
    })]

    #[test]
    fn limits_agree_with_the_model((per_ip, rate, epoch, events) in limits_and_events()) {
        let mut limits = Limits::new(per_ip, rate);
        let mut history = History::default();
        let mut now = epoch;
        for event in events {
            match event {
                Event::Admit(n) => {
                    let expected = history.admit(n, now, per_ip, rate);
                    prop_assert_eq!(limits.admit(source(n), now), expected, "source {} at {:?}", n, now);
                }
                Event::Release(n) => {
                    history.release(n);
                    limits.release(source(n));
                }
                Event::Later(by) => now = now.saturating_add(by),
                Event::Earlier(by) => now = now.saturating_sub(by),
            }
            for n in 0..SOURCES {
                prop_assert_eq!(limits.live(source(n)), history.live(n) as u64);
            }
            if matches!(event, Event::Admit(_)) {
                prop_assert!(limits.len() <= history.max_kept(rate), "{} sources are kept", limits.len());
            }
        }
    }

    #[test]
    fn in_the_end_no_source_is_kept((per_ip, rate, _, events) in limits_and_events()) {
        let mut limits = Limits::new(per_ip, rate);
        let (mut now, mut latest) = (Duration::ZERO, Duration::ZERO);
        let mut live = Vec::new();
        for event in events {
            match event {
                Event::Admit(n) => live.extend(limits.admit(source(n), now).map(|()| n)),
                Event::Release(n) => {
                    limits.release(source(n));
                    if let Some(at) = live.iter().position(|&one| one == n) {
                        live.swap_remove(at);
                    }
                }
                Event::Later(by) => now = now.saturating_add(by),
                Event::Earlier(by) => now = now.saturating_sub(by),
            }
            latest = latest.max(now);
        }
        for n in live {
            limits.release(source(n));
        }
        let per = rate.map_or(Duration::ZERO, |rate| rate.per);
        // at the end of the clock's range, a bucket may not have time to fill
        prop_assume!(latest.checked_add(per).is_some());
        limits.tidy(latest.saturating_add(per));
        prop_assert_eq!(limits.len(), 0);
        prop_assert!(limits.is_empty());
    }

    #[test]
    fn an_ipv4_address_and_its_mapped_form_are_one_source(address: [u8; 4]) {
        let address = std::net::Ipv4Addr::from(address);
        prop_assert_eq!(Source::of(address.into()), Source::of(address.to_ipv6_mapped().into()));
        prop_assert_eq!(Source::of(address.into()).to_string(), address.to_string());
    }

    #[test]
    fn ipv6_addresses_of_one_64_are_one_source(one: u64, halves: [u64; 2]) {
        // addresses below 2^64 are IPv4-mapped or belong to no host
        prop_assume!(one > 0);
        let [a, b] = halves.map(|half| u128::from(one) << 64 | u128::from(half));
        prop_assert_eq!(Source::of(a.to_be_bytes().into()), Source::of(b.to_be_bytes().into()));
        let next = (a ^ 1 << 64).to_be_bytes();
        prop_assert_ne!(Source::of(a.to_be_bytes().into()), Source::of(next.into()));
    }
}

#[test]
fn a_source_is_displayed_as_its_address_or_its_64() {
    for (address, shown) in [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        ("::1", "::/64"),
        ("::192.0.2.7", "::/64"),
    ] {
        assert_eq!(Source::of(address.parse().expect("an address")).to_string(), shown);
    }
    assert_eq!([Refusal::PerIp, Refusal::Rate].map(|why| why.to_string()), ["per-ip", "rate"]);
}

#[test]
fn a_rate_is_two_positive_integers() {
    let form = "not N/SECONDS, such as 10/60";
    let clients = "N must be a whole number from 1 to 4294967295";
    let seconds = "SECONDS must be a whole number from 1 to 18446744073709551615";
    let of = |clients, seconds| Ok(Rate { clients, per: Duration::from_secs(seconds) });
    for (text, parsed) in [
        ("10/60", of(10, 60)),
        ("1/1", of(1, 1)),
        ("010/060", of(10, 60)),
        ("4294967295/18446744073709551615", of(u32::MAX, u64::MAX)),
        ("", Err(form)),
        ("10", Err(form)),
        ("10:60", Err(form)),
        ("/60", Err(clients)),
        ("0/60", Err(clients)),
        ("-1/60", Err(clients)),
        ("+1/60", Err(clients)),
        (" 1/60", Err(clients)),
        ("1.5/60", Err(clients)),
        ("4294967296/60", Err(clients)),
        ("10/", Err(seconds)),
        ("10/0", Err(seconds)),
        ("10/+1", Err(seconds)),
        ("10/1/1", Err(seconds)),
        ("10/1s", Err(seconds)),
        ("10/18446744073709551616", Err(seconds)),
    ] {
        assert_eq!(text.parse(), parsed, "{text:?}");
    }
}

#[test]
fn without_limits_every_client_is_admitted() {
    let mut limits = Limits::new(None, None);
    for n in 1..=1000 {
        assert_eq!(limits.admit(source(7), Duration::ZERO), Ok(()));
        assert_eq!(limits.live(source(7)), n);
    }
}

#[test]
fn tokens_come_back_on_the_exact_nanosecond() {
    let mut limits = Limits::new(None, rate(3, SECOND));
    for _ in 0..3 {
        assert_eq!(limits.admit(source(7), Duration::ZERO), Ok(()));
    }
    for nth in 1..=100_000_u64 {
        // the bucket is empty; the next token comes at the end of this third of a second
        let whole = Duration::from_nanos((nth * 1_000_000_000).div_ceil(3));
        let early = whole - Duration::from_nanos(1);
        assert_eq!(limits.admit(source(7), early), Err(Refusal::Rate), "token {nth}");
        assert_eq!(limits.admit(source(7), whole), Ok(()), "token {nth}");
    }
}

#[test]
fn refused_clients_do_not_delay_the_next_token() {
    let mut limits = Limits::new(Some(5), rate(1, SECOND));
    assert_eq!(limits.admit(source(7), Duration::ZERO), Ok(()));
    for microsecond in 0..1_000_000 {
        let now = Duration::from_micros(microsecond);
        assert_eq!(limits.admit(source(7), now), Err(Refusal::Rate));
    }
    assert_eq!(limits.admit(source(7), SECOND), Ok(()));
    assert_eq!(limits.live(source(7)), 2);
}

#[test]
fn a_client_above_the_limit_costs_no_token() {
    let mut limits = Limits::new(Some(1), rate(2, SECOND));
    assert_eq!(limits.admit(source(7), Duration::ZERO), Ok(()));
    for _ in 0..10 {
        assert_eq!(limits.admit(source(7), Duration::ZERO), Err(Refusal::PerIp));
    }
    limits.release(source(7));
    assert_eq!(limits.admit(source(7), Duration::ZERO), Ok(()));
    limits.release(source(7));
    assert_eq!(limits.admit(source(7), Duration::ZERO), Err(Refusal::Rate));
}

#[test]
fn an_extra_release_has_no_effect() {
    let mut limits = Limits::new(Some(1), rate(9, SECOND));
    limits.release(source(7));
    assert_eq!(limits.admit(source(7), Duration::ZERO), Ok(()));
    limits.release(source(7));
    limits.release(source(7));
    assert_eq!(limits.admit(source(7), Duration::ZERO), Ok(()));
    assert_eq!(limits.admit(source(7), Duration::ZERO), Err(Refusal::PerIp));
}

#[test]
fn a_million_sources_are_forgotten_a_few_at_a_time() {
    const FLOOD: u32 = 1_000_000;
    let mut limits = Limits::new(Some(1), rate(1, SECOND));
    for n in 0..FLOOD {
        assert_eq!(limits.admit(source(n), Duration::ZERO), Ok(()));
        limits.release(source(n));
    }
    assert_eq!((limits.len(), limits.is_empty()), (FLOOD as usize, false));
    assert!(limits.capacity() >= FLOOD as usize);
    let mut calls = 0;
    while !limits.is_empty() {
        let before = limits.len();
        limits.tidy(SECOND);
        calls += 1;
        assert!(before - limits.len() <= 100, "one call forgot {} sources", before - limits.len());
        assert!(calls <= FLOOD / 10, "{} sources are kept after {calls} calls", limits.len());
    }
    assert!(limits.capacity() <= 2000, "the table still has room for {} sources", limits.capacity());
}
