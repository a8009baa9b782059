//! Caps and rates per source, beside a model that forgets nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use prise::inside::limits::{Limits, Rate, Refusal, Source};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// A tenth source is as good as a thousandth: few, so that they meet their limits.
const SOURCES: u32 = 5;

const SECOND: Duration = Duration::from_secs(1);

fn source(n: u32) -> Source {
    Source::of(IpAddr::from(n.to_be_bytes()))
}

fn rate(clients: u32, per: Duration) -> Option<Rate> {
    Some(Rate { clients, per })
}

/// All that has happened.
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

    /// What a bucket means: since no moment have more come than it holds, and was refilled since.
    fn comes_too_fast(&self, n: u32, rate: Rate) -> bool {
        let (clients, per) = (u128::from(rate.clients), rate.per.as_nanos());
        let admitted = self.admitted(n);
        (0..=admitted.len()).any(|first| {
            let came = (admitted.len() - first + 1) as u128;
            let since = admitted.get(first).unwrap_or(&self.now);
            came * per > clients * per + (self.now - *since).as_nanos() * clients
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
        if rate.is_some_and(|rate| self.comes_too_fast(n, rate)) {
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

    /// How many sources there is a reason to keep: a source is looked at when its last client goes, and
    /// then every `per`; when it was last looked at, a client had come within the `per` before that.
    fn worth_keeping(&self, rate: Option<Rate>) -> usize {
        let lately = rate.map_or(Duration::ZERO, |rate| rate.per.saturating_mul(2));
        let is_late = |at: &Duration| at.checked_add(lately).is_none_or(|until| until > self.now);
        (0..SOURCES).filter(|&n| self.live(n) > 0 || self.admitted(n).last().is_some_and(is_late)).count()
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Admit(u32),
    Release(u32),
    /// Time goes on, or far on.
    Later(Duration),
    /// Time goes back.
    Earlier(Duration),
}

/// Durations around that in which a bucket fills, and around the nanosecond.
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

/// Any duration, the longest too.
fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
        (0..3_u64).prop_map(Duration::from_nanos),
        (0..3_u64).prop_map(|nanos| Duration::MAX - Duration::from_nanos(nanos)),
    ]
}

/// A cap, and how many clients come in which time.
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
    fn limits_do_what_all_that_has_happened_says((per_ip, rate, epoch, events) in limits_and_events()) {
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
                prop_assert!(limits.len() <= history.worth_keeping(rate), "{} are kept", limits.len());
            }
        }
    }

    #[test]
    fn in_the_end_nobody_is_kept((per_ip, rate, _, events) in limits_and_events()) {
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
        // time has an end, at which a bucket need not be full
        prop_assume!(latest.checked_add(per).is_some());
        limits.tidy(latest.saturating_add(per));
        prop_assert_eq!(limits.len(), 0);
        prop_assert!(limits.is_empty());
    }

    #[test]
    fn an_address_and_its_mapped_form_are_one_source(address: [u8; 4]) {
        let address = std::net::Ipv4Addr::from(address);
        prop_assert_eq!(Source::of(address.into()), Source::of(address.to_ipv6_mapped().into()));
        prop_assert_eq!(Source::of(address.into()).to_string(), address.to_string());
    }

    #[test]
    fn ipv6_addresses_are_one_source_when_their_upper_halves_are_the_same(one: u64, halves: [u64; 2]) {
        // below 2^64 are the mapped addresses, and others that are no host's
        prop_assume!(one > 0);
        let [a, b] = halves.map(|half| u128::from(one) << 64 | u128::from(half));
        prop_assert_eq!(Source::of(a.to_be_bytes().into()), Source::of(b.to_be_bytes().into()));
        let next = (a ^ 1 << 64).to_be_bytes();
        prop_assert_ne!(Source::of(a.to_be_bytes().into()), Source::of(next.into()));
    }
}

#[test]
fn a_source_is_shown_as_its_address_or_its_64() {
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
fn without_limits_everybody_is_admitted() {
    let mut limits = Limits::new(None, None);
    for n in 1..=1000 {
        assert_eq!(limits.admit(source(7), Duration::ZERO), Ok(()));
        assert_eq!(limits.live(source(7)), n);
    }
}

#[test]
fn tokens_come_back_to_the_nanosecond_for_ever() {
    let mut limits = Limits::new(None, rate(3, SECOND));
    for _ in 0..3 {
        assert_eq!(limits.admit(source(7), Duration::ZERO), Ok(()));
    }
    for nth in 1..=100_000_u64 {
        // the bucket is empty, and the next token is there when this third of a second is over
        let whole = Duration::from_nanos((nth * 1_000_000_000).div_ceil(3));
        let early = whole - Duration::from_nanos(1);
        assert_eq!(limits.admit(source(7), early), Err(Refusal::Rate), "token {nth}");
        assert_eq!(limits.admit(source(7), whole), Ok(()), "token {nth}");
    }
}

#[test]
fn a_flood_of_refused_clients_delays_nobody() {
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
fn a_client_over_the_cap_costs_no_token() {
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
fn a_release_too_many_is_none() {
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
        assert!(before - limits.len() <= 100, "one call forgot {}", before - limits.len());
        assert!(calls <= FLOOD / 10, "{} are kept after {calls} calls", limits.len());
    }
    assert!(limits.capacity() <= 2000, "there is still memory for {}", limits.capacity());
}
