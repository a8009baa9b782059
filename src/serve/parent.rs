//! The parent's loop: wait, handle signals, reap, run deadlines, accept, fork, stop.
//!
//! Signals are blocked except during the wait, and each flag is cleared before its work is done, so no signal is lost.

use std::collections::VecDeque;
use std::fmt::Display;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{ForkResult, Pid};

use crate::addresses::unmapped;
use crate::error::{Error, Exit, strerror, system};
use crate::ffi::{
    self, Ended, Unforked, accept4, child_noted, fork, ppoll, status_asked, stop_asked, stops_asked,
};
use crate::serve::child::{ChildSetup, become_child};
use crate::serve::children::{Children, MAX_CHILDREN};
use crate::serve::client::Client;
use crate::serve::counters::Counters;
use crate::serve::hangup::Hangups;
use crate::serve::limits::{Limits, Source};
use crate::serve::options::Options;
use crate::serve::pause::{BACK_OFF, Pauses};
use crate::serve::proxied::{Outcome, ProxiedClient};
use crate::serve::reaper::Reaper;
use crate::serve::stop::{Step, Stop};
use crate::serve::{log, notify, signals};

/// The most clients accepted in one round of the loop.
const ACCEPT_BATCH: usize = 32;
/// The most children reaped in one round of the loop.
const REAP_BATCH: usize = 256;

/// The state of the parent process. After each fork, the kernel copies every page that the parent writes to: the
/// alignment keeps most of this state on one page.
#[repr(align(4096))]
pub struct Parent {
    options: Options,
    setup: ChildSetup,
    /// `None` once the server stops.
    listener: Option<OwnedFd>,
    /// The last wait found a client in the backlog.
    listener_ready: bool,
    /// The address that all clients connect to; `None` if it may differ from one client to the next.
    local: Option<SocketAddr>,
    signal_delivery: signals::Delivery,
    children: Children,
    /// `None` if no limit per source is set.
    limits: Option<Limits>,
    reaper: Reaper,
    /// `None` without `--hangup`.
    hangups: Option<Hangups>,
    /// Clients whose PROXY header is not complete yet.
    proxied: Vec<ProxiedClient>,
    /// Clients for which fork has failed: it is tried again.
    waiting_for_fork: VecDeque<Client>,
    pauses: Pauses,
    stop: Option<Stop>,
    /// The server stops because its listening socket was shut down, not because a signal asked for it.
    listener_lost: bool,
    counters: Counters,
    /// Written to in each wait, so it lies in memory that children do not inherit: no page of it is copied for them.
    poll_fds: Unforked<libc::pollfd>,
    /// Like `poll_fds`, written to in each round.
    ended: Unforked<Ended>,
}

impl Parent {
    /// Prepare to serve: install the signal handlers, reserve memory.
    ///
    /// # Errors
    /// [`Error::System`]
    pub fn new(
        options: Options,
        mut setup: ChildSetup,
        listener: OwnedFd,
        local: Option<SocketAddr>,
    ) -> Result<Box<Parent>, Error> {
        signals::install_handlers()?;
        setup.signals_to_reset = ffi::not_at_default();
        // the program that exec'd this server may have left children that ended before the handler was installed
        raise(Signal::SIGCHLD).map_err(system("raise"))?;
        let hangups = options.hangup.then(Hangups::new).transpose().map_err(system("epoll_create"))?;
        let max_children = options.cap().min(MAX_CHILDREN);
        Ok(Box::new(Parent {
            listener: Some(listener),
            listener_ready: false,
            local,
            signal_delivery: signals::Delivery::default(),
            children: Children::new(max_children, options.timeout).map_err(system("mmap"))?,
            limits: (options.per_ip.is_some() || options.rate.is_some())
                .then(|| Limits::new(options.per_ip, options.rate)),
            reaper: Reaper::new(options.reaper),
            hangups,
            proxied: Vec::new(),
            waiting_for_fork: VecDeque::new(),
            pauses: Pauses::default(),
            stop: None,
            listener_lost: false,
            counters: Counters::begin(),
            poll_fds: Unforked::with_capacity(2 * max_children + 2).map_err(system("mmap"))?,
            ended: Unforked::with_capacity(REAP_BATCH).map_err(system("mmap"))?,
            options,
            setup,
        }))
    }

    /// Serve until a signal asks to stop or the listening socket is shut down, and then until the last client is done.
    pub fn run(mut self: Box<Parent>) -> Exit {
        loop {
            let now = Instant::now();
            self.handle_signals(now);
            self.reap(now);
            self.children.run_deadlines(now);
            self.read_proxy_headers(now);
            self.retry_forks(now);
            self.accept_clients(now);
            if self.stop.is_some() && self.children.is_empty() && self.waiting_clients() == 0 {
                break;
            }
            self.wait();
        }
        log::stopped(&self.counters);
        if self.listener_lost { Exit::System } else { Exit::Success }
    }

    fn cap(&self) -> usize {
        self.options.cap()
    }

    /// How many clients were accepted and have no child yet.
    fn waiting_clients(&self) -> usize {
        self.proxied.len() + self.waiting_for_fork.len()
    }

    // ---- wait ----

    /// Sleep until a descriptor is ready, a signal comes, or a deadline passes.
    fn wait(&mut self) {
        let now = Instant::now();
        let readable = |fd: &OwnedFd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let may_accept = self.may_accept(now);
        let fds = &mut self.poll_fds;
        fds.clear();
        fds.extend(self.listener.iter().filter(|_| may_accept).map(readable));
        let listeners = fds.len();
        fds.extend(self.hangups.iter().flat_map(Hangups::poll_fds));
        let hangups = listeners..fds.len();
        fds.extend(self.proxied.iter().map(|client| readable(client.socket())));
        let timeout = self.next_deadline(now).map(|due| due.saturating_duration_since(now));
        let mut failed = false;
        match ppoll(&mut self.poll_fds, timeout, &SigSet::empty()) {
            Ok(()) => {
                self.listener_ready = self.poll_fds[..listeners].iter().any(|polled| polled.revents != 0);
                let has_limits = self.limits.is_some();
                self.signal_delivery.wait_ended(self.children.len(), self.options.cap(), has_limits);
            }
            // a signal has come; the loop handles signals first
            Err(Errno::EINTR) => self.signal_delivery.delivered(),
            // ENOMEM or an unexpected error: sleep, so that the loop does not spin; clients and signals may have come
            Err(_) => {
                std::thread::sleep(BACK_OFF);
                failed = true;
                self.listener_ready = true;
                signals::deliver_pending();
            }
        }
        for (client, polled) in self.proxied.iter_mut().zip(&self.poll_fds[hangups.end..]) {
            client.set_ready(failed || polled.revents != 0);
        }
        let now = Instant::now();
        for (serial, pid) in
            self.hangups.iter_mut().flat_map(|set| set.clients_gone(&self.poll_fds[hangups.clone()]))
        {
            self.children.client_gone(serial, pid, now);
        }
    }

    /// When to wake up if no descriptor is ready and no signal comes.
    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        // once the listener is closed, only clients that wait for a fork need the end of the pause
        let retries = self.listener.is_some() || !self.waiting_for_fork.is_empty();
        let pause = self.pauses.until().filter(|_| retries);
        let grace = self.stop.as_ref().and_then(Stop::grace_ends);
        let hangups = self.hangups.as_ref().and_then(Hangups::poll_again_after).map(|time| now + time);
        let proxies = self.proxied.iter().map(ProxiedClient::deadline).min();
        [pause, grace, hangups, proxies, self.children.next_deadline(), self.reaper.next_check()]
            .into_iter()
            .flatten()
            .min()
    }

    // ---- signals ----

    fn handle_signals(&mut self, now: Instant) {
        if status_asked() {
            log::status(&self.counters, self.children.len(), self.cap(), self.waiting_clients());
        }
        self.handle_stop_signals(stop_asked(), now);
    }

    /// Stop accepting, and let the children finish.
    fn begin_stop(&mut self, why: impl Display, now: Instant) {
        log::stopping(why, self.children.len(), self.options.grace);
        notify::stopping();
        self.listener = None;
        self.stop = Some(Stop::begin(stops_asked(), self.options.grace, now));
    }

    fn handle_stop_signals(&mut self, signal: Option<Signal>, now: Instant) {
        let signals = stops_asked();
        if self.stop.is_none()
            && let Some(signal) = signal
        {
            self.begin_stop(log::SignalName(signal as i32), now);
        }
        // with `--grace 0`, the first call already ends the grace period
        let step = self.stop.as_mut().map_or(Step::Wait, |stop| stop.step(signals, now));
        if step != Step::Wait {
            self.refuse_all("stopping");
            self.children.terminate_all(now, "stopping");
        }
        if step == Step::Kill {
            self.children.make_kills_due(now);
        }
    }

    // ---- reap ----

    fn reap(&mut self, now: Instant) {
        let named = child_noted();
        if named.is_none() && self.reaper.next_check().is_none_or(|due| due > now) {
            return;
        }
        self.ended.clear();
        self.reaper.reap(named, now, &mut self.ended);
        (0..self.ended.len()).for_each(|n| self.record_end(self.ended[n], now));
    }

    fn record_end(&mut self, ended: Ended, now: Instant) {
        // a child of the program that exec'd this server
        let Some(child) = self.children.remove(ended.pid) else { return };
        if let Some(hangups) = &mut self.hangups {
            hangups.unwatch((child.serial as u32, ended.pid));
        }
        if let Some(limits) = &mut self.limits {
            limits.release(child.source);
        }
        self.counters.ended += 1;
        log::end(&ended, child.client, now - child.started, self.children.len(), self.cap());
    }

    // ---- accept ----

    /// Whether to accept another client now. It also begins and ends the pause at `--max-children`.
    fn may_accept(&mut self, now: Instant) -> bool {
        if self.listener.is_none() {
            return false;
        }
        if self.is_backing_off(now) || !self.waiting_for_fork.is_empty() {
            return false;
        }
        if self.children.len() + self.proxied.len() >= self.cap() {
            self.pause("max-children", None, now);
            return false;
        }
        if self.pauses.waits_for_slot() {
            self.resume();
        }
        true
    }

    fn accept_clients(&mut self, now: Instant) {
        // in a pause, call accept even if no client waits: EAGAIN then ends the pause
        if !std::mem::take(&mut self.listener_ready) && !self.pauses.is_paused() {
            return;
        }
        let mut failures = 0;
        for _ in 0..ACCEPT_BATCH {
            if !self.may_accept(now) {
                return;
            }
            let Some(listener) = &self.listener else { return };
            match accept4(listener) {
                Ok((socket, address)) => {
                    self.resume();
                    self.counters.accepted += 1;
                    self.signal_delivery.client_accepted();
                    self.admit_or_read_header(
                        Client { socket, address: unmapped(address), local: None },
                        now,
                    );
                }
                // no client waits, and no resource is exhausted
                Err(Errno::EAGAIN) => return self.resume(),
                // a signal, or an error that concerns one client: try the next. A whole batch of them has another cause
                Err(
                    Errno::EINTR
                    | Errno::ECONNABORTED
                    | Errno::EPROTO
                    | Errno::EPERM
                    | Errno::ENETDOWN
                    | Errno::ENOPROTOOPT
                    | Errno::EHOSTDOWN
                    | Errno::EHOSTUNREACH
                    | Errno::EOPNOTSUPP
                    | Errno::ENETUNREACH
                    | Errno::ETIMEDOUT,
                ) if failures < ACCEPT_BATCH - 1 => failures += 1,
                // another process that shares the listening socket has shut it down
                Err(errno) if getsockopt(listener, sockopt::AcceptConn) == Ok(false) => {
                    return self.stop_for_lost_listener(errno, now);
                }
                Err(errno) => return self.back_off(errno, now),
            }
        }
    }

    /// No client can connect any more: stop as if a signal had asked for it.
    fn stop_for_lost_listener(&mut self, errno: Errno, now: Instant) {
        log::failed(std::process::id(), "accept", strerror(errno));
        self.listener_lost = true;
        self.begin_stop("accept", now);
    }

    /// Read a proxy's header first if the client comes from a proxy; admit any other client.
    fn admit_or_read_header(&mut self, client: Client, now: Instant) {
        if self.options.proxy_protocol.iter().any(|network| network.contains(client.address.ip())) {
            self.read_proxy_header(ProxiedClient::new(client, now), now);
        } else {
            self.admit(client, now);
        }
    }

    /// Read what has come of each PROXY header. Admit a client whose header is complete; refuse one whose header is
    /// wrong or late.
    fn read_proxy_headers(&mut self, now: Instant) {
        for client in std::mem::take(&mut self.proxied) {
            self.read_proxy_header(client, now);
        }
    }

    fn read_proxy_header(&mut self, client: ProxiedClient, now: Instant) {
        match client.read_header(now) {
            Err(client) => self.proxied.push(client),
            Ok(Outcome::Client(client)) => self.admit(client, now),
            Ok(Outcome::Refused(proxy, why)) => self.refuse(proxy, why),
        }
    }

    /// Start a child for the client, unless a limit forbids it.
    fn admit(&mut self, client: Client, now: Instant) {
        let (source, elapsed) = (Source::of(client.address.ip()), now - self.counters.begun);
        match self.limits.as_mut().map(|limits| limits.admit(source, elapsed)) {
            // clients that already wait for a fork go first
            None | Some(Ok(())) if self.is_backing_off(now) || !self.waiting_for_fork.is_empty() => {
                self.waiting_for_fork.push_back(client);
            }
            None | Some(Ok(())) => self.fork_child(client, now),
            Some(Err(why)) => self.refuse(client.address, why),
        }
    }

    fn refuse(&mut self, peer: SocketAddr, why: impl Display) {
        self.counters.refused += 1;
        log::refused(peer, why);
    }

    /// Refuse every client that has no child yet.
    fn refuse_all(&mut self, why: &str) {
        for client in std::mem::take(&mut self.proxied) {
            self.refuse(client.proxy_address(), why);
        }
        for client in std::mem::take(&mut self.waiting_for_fork) {
            if let Some(limits) = &mut self.limits {
                limits.release(Source::of(client.address.ip()));
            }
            self.refuse(client.address, why);
        }
    }

    // ---- fork ----

    /// Fork again for the clients for which fork has failed.
    fn retry_forks(&mut self, now: Instant) {
        while !self.is_backing_off(now)
            && let Some(client) = self.waiting_for_fork.pop_front()
        {
            self.fork_child(client, now);
        }
    }

    /// Fork a child for a client.
    fn fork_child(&mut self, client: Client, now: Instant) {
        self.setup.set_connection(&client, self.local);
        match fork() {
            Err(errno) => {
                self.waiting_for_fork.push_front(client);
                self.back_off(errno, now);
            }
            Ok(ForkResult::Child) => become_child(&self.setup, client.socket),
            Ok(ForkResult::Parent { child }) => self.add_child(child, client, now),
        }
    }

    fn add_child(&mut self, child: Pid, client: Client, now: Instant) {
        let pid = child.as_raw();
        self.resume();
        self.counters.started += 1;
        self.reaper.child_started(pid, now);
        let serial = self.children.next_serial();
        self.children.add(pid, client.address, now);
        log::start(pid, client.address, self.children.len(), self.cap());
        // the parent's copy of the client's socket is closed here, unless `watch` keeps it
        if let Some(hangups) = &mut self.hangups
            && let Err(errno) = hangups.watch(client.socket, (serial as u32, pid))
        {
            log::failed(std::process::id(), "hangup", strerror(errno));
        }
    }

    // ---- pauses ----

    /// A resource is exhausted (descriptors, memory, processes): wait for [`BACK_OFF`] before the next accept or fork.
    fn back_off(&mut self, errno: Errno, now: Instant) {
        self.counters.exhausted += 1;
        self.pause(&format!("{errno:?}"), Some(now + BACK_OFF), now);
    }

    fn is_backing_off(&self, now: Instant) -> bool {
        self.pauses.until().is_some_and(|until| until > now)
    }

    fn pause(&mut self, why: &str, until: Option<Instant>, now: Instant) {
        if self.pauses.begin(until, now) {
            log::paused(why, self.children.len(), self.cap());
        }
    }

    fn resume(&mut self) {
        if self.pauses.end() {
            log::resumed(self.children.len(), self.cap());
        }
    }
}
