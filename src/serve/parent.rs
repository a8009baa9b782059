//! The loop: wait, reap, act on what is due, accept, fork, stop.
//!
//! Signals are blocked but for the wait, and each flag is cleared before its work is done: none is lost.

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
use crate::serve::child::{Recipe, become_child};
use crate::serve::children::{Children, MOST};
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

/// So many clients are accepted before the loop looks around.
const BATCH: usize = 32;
/// So many children that have ended are reaped before the loop looks at them.
const AT_ONCE: usize = 256;

/// The one process that accepts. What it writes to between two forks is copied for each child: most of that is
/// one page.
#[repr(align(4096))]
pub struct Parent {
    options: Options,
    recipe: Recipe,
    listener: Option<OwnedFd>,
    /// A client waits there, as the last wait has seen.
    ready: bool,
    /// Where all clients connect to; none where that differs from one to the next.
    local: Option<SocketAddr>,
    turns: signals::Turns,
    children: Children,
    /// None where there are none.
    limits: Option<Limits>,
    reaper: Reaper,
    hangups: Option<Hangups>,
    /// Clients whose proxy's header has not come whole yet.
    proxied: Vec<ProxiedClient>,
    /// Clients for whom fork has failed: they were accepted, and are not dropped.
    waiting: VecDeque<Client>,
    pauses: Pauses,
    stop: Option<Stop>,
    /// The socket listens no more, though nobody asked this server to stop.
    listener_lost: bool,
    counters: Counters,
    /// Written to in each wait, and in memory that children do not have: no page of it is copied for them.
    polled: Unforked<libc::pollfd>,
    /// Likewise.
    ended: Unforked<Ended>,
}

impl Parent {
    /// With a socket that listens, and where all clients connect to, if that is one place.
    ///
    /// # Errors
    /// [`Error::System`]
    pub fn new(
        options: Options,
        mut recipe: Recipe,
        listener: OwnedFd,
        local: Option<SocketAddr>,
    ) -> Result<Box<Parent>, Error> {
        signals::block()?;
        recipe.signals = ffi::not_at_default();
        // who started us may have left us children that have ended: their signals are over
        raise(Signal::SIGCHLD).map_err(system("raise"))?;
        let hangups = options.hangup.then(Hangups::new).transpose().map_err(system("epoll_create"))?;
        let most = options.cap().min(MOST);
        Ok(Box::new(Parent {
            listener: Some(listener),
            ready: false,
            local,
            turns: signals::Turns::default(),
            children: Children::new(most, options.timeout).map_err(system("mmap"))?,
            limits: (options.per_ip.is_some() || options.rate.is_some())
                .then(|| Limits::new(options.per_ip, options.rate)),
            reaper: Reaper::new(options.reaper),
            hangups,
            proxied: Vec::new(),
            waiting: VecDeque::new(),
            pauses: Pauses::default(),
            stop: None,
            listener_lost: false,
            counters: Counters::begin(),
            polled: Unforked::with_room(2 * most + 2).map_err(system("mmap"))?,
            ended: Unforked::with_room(AT_ONCE).map_err(system("mmap"))?,
            options,
            recipe,
        }))
    }

    /// Serve until a signal asks to stop, or the socket listens no more, and nobody is left.
    pub fn run(mut self: Box<Parent>) -> Exit {
        loop {
            let now = Instant::now();
            self.heed_signals(now);
            self.reap(now);
            self.children.act(now);
            self.read_proxy_headers(now);
            self.serve_waiting(now);
            self.accept(now);
            if self.stop.is_some() && self.children.is_empty() && self.without_child() == 0 {
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

    /// Clients that were accepted, and have no child yet.
    fn without_child(&self) -> usize {
        self.proxied.len() + self.waiting.len()
    }

    // ---- wait ----

    /// Sleep until a descriptor, a signal, or the time tells that there is something to do.
    fn wait(&mut self) {
        let now = Instant::now();
        let readable = |fd: &OwnedFd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let may_accept = self.may_accept(now);
        let fds = &mut self.polled;
        fds.clear();
        fds.extend(self.listener.iter().filter(|_| may_accept).map(readable));
        let listeners = fds.len();
        fds.extend(self.hangups.iter().flat_map(Hangups::polled));
        let hangups = listeners..fds.len();
        fds.extend(self.proxied.iter().map(|client| readable(client.socket())));
        let timeout = self.due(now).map(|due| due.saturating_duration_since(now));
        let mut failed = false;
        match ppoll(&mut self.polled, timeout, &SigSet::empty()) {
            Ok(()) => {
                self.ready = self.polled[..listeners].iter().any(|polled| polled.revents != 0);
                let has_limits = self.limits.is_some();
                self.turns.wait_ended(self.children.len(), self.options.cap(), has_limits);
            }
            // a signal has come, which is what the loop looks at first
            Err(Errno::EINTR) => self.turns.came(),
            // ENOMEM, or what no loop should meet without a rest; clients and signals may have come all the same
            Err(_) => {
                std::thread::sleep(BACK_OFF);
                failed = true;
                self.ready = true;
                signals::let_in();
            }
        }
        for (client, polled) in self.proxied.iter_mut().zip(&self.polled[hangups.end..]) {
            client.set_ready(failed || polled.revents != 0);
        }
        let now = Instant::now();
        for (serial, pid) in self.hangups.iter_mut().flat_map(|set| set.gone(&self.polled[hangups.clone()])) {
            self.children.client_gone(serial, pid, now);
        }
    }

    /// When there is something to do though nothing comes.
    fn due(&self, now: Instant) -> Option<Instant> {
        // once nobody is accepted any more, only who waits is a reason to try again
        let tries = self.listener.is_some() || !self.waiting.is_empty();
        let pause = self.pauses.until().filter(|_| tries);
        let grace = self.stop.as_ref().and_then(Stop::grace_ends);
        let hangups = self.hangups.as_ref().and_then(Hangups::look_again).map(|time| now + time);
        let proxies = self.proxied.iter().map(ProxiedClient::deadline).min();
        [pause, grace, hangups, proxies, self.children.due(), self.reaper.due()].into_iter().flatten().min()
    }

    // ---- signals ----

    fn heed_signals(&mut self, now: Instant) {
        if status_asked() {
            log::status(&self.counters, self.children.len(), self.cap(), self.without_child());
        }
        self.heed_stop(stop_asked(), now);
    }

    /// Close the door, and let those within finish.
    fn begin_stop(&mut self, why: impl Display, now: Instant) {
        log::stopping(why, self.children.len(), self.options.grace);
        notify::stopping();
        self.listener = None;
        self.stop = Some(Stop::begin(stops_asked(), self.options.grace, now));
    }

    fn heed_stop(&mut self, signal: Option<Signal>, now: Instant) {
        let signals = stops_asked();
        if self.stop.is_none()
            && let Some(signal) = signal
        {
            self.begin_stop(log::SignalName(signal as i32), now);
        }
        // at once where there is no grace
        let step = self.stop.as_mut().map_or(Step::Wait, |stop| stop.step(signals, now));
        if step != Step::Wait {
            self.refuse_all("stopping");
            self.children.end_all(now, "stopping");
        }
        if step == Step::Kill {
            self.children.wait_no_longer(now);
        }
    }

    // ---- reap ----

    fn reap(&mut self, now: Instant) {
        let noted = child_noted();
        if noted.is_none() && self.reaper.due().is_none_or(|due| due > now) {
            return;
        }
        self.ended.clear();
        self.reaper.reap(noted, now, &mut self.ended);
        (0..self.ended.len()).for_each(|n| self.one_ended(self.ended[n], now));
    }

    fn one_ended(&mut self, ended: Ended, now: Instant) {
        // who started us may have left us children of its own
        let Some(child) = self.children.remove(ended.pid) else { return };
        if let Some(hangups) = &mut self.hangups {
            hangups.forget((child.serial as u32, ended.pid));
        }
        if let Some(limits) = &mut self.limits {
            limits.release(child.source);
        }
        self.counters.ended += 1;
        log::end(&ended, child.client, now - child.begun, self.children.len(), self.cap());
    }

    // ---- accept ----

    /// Whether there is room for one more, and no shortage to wait out.
    fn may_accept(&mut self, now: Instant) -> bool {
        if self.listener.is_none() {
            return false;
        }
        if self.backing_off(now) || !self.waiting.is_empty() {
            return false;
        }
        if self.children.len() + self.proxied.len() >= self.cap() {
            self.pause("max-children", None, now);
            return false;
        }
        if self.pauses.waits_for_room() {
            self.resume();
        }
        true
    }

    fn accept(&mut self, now: Instant) {
        // after a pause nobody may be there any more, and it is over all the same
        if !std::mem::take(&mut self.ready) && !self.pauses.is_on() {
            return;
        }
        let mut failures = 0;
        for _ in 0..BATCH {
            if !self.may_accept(now) {
                return;
            }
            let Some(listener) = &self.listener else { return };
            match accept4(listener) {
                Ok((socket, address)) => {
                    self.resume();
                    self.counters.accepted += 1;
                    self.turns.client();
                    self.accepted(Client { socket, address: unmapped(address), local: None }, now);
                }
                // nobody is there, and nothing is missing
                Err(Errno::EAGAIN) => return self.resume(),
                // one client's trouble, or a signal: the next may be well; so many in a row are not the clients'
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
                ) if failures < BATCH - 1 => failures += 1,
                // another who has the socket has shut it down
                Err(errno) if getsockopt(listener, sockopt::AcceptConn) == Ok(false) => {
                    return self.listener_is_lost(errno, now);
                }
                Err(errno) => return self.exhausted(errno, now),
            }
        }
    }

    /// Nobody can come any more: stop, as if that were asked.
    fn listener_is_lost(&mut self, errno: Errno, now: Instant) {
        log::failed(std::process::id(), "accept", strerror(errno));
        self.listener_lost = true;
        self.begin_stop("accept", now);
    }

    fn accepted(&mut self, client: Client, now: Instant) {
        if self.options.proxy_protocol.iter().any(|network| network.contains(client.address.ip())) {
            self.read_proxy_header(ProxiedClient::new(client, now), now);
        } else {
            self.admit(client, now);
        }
    }

    /// Look at the connections whose header has come, or has not come in time.
    fn read_proxy_headers(&mut self, now: Instant) {
        for client in std::mem::take(&mut self.proxied) {
            self.read_proxy_header(client, now);
        }
    }

    fn read_proxy_header(&mut self, client: ProxiedClient, now: Instant) {
        match client.look(now) {
            Err(client) => self.proxied.push(client),
            Ok(Outcome::Client(client)) => self.admit(client, now),
            Ok(Outcome::Refused(proxy, why)) => self.refuse(proxy, why),
        }
    }

    /// Let the limits decide.
    fn admit(&mut self, client: Client, now: Instant) {
        let (source, since) = (Source::of(client.address.ip()), now - self.counters.since);
        match self.limits.as_mut().map(|limits| limits.admit(source, since)) {
            // not before those who wait already
            None | Some(Ok(())) if self.backing_off(now) || !self.waiting.is_empty() => {
                self.waiting.push_back(client);
            }
            None | Some(Ok(())) => self.start(client, now),
            Some(Err(why)) => self.refuse(client.address, why),
        }
    }

    fn refuse(&mut self, address: SocketAddr, why: impl Display) {
        self.counters.refused += 1;
        log::refused(address, why);
    }

    /// Nobody who waits will be served.
    fn refuse_all(&mut self, why: &str) {
        for client in std::mem::take(&mut self.proxied) {
            self.refuse(client.proxy(), why);
        }
        for client in std::mem::take(&mut self.waiting) {
            if let Some(limits) = &mut self.limits {
                limits.release(Source::of(client.address.ip()));
            }
            self.refuse(client.address, why);
        }
    }

    // ---- fork ----

    /// Try again for those who wait for a process.
    fn serve_waiting(&mut self, now: Instant) {
        while !self.backing_off(now)
            && let Some(client) = self.waiting.pop_front()
        {
            self.start(client, now);
        }
    }

    /// Fork a child for a client.
    fn start(&mut self, client: Client, now: Instant) {
        self.recipe.describe(&client, self.local);
        match fork() {
            Err(errno) => {
                self.waiting.push_front(client);
                self.exhausted(errno, now);
            }
            Ok(ForkResult::Child) => become_child(&self.recipe, client.socket),
            Ok(ForkResult::Parent { child }) => self.born(child, client, now),
        }
    }

    fn born(&mut self, pid: Pid, client: Client, now: Instant) {
        let pid = pid.as_raw();
        self.resume();
        self.counters.started += 1;
        self.reaper.born(pid, now);
        let serial = self.children.next_serial();
        self.children.add(pid, client.address, now);
        log::start(pid, client.address, self.children.len(), self.cap());
        // the parent's copy of the client's socket is closed here: the child serves
        if let Some(hangups) = &mut self.hangups
            && let Err(errno) = hangups.watch(client.socket, (serial as u32, pid))
        {
            log::failed(std::process::id(), "hangup", strerror(errno));
        }
    }

    // ---- pauses ----

    /// Something is missing: wait a moment.
    fn exhausted(&mut self, errno: Errno, now: Instant) {
        self.counters.exhausted += 1;
        self.pause(&format!("{errno:?}"), Some(now + BACK_OFF), now);
    }

    fn backing_off(&self, now: Instant) -> bool {
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
