//! Clients that have wholly gone: reset, or closed both ways. A half-close is not the end.

#[cfg(target_os = "linux")]
pub use self::by_epoll::Hangups;
#[cfg(not(target_os = "linux"))]
pub use self::by_poll::Hangups;

/// Whose client it is: the child's serial number, as far as an event has room for it, and its process.
pub type Whose = (u32, i32);

#[cfg(target_os = "linux")]
mod by_epoll {
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    use std::time::Duration;

    use nix::Result;
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    use super::Whose;

    /// An epoll set of the clients' sockets. No descriptor of them is kept: a socket is in the set for as long
    /// as its child has it open.
    pub struct Hangups(Epoll);

    impl Hangups {
        /// Of nobody.
        pub fn new() -> Result<Hangups> {
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Hangups)
        }

        /// Watch a client.
        pub fn watch(&mut self, client: OwnedFd, (serial, pid): Whose) -> Result<()> {
            // EPOLLHUP comes unasked; when it begins, since without a descriptor nothing takes the socket out again
            let event = EpollEvent::new(EpollFlags::EPOLLET, u64::from(serial) << 32 | u64::from(pid as u32));
            self.0.add(client.as_fd(), event)
        }

        /// A child has ended, and its client is no longer watched.
        pub fn forget(&mut self, _whose: Whose) {}

        /// When to look again though nothing was said: never.
        pub fn look_again(&self) -> Option<Duration> {
            None
        }

        /// What to poll.
        pub fn polled(&self) -> Vec<libc::pollfd> {
            vec![libc::pollfd { fd: self.0.0.as_raw_fd(), events: libc::POLLIN, revents: 0 }]
        }

        /// Whose clients have gone, now that [`Hangups::polled`] was polled.
        pub fn gone(&mut self, polled: &[libc::pollfd]) -> Vec<Whose> {
            if polled.iter().all(|one| one.revents == 0) {
                return Vec::new();
            }
            let mut events = [EpollEvent::empty(); 64];
            let n = self.0.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
            // an error alone, such as the queue of errors that a program may ask for, is not the end
            let gone = events[..n].iter().filter(|event| event.events().contains(EpollFlags::EPOLLHUP));
            gone.map(|event| ((event.data() >> 32) as u32, event.data() as i32)).collect()
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod by_poll {
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::Duration;

    use nix::Result;

    use super::Whose;

    /// The clients' sockets, each with a descriptor that is kept until its child ends.
    pub struct Hangups(Vec<(OwnedFd, Whose)>);

    impl Hangups {
        /// Of nobody.
        pub fn new() -> Result<Hangups> {
            Ok(Hangups(Vec::new()))
        }

        /// Watch a client.
        pub fn watch(&mut self, client: OwnedFd, whose: Whose) -> Result<()> {
            self.0.push((client, whose));
            Ok(())
        }

        /// A child has ended, and its client is no longer watched.
        pub fn forget(&mut self, whose: Whose) {
            self.0.retain(|watched| watched.1 != whose);
        }

        /// When to look again though nothing was said: poll(2) of FreeBSD and of NetBSD tells of a POLLHUP that is
        /// there, and does not wake up for one that comes.
        pub fn look_again(&self) -> Option<Duration> {
            (!self.0.is_empty()).then_some(Duration::from_millis(500))
        }

        /// What to poll: POLLHUP comes unasked.
        pub fn polled(&self) -> Vec<libc::pollfd> {
            let one = |watched: &(OwnedFd, Whose)| libc::pollfd {
                fd: watched.0.as_raw_fd(),
                events: 0,
                revents: 0,
            };
            self.0.iter().map(one).collect()
        }

        /// Whose clients have gone, now that [`Hangups::polled`] was polled. They are no longer watched.
        pub fn gone(&mut self, polled: &[libc::pollfd]) -> Vec<Whose> {
            let is_gone = |one: &libc::pollfd| one.revents & libc::POLLHUP != 0;
            if !polled.iter().any(is_gone) {
                return Vec::new();
            }
            // nobody has come or left since
            let watched = std::mem::take(&mut self.0).into_iter().zip(polled);
            let (gone, kept): (Vec<_>, Vec<_>) = watched.partition(|(_, one)| is_gone(one));
            self.0 = kept.into_iter().map(|(watched, _)| watched).collect();
            gone.into_iter().map(|((_, whose), _)| whose).collect()
        }
    }
}
