//! Clients, as many at once as are asked for, by one thread and an epoll set.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::UsageWho;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::support::DEADLINE;
use crate::usage::Usage;

/// What a client says. It is short, and whole: no handler waits for more.
const MESSAGE: &[u8] = b"hello\n";
const REPLY_LEN: usize = 18;

/// What the clients of a thread saw.
#[derive(Clone, Copy, Default)]
pub struct Load {
    /// Conversations that brought a whole reply.
    pub served: usize,
    /// Those that did not.
    pub failed: usize,
    /// What it has cost to be the clients.
    pub cpu_us: f64,
    /// From the first connection to the last end.
    pub elapsed: Duration,
}

/// Be `clients` clients at a time, for a time; each sends its message, and waits for the reply and its end.
pub fn run(port: u16, clients: usize, time: Duration) -> Load {
    let used = Usage::of(UsageWho::RUSAGE_THREAD);
    let begun = Instant::now();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll set can be made");
    let mut talking: Vec<Option<OwnedFd>> =
        (0..clients).map(|slot| Some(begin(&epoll, port, slot))).collect();
    let mut load = Load::default();
    let mut events = [EpollEvent::empty(); 64];
    let mut left = clients;
    while left > 0 {
        let n = epoll.wait(&mut events, EpollTimeout::try_from(DEADLINE).expect("it fits"));
        let n = n.expect("the clients can be waited for");
        assert!(n > 0, "no client of {left} was answered within {DEADLINE:?}");
        for event in &events[..n] {
            let slot = event.data() as usize;
            let client = talking[slot].take().expect("a client that has gone is not in the set");
            match end(client) {
                true => load.served += 1,
                false => load.failed += 1,
            }
            if begun.elapsed() < time {
                talking[slot] = Some(begin(&epoll, port, slot));
            } else {
                left -= 1;
            }
        }
    }
    load.elapsed = begun.elapsed();
    load.cpu_us = Usage::of(UsageWho::RUSAGE_THREAD).since(used).cpu_us;
    load
}

/// The same by several threads, which have the clients among them.
pub fn run_threads(threads: usize, port: u16, clients: usize, time: Duration) -> Load {
    let each = || run(port, clients.div_ceil(threads), time);
    let loads: Vec<Load> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(each)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a load ends well")).collect()
    });
    loads.into_iter().fold(Load::default(), |sum, load| Load {
        served: sum.served + load.served,
        failed: sum.failed + load.failed,
        cpu_us: sum.cpu_us + load.cpu_us,
        elapsed: sum.elapsed.max(load.elapsed),
    })
}

/// Whether a server answers one client.
pub fn converse(port: u16) -> bool {
    let Ok(client) = TcpStream::connect(local(port)) else { return false };
    client.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
    let client = OwnedFd::from(client);
    let mut reply = [0; 64];
    send(client.as_raw_fd(), MESSAGE, MsgFlags::MSG_NOSIGNAL).is_ok()
        && recv(client.as_raw_fd(), &mut reply, MsgFlags::MSG_WAITALL) == Ok(REPLY_LEN)
}

/// A client that connects, and says nothing.
pub fn hold(port: u16) -> TcpStream {
    TcpStream::connect(local(port)).expect("the server listens")
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Connect, send the message, and wait for the end of the other side alone: by then the reply has come.
fn begin(epoll: &Epoll, port: u16, slot: usize) -> OwnedFd {
    let client = OwnedFd::from(hold(port));
    send(client.as_raw_fd(), MESSAGE, MsgFlags::MSG_NOSIGNAL).expect("a message can be sent");
    let event = EpollEvent::new(EpollFlags::EPOLLRDHUP, slot as u64);
    epoll.add(&client, event).expect("a client can be waited for");
    client
}

/// Whether a whole reply has come before the end.
fn end(client: OwnedFd) -> bool {
    let mut reply = [0; 64];
    let mut len = 0;
    loop {
        match recv(client.as_raw_fd(), &mut reply[len..], MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return len == REPLY_LEN,
            Ok(n) => len += n,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}
