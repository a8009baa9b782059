//! No client is forgotten: where a wake-up were lost, it would wait for ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{REPLY, Reaper, Server, finish};
use crate::support::{connect, descriptors, wait_until};

trials!(
    both: one_slot_serves_400_clients_of_8_threads,
        one_slot_serves_300_clients_in_a_storm_of_signals,
        the_next_client_is_served_as_the_one_before_it_leaves,
        a_client_that_comes_while_the_server_is_stopped_is_served;
    once: ;
);

const CAP_1: [&str; 2] = ["--max-children", "1"];

fn ask_from_8_threads(port: u16, each: usize) {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || (0..each).for_each(|_| assert_eq!(finish(connect(port), b"hello\n"), REPLY)));
        }
    });
}

fn one_slot_serves_400_clients_of_8_threads(reaper: Reaper) {
    let mut server = Server::start(reaper, &CAP_1, &[]);
    ask_from_8_threads(server.port, 50);
    let status = server.at_rest();
    assert_eq!((status.started, status.refused), (400, 0));
    server.stop();
}

fn one_slot_serves_300_clients_in_a_storm_of_signals(reaper: Reaper) {
    let mut server = Server::start(reaper, &CAP_1, &[]);
    let parent = Pid::from_raw(server.pid() as i32);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let storm = [Signal::SIGCHLD, Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGSTOP, Signal::SIGCONT];
            for signal in storm.into_iter().cycle() {
                kill(parent, signal).expect("the server is there");
                thread::sleep(Duration::from_micros(300));
                // not while it is stopped
                if over.load(Ordering::Relaxed) && signal == Signal::SIGCONT {
                    break;
                }
            }
        });
        let asked = std::panic::catch_unwind(|| ask_from_8_threads(server.port, 38));
        over.store(true, Ordering::Relaxed);
        asked.expect("every client is served");
    });
    // a client has its answer before the server, stopped in between, has counted it
    wait_until("all are counted", || server.status().started == 304);
    assert_eq!(server.at_rest().refused, 0);
    server.stop();
}

fn the_next_client_is_served_as_the_one_before_it_leaves(reaper: Reaper) {
    let mut server = Server::start(reaper, &CAP_1, &["cat"]);
    let mut first = server.connect();
    for _ in 0..150 {
        let second = server.connect();
        assert_eq!(finish(first, b"hello"), b"hello");
        first = second;
    }
    assert_eq!(finish(first, b"hello"), b"hello");
    let status = server.at_rest();
    assert_eq!((status.started, status.refused), (151, 0));
    server.stop();
}

fn a_client_that_comes_while_the_server_is_stopped_is_served(reaper: Reaper) {
    let mut server = Server::start(reaper, &CAP_1, &["cat"]);
    for _ in 0..20 {
        let first = server.connect();
        server.wait_children(1);
        wait_until("its copy of the client's socket is closed", || descriptors(server.pid()) == server.held);
        server.signal(Signal::SIGSTOP);
        // the child that it has ends, and the next client comes, unseen
        let second = server.connect();
        assert_eq!(finish(first, b"first"), b"first");
        server.signal(Signal::SIGCONT);
        assert_eq!(finish(second, b"second"), b"second");
        server.wait_children(0);
    }
    server.at_rest();
    server.stop();
}
