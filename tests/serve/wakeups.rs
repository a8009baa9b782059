//! The server loses no wake-up. If it lost one, a client would wait for ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{ONE_SLOT, REPLY, Reaper, Server, exchange};
use crate::support::{connect, descriptors, wait_until};

trials!(
    both: one_slot_serves_400_clients_of_8_threads,
        one_slot_serves_304_clients_in_a_storm_of_signals,
        the_next_client_is_served_when_the_one_before_ends,
        a_client_that_connects_while_the_server_is_stopped_is_served;
    once: ;
);

fn ask_from_8_threads(port: u16, each: usize) {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                (0..each).for_each(|_| assert_eq!(exchange(connect(port), b"hello\n"), REPLY))
            });
        }
    });
}

fn one_slot_serves_400_clients_of_8_threads(reaper: Reaper) {
    let mut server = Server::start(reaper, &ONE_SLOT, &[]);
    ask_from_8_threads(server.port, 50);
    let status = server.wait_idle();
    assert_eq!((status.started, status.refused), (400, 0));
    server.stop();
}

fn one_slot_serves_304_clients_in_a_storm_of_signals(reaper: Reaper) {
    let mut server = Server::start(reaper, &ONE_SLOT, &[]);
    let parent = Pid::from_raw(server.pid() as i32);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let storm = [Signal::SIGCHLD, Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGSTOP, Signal::SIGCONT];
            for signal in storm.into_iter().cycle() {
                kill(parent, signal).expect("the server runs");
                thread::sleep(Duration::from_micros(300));
                // do not leave the server stopped
                if over.load(Ordering::Relaxed) && signal == Signal::SIGCONT {
                    break;
                }
            }
        });
        let asked = std::panic::catch_unwind(|| ask_from_8_threads(server.port, 38));
        over.store(true, Ordering::Relaxed);
        asked.expect("every client is served");
    });
    // the server may be stopped after a client has its answer and before the counters show it
    wait_until("all clients are counted", || server.status().started == 304);
    assert_eq!(server.wait_idle().refused, 0);
    server.stop();
}

fn the_next_client_is_served_when_the_one_before_ends(reaper: Reaper) {
    let mut server = Server::start(reaper, &ONE_SLOT, &["cat"]);
    let mut first = server.connect();
    for _ in 0..150 {
        let second = server.connect();
        assert_eq!(exchange(first, b"hello"), b"hello");
        first = second;
    }
    assert_eq!(exchange(first, b"hello"), b"hello");
    let status = server.wait_idle();
    assert_eq!((status.started, status.refused), (151, 0));
    server.stop();
}

fn a_client_that_connects_while_the_server_is_stopped_is_served(reaper: Reaper) {
    let mut server = Server::start(reaper, &ONE_SLOT, &["cat"]);
    for _ in 0..20 {
        let first = server.connect();
        server.wait_children(1);
        wait_until("its copy of the client's socket is closed", || {
            descriptors(server.pid()) == server.initial_descriptors
        });
        server.signal(Signal::SIGSTOP);
        // while the server is stopped, its child ends and the next client connects
        let second = server.connect();
        assert_eq!(exchange(first, b"first"), b"first");
        server.signal(Signal::SIGCONT);
        assert_eq!(exchange(second, b"second"), b"second");
        server.wait_children(0);
    }
    server.wait_idle();
    server.stop();
}
