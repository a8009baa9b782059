//! The loop: wait, reap, act on what is due, accept, fork, stop.
//!
//! Signals are blocked but for the wait, and each flag is cleared before its work is done: none is lost.

use std::collections::VecDeque;
use std::fmt::Display;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{ForkResult, Pid};

use crate::error::{Error, Exit};
use crate::ffi::{
    self, Ended, Handler, Unforked, accept4, child_noted, fork, ppoll, sigaction, status_asked, stop_asked,
    stops_asked,
};
use crate::serve::announced::{Announced, Told};
use crate::serve::child::become_child;
use crate::serve::children::{Children, MOST};
use crate::serve::counters::Counters;
use crate::serve::hangup::Hangups;
use crate::serve::limits::{Limits, Source};
use crate::serve::listener::plain;
use crate::serve::pause::Pauses;
use crate::serve::reaper::{Reaper, Room};
use crate::serve::stop::{Step, Stop};
use crate::serve::{Options, log, notify};

/// How long exhaustion is waited out before the next try.
pub const BACK_OFF: Duration = Duration::from_millis(100);
/// So many clients are accepted before the loop looks around.
const BATCH: usize = 32;
/// So many children that have ended are reaped before the loop looks at them.
const AT_ONCE: usize = 256;
/// Signals are let in by the first wait after so many waits and clients.
const UNHEARD: usize = 8;

/// A client that is known, and has no child yet.
struct Client {
    socket: OwnedFd,
    peer: SocketAddr,
    /// Where it arrived, if the proxy has said so.
    local: Option<SocketAddr>,
}

/// The one process that accepts. What it writes to between two forks is copied for each child: most of that is
/// one page.
#[repr(align(4096))]
pub struct Parent {
    options: Options,
    listener: Option<OwnedFd>,
    /// A client waits there, as the last wait has seen.
    ready: bool,
    /// Where all clients connect to; none where that differs from one to the next.
    local: Option<SocketAddr>,
    /// Waits and clients since signals were last let in.
    unheard: usize,
    children: Children,
    /// None where there are none.
    limits: Option<Limits>,
    reaper: Room,
    hangups: Option<Hangups>,
    announced: Vec<Announced>,
    /// Clients for whom fork has failed: they were accepted, and are not dropped.
    waiting: VecDeque<Client>,
    pauses: Pauses,
    stop: Option<Stop>,
    /// The socket listens no more, and nobody has asked for that.
    deaf: bool,
    counters: Counters,
    /// Written to in each wait, and in memory that children do not have: no page of it is copied for them.
    polled: Unforked<libc::pollfd>,
    /// Likewise.
    ended: Unforked<Ended>,
}

/// The signals that the loop looks at.
const SIGNALS: [(Signal, Handler); 6] = [
    (Signal::SIGCHLD, Handler::NoteChild),
    (Signal::SIGUSR1, Handler::NoteStatus),
    (Signal::SIGTERM, Handler::NoteStop),
    (Signal::SIGINT, Handler::NoteStop),
    (Signal::SIGQUIT, Handler::NoteStop),
    (Signal::SIGHUP, Handler::NoteStop),
];

impl Parent {
    /// With a socket that listens, and where all clients connect to, if that is one place.
    ///
    /// # Errors
    /// [`Error::System`]
    pub fn new(
        mut options: Options,
        listener: OwnedFd,
        local: Option<SocketAddr>,
    ) -> Result<Box<Parent>, Error> {
        let system = |what: &'static str| move |errno| Error::System(what.into(), errno);
        let mut blocked = SigSet::empty();
        for (signal, handler) in SIGNALS {
            // nohup means it
            if signal != Signal::SIGHUP || !ffi::is_ignored(signal) {
                sigaction(signal, handler).map_err(system("sigaction"))?;
            }
            blocked.add(signal);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None).map_err(system("sigprocmask"))?;
        options.recipe.signals = ffi::not_at_default();
        // who started us may have left us children that have ended: their signals are over
        raise(Signal::SIGCHLD).map_err(system("raise"))?;
        let hangups = options.hangup.then(Hangups::new).transpose().map_err(system("epoll_create"))?;
        let most = options.max_children.min(MOST);
        Ok(Box::new(Parent {
            listener: Some(listener),
            ready: false,
            local,
            unheard: 0,
            children: Children::new(most, options.timeout).map_err(system("mmap"))?,
            limits: (options.per_ip.is_some() || options.rate.is_some())
                .then(|| Limits::new(options.per_ip, options.rate)),
            reaper: Room::of(options.reaper),
            hangups,
            announced: Vec::new(),
            waiting: VecDeque::new(),
            pauses: Pauses::default(),
            stop: None,
            deaf: false,
            counters: Counters::begin(),
            polled: Unforked::with_room(2 * most + 2).map_err(system("mmap"))?,
            ended: Unforked::with_room(AT_ONCE).map_err(system("mmap"))?,
            options,
        }))
    }

    /// Serve until a signal asks to stop, or the socket listens no more, and nobody is left.
    pub fn run(mut self: Box<Parent>) -> Exit {
        loop {
            let now = Instant::now();
            self.heed_signals(now);
            self.reap(now);
            self.children.act(now);
            self.hear_proxies(now);
            self.serve_waiting(now);
            self.accept(now);
            if self.stop.is_some() && self.children.is_empty() && self.without_child() == 0 {
                break;
            }
            self.wait();
        }
        log::stopped(&self.counters);
        if self.deaf { Exit::System } else { Exit::Success }
    }

    fn cap(&self) -> usize {
        self.options.max_children
    }

    /// Clients that were accepted, and have no child yet.
    fn without_child(&self) -> usize {
        self.announced.len() + self.waiting.len()
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
        fds.extend(self.announced.iter().map(|announced| readable(&announced.client)));
        let timeout = self.due(now).map(|due| due.saturating_duration_since(now));
        let mut blind = false;
        match ppoll(&mut self.polled, timeout, &SigSet::empty()) {
            Ok(()) => {
                self.ready = self.polled[..listeners].iter().any(|polled| polled.revents != 0);
                self.let_signals_in_by_turns();
            }
            // a signal has come, which is what the loop looks at first
            Err(Errno::EINTR) => self.unheard = 0,
            // ENOMEM, or what no loop should meet without a rest; clients and signals may have come all the same
            Err(_) => {
                std::thread::sleep(BACK_OFF);
                blind = true;
                self.ready = true;
                let_signals_in();
            }
        }
        for (announced, polled) in self.announced.iter_mut().zip(&self.polled[hangups.end..]) {
            announced.ready = blind || polled.revents != 0;
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
        let proxies = self.announced.iter().map(|announced| announced.deadline).min();
        [pause, grace, hangups, proxies, self.children.due(), self.reaper.due()].into_iter().flatten().min()
    }

    // ---- signals ----

    /// Where a descriptor is ready, ppoll lets no signal in, and a busy listener would keep all of them out. They
    /// are let in now and then: children that end in between share one, unless a limit waits for each.
    fn let_signals_in_by_turns(&mut self) {
        self.unheard += 1;
        let few = self.unheard < UNHEARD && self.children.len() + UNHEARD < self.cap();
        if !few || self.limits.is_some() {
            self.unheard = 0;
            let_signals_in();
        }
    }

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
        log::end(&ended, child.peer, now - child.begun, self.children.len(), self.cap());
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
        if self.children.len() + self.announced.len() >= self.cap() {
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
                Ok((socket, peer)) => {
                    self.resume();
                    self.counters.accepted += 1;
                    self.unheard += 1;
                    self.arrived(socket, plain(peer), now);
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
                    return self.deafened(errno, now);
                }
                Err(errno) => return self.exhausted(errno, now),
            }
        }
    }

    /// Nobody can come any more: stop, as if that were asked.
    fn deafened(&mut self, errno: Errno, now: Instant) {
        log::failed(std::process::id(), "accept", errno::Errno(errno as i32));
        self.deaf = true;
        self.begin_stop("accept", now);
    }

    fn arrived(&mut self, socket: OwnedFd, peer: SocketAddr, now: Instant) {
        if self.options.proxies.iter().any(|network| network.contains(peer.ip())) {
            self.hear(Announced::new(socket, peer, now), now);
        } else {
            self.admit(Client { socket, peer, local: None }, now);
        }
    }

    /// Look at the connections whose header has come, or has not come in time.
    fn hear_proxies(&mut self, now: Instant) {
        for announced in std::mem::take(&mut self.announced) {
            if announced.ready || announced.deadline <= now {
                self.hear(announced, now);
            } else {
                self.announced.push(announced);
            }
        }
    }

    /// Read what a proxy says of its client.
    fn hear(&mut self, mut announced: Announced, now: Instant) {
        match announced.look() {
            Told::Partly if announced.deadline > now => self.announced.push(announced),
            Told::Partly => self.refuse(announced.proxy, "proxy-timeout"),
            Told::Wrong(why) => self.refuse(announced.proxy, why),
            Told::Who(said) => {
                let peer = said.as_ref().map_or(announced.proxy, |said| plain(said.client));
                let local = said.map(|said| plain(said.local));
                self.admit(Client { socket: announced.client, peer, local }, now);
            }
        }
    }

    /// Let the limits decide.
    fn admit(&mut self, client: Client, now: Instant) {
        let (source, since) = (Source::of(client.peer.ip()), now - self.counters.since);
        match self.limits.as_mut().map(|limits| limits.admit(source, since)) {
            // not before those who wait already
            None | Some(Ok(())) if self.backing_off(now) || !self.waiting.is_empty() => {
                self.waiting.push_back(client);
            }
            None | Some(Ok(())) => self.start(client, now),
            Some(Err(why)) => self.refuse(client.peer, why),
        }
    }

    fn refuse(&mut self, peer: SocketAddr, why: impl Display) {
        self.counters.refused += 1;
        log::refused(peer, why);
    }

    /// Nobody who waits will be served.
    fn refuse_all(&mut self, why: &str) {
        for announced in std::mem::take(&mut self.announced) {
            self.refuse(announced.proxy, why);
        }
        for client in std::mem::take(&mut self.waiting) {
            if let Some(limits) = &mut self.limits {
                limits.release(Source::of(client.peer.ip()));
            }
            self.refuse(client.peer, why);
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
        self.options.recipe.note(&client.socket, client.peer, client.local.or(self.local));
        match fork() {
            Err(errno) => {
                self.waiting.push_front(client);
                self.exhausted(errno, now);
            }
            Ok(ForkResult::Child) => become_child(&self.options.recipe, client.socket),
            Ok(ForkResult::Parent { child }) => self.born(child, client, now),
        }
    }

    fn born(&mut self, pid: Pid, client: Client, now: Instant) {
        let pid = pid.as_raw();
        self.resume();
        self.counters.started += 1;
        self.reaper.born(pid, now);
        let serial = self.children.next_serial();
        self.children.add(pid, client.peer, now);
        log::start(pid, client.peer, self.children.len(), self.cap());
        // the parent's copy of the client's socket is closed here: the child serves
        if let Some(hangups) = &mut self.hangups
            && let Err(errno) = hangups.watch(client.socket, (serial as u32, pid))
        {
            log::failed(std::process::id(), "hangup", errno::Errno(errno as i32));
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

/// Have those signals handled that have come while they were blocked.
fn let_signals_in() {
    // EINVAL, the only error, is for what is none of these
    if let Ok(blocked) = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK) {
        let _ = blocked.thread_set_mask();
    }
}
