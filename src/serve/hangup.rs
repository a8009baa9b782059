//! Detects clients that have gone: they have reset the connection or closed both directions. A half-close does not
//! count.

#[cfg(target_os = "linux")]
pub use self::by_epoll::Hangups;
#[cfg(not(target_os = "linux"))]
pub use self::by_poll::Hangups;

/// The child of a client: the lower half of its serial number (an epoll event has no space for more), and its process
/// ID.
pub type ChildKey = (u32, i32);

#[cfg(target_os = "linux")]
mod by_epoll {
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    use std::time::Duration;

    use nix::Result;
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    use super::ChildKey;

    /// An epoll set of the clients' sockets. It keeps no descriptor of them: a socket stays in the set as long as its
    /// child has it open.
    pub struct Hangups(Epoll);

    impl Hangups {
        /// No client is watched yet.
        pub fn new() -> Result<Hangups> {
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Hangups)
        }

        /// Watch the socket of a client.
        pub fn watch(&mut self, socket: OwnedFd, (serial, pid): ChildKey) -> Result<()> {
            // EPOLLHUP is always reported. Edge-triggered, so that it is reported once: without a descriptor, the
            // socket cannot be removed from the set
            let event = EpollEvent::new(EpollFlags::EPOLLET, u64::from(serial) << 32 | u64::from(pid as u32));
            self.0.add(socket.as_fd(), event)
        }

        /// Stop watching the client of a child that has ended.
        pub fn unwatch(&mut self, _child: ChildKey) {}

        /// How soon to poll again even if no event came: never, since epoll reports every event.
        pub fn poll_again_after(&self) -> Option<Duration> {
            None
        }

        /// The descriptors to poll.
        pub fn poll_fds(&self) -> Vec<libc::pollfd> {
            vec![libc::pollfd { fd: self.0.0.as_raw_fd(), events: libc::POLLIN, revents: 0 }]
        }

        /// The children whose clients have gone, after a poll of [`Hangups::poll_fds`].
        pub fn clients_gone(&mut self, polled: &[libc::pollfd]) -> Vec<ChildKey> {
            if polled.iter().all(|fd| fd.revents == 0) {
                return Vec::new();
            }
            let mut events = [EpollEvent::empty(); 64];
            let n = self.0.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
            // EPOLLERR alone is not the end: a program may ask for an error queue on its socket
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

    use super::ChildKey;

    /// The clients' sockets. A descriptor of each is kept open until its child ends.
    pub struct Hangups(Vec<(OwnedFd, ChildKey)>);

    impl Hangups {
        /// No client is watched yet.
        pub fn new() -> Result<Hangups> {
            Ok(Hangups(Vec::new()))
        }

        /// Watch the socket of a client.
        pub fn watch(&mut self, socket: OwnedFd, child: ChildKey) -> Result<()> {
            self.0.push((socket, child));
            Ok(())
        }

        /// Stop watching the client of a child that has ended.
        pub fn unwatch(&mut self, child: ChildKey) {
            self.0.retain(|watched| watched.1 != child);
        }

        /// How soon to poll again even if no event came: on FreeBSD and NetBSD, poll(2) reports a POLLHUP that is
        /// already there, but does not wake up for a new one.
        pub fn poll_again_after(&self) -> Option<Duration> {
            (!self.0.is_empty()).then_some(Duration::from_millis(500))
        }

        /// The descriptors to poll. POLLHUP is always reported, so no event is asked for.
        pub fn poll_fds(&self) -> Vec<libc::pollfd> {
            let poll_fd = |watched: &(OwnedFd, ChildKey)| libc::pollfd {
                fd: watched.0.as_raw_fd(),
                events: 0,
                revents: 0,
            };
            self.0.iter().map(poll_fd).collect()
        }

        /// The children whose clients have gone, after a poll of [`Hangups::poll_fds`]. They are no longer watched.
        pub fn clients_gone(&mut self, polled: &[libc::pollfd]) -> Vec<ChildKey> {
            let is_gone = |fd: &libc::pollfd| fd.revents & libc::POLLHUP != 0;
            if !polled.iter().any(is_gone) {
                return Vec::new();
            }
            // the list has not changed since the poll, so it can be matched with the results
            let watched = std::mem::take(&mut self.0).into_iter().zip(polled);
            let (gone, kept): (Vec<_>, Vec<_>) = watched.partition(|(_, fd)| is_gone(fd));
            self.0 = kept.into_iter().map(|(watched, _)| watched).collect();
            gone.into_iter().map(|((_, child), _)| child).collect()
        }
    }
}
