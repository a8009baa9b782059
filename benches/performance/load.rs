//! The load: a number of clients at a time, in one thread with an epoll set.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::UsageWho;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::support::DEADLINE;
use crate::usage::Usage;

/// A client's message: one whole line, so that no handler waits for more.
const MESSAGE: &[u8] = b"hello\n";
const REPLY_LEN: usize = 18;

/// The result of a load.
#[derive(Clone, Copy, Default)]
pub struct Load {
    /// How many clients got a whole reply.
    pub served: usize,
    /// How many did not.
    pub failed: usize,
    /// The CPU time of the clients, in microseconds.
    pub cpu_us: f64,
    /// From the first connect to the last end of file.
    pub elapsed: Duration,
}

/// Run `clients` clients at a time, for a time: each sends its message, and waits for the reply and the end of file.
pub fn run(port: u16, clients: usize, time: Duration) -> Load {
    let used = Usage::of(UsageWho::RUSAGE_THREAD);
    let start = Instant::now();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll set can be made");
    let mut slots: Vec<Option<OwnedFd>> =
        (0..clients).map(|slot| Some(start_client(&epoll, port, slot))).collect();
    let mut load = Load::default();
    let mut events = [EpollEvent::empty(); 64];
    let mut left = clients;
    while left > 0 {
        let n = epoll.wait(&mut events, EpollTimeout::try_from(DEADLINE).expect("it fits"));
        let n = n.expect("epoll_wait works");
        assert!(n > 0, "no client of {left} was answered within {DEADLINE:?}");
        for event in &events[..n] {
            let slot = event.data() as usize;
            let client = slots[slot].take().expect("a client that has ended is not in the set");
            match got_reply(client) {
                true => load.served += 1,
                false => load.failed += 1,
            }
            if start.elapsed() < time {
                slots[slot] = Some(start_client(&epoll, port, slot));
            } else {
                left -= 1;
            }
        }
    }
    load.elapsed = start.elapsed();
    load.cpu_us = Usage::of(UsageWho::RUSAGE_THREAD).since(used).cpu_us;
    load
}

/// The same with several threads, which share the clients.
pub fn run_threads(threads: usize, port: u16, clients: usize, time: Duration) -> Load {
    let each = || run(port, clients.div_ceil(threads), time);
    let loads: Vec<Load> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(each)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a load does not panic")).collect()
    });
    loads.into_iter().fold(Load::default(), |sum, load| Load {
        served: sum.served + load.served,
        failed: sum.failed + load.failed,
        cpu_us: sum.cpu_us + load.cpu_us,
        elapsed: sum.elapsed.max(load.elapsed),
    })
}

/// Whether the server answers a client.
pub fn converse(port: u16) -> bool {
    let Ok(client) = TcpStream::connect(local(port)) else { return false };
    client.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
    let client = OwnedFd::from(client);
    let mut reply = [0; 64];
    send(client.as_raw_fd(), MESSAGE, MsgFlags::MSG_NOSIGNAL).is_ok()
        && recv(client.as_raw_fd(), &mut reply, MsgFlags::MSG_WAITALL) == Ok(REPLY_LEN)
}

/// Connect to the server, and send nothing.
pub fn connect(port: u16) -> TcpStream {
    TcpStream::connect(local(port)).expect("the server listens")
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Connect, send the message, and have epoll wait for the server's end of file: by then the reply has arrived.
fn start_client(epoll: &Epoll, port: u16, slot: usize) -> OwnedFd {
    let client = OwnedFd::from(connect(port));
    send(client.as_raw_fd(), MESSAGE, MsgFlags::MSG_NOSIGNAL).expect("a message can be sent");
    let event = EpollEvent::new(EpollFlags::EPOLLRDHUP, slot as u64);
    epoll.add(&client, event).expect("a socket can be added to an epoll set");
    client
}

/// Whether a whole reply has arrived, then the end of file.
fn got_reply(client: OwnedFd) -> bool {
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
