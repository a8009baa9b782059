//! Stopping: the port is closed at once, children may finish within the grace period, and no child outlives it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{
    Reaper, Server, assert_closed, exchange, is_root, marked_sleep, running_count, serve_through,
};
use crate::strace::{FORKS, Follow, Strace, can_attach};
use crate::support::{assert_takes_less, has, wait_until};

trials!(
    both: the_first_signal_closes_the_port_at_once_and_lets_children_finish,
        no_process_of_a_childs_group_outlives_the_grace_period,
        a_grandchild_that_ignores_sigterm_is_killed,
        a_child_that_left_its_process_group_is_killed,
        a_child_that_left_its_process_group_is_killed_although_a_helper_stayed_in_it,
        it_can_stop_while_ppoll_fails,
        a_child_that_cannot_be_signalled_is_logged_and_not_waited_for,
        the_second_signal_ends_the_grace_period,
        the_third_signal_kills_at_once,
        the_third_signal_waits_for_no_child_that_cannot_be_killed,
        two_signals_at_the_same_time_count_as_one,
        grace_0_ends_children_at_once,
        the_server_ends_as_soon_as_the_last_process_group_is_empty,
        sighup_stays_ignored_under_nohup,
        clients_that_wait_for_a_process_are_served_within_the_grace_period_and_refused_after_it;
    once: ;
);

#[track_caller]
fn assert_port_closed(port: u16) {
    let error = TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
}

fn the_first_signal_closes_the_port_at_once_and_lets_children_finish(reaper: Reaper) {
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGHUP, "HUP"),
    ] {
        let mut server = Server::start(reaper, &[], &["cat"]);
        let mut held = server.connect();
        server.wait_children(1);
        server.signal(signal);
        server.wait_log(&format!("prise: stopping why={name} live=1 grace=10\n"));
        wait_until("the port is closed", || TcpStream::connect(("127.0.0.1", server.port)).is_err());
        assert_port_closed(server.port);
        let mut echo = [0; 5];
        held.write_all(b"hello").unwrap();
        held.read_exact(&mut echo).unwrap();
        let begin = Instant::now();
        assert_eq!(exchange(held, b"end"), b"end");
        let log = server.wait_stopped();
        // the server ends with its last child, long before the grace period is over
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        assert!(
            log.ends_with("prise: stopped accepted=1 started=1 ended=1 refused=0 exhausted=0 lost-lines=0\n"),
            "{log}"
        );
        assert!(!log.contains("ending"), "{log}");
    }
}

/// Start a server with a shell script, in which each SLEEP is a unique `sleep` command, and connect clients. Gives the
/// server, the clients and the `sleep` command, once all of them sleep.
fn start_sleepers(
    reaper: Reaper,
    grace: &str,
    script: &str,
    clients: usize,
) -> (Server, Vec<TcpStream>, String) {
    let sleep = marked_sleep();
    let script = script.replace("SLEEP", &sleep);
    let server = Server::start(reaper, &["--grace", grace], &["sh", "-c", &script]);
    let held = (0..clients).map(|_| server.connect()).collect();
    let processes = clients * script.matches(&sleep).count();
    wait_until("all children sleep", || running_count(&sleep) == processes);
    (server, held, sleep)
}

fn no_process_of_a_childs_group_outlives_the_grace_period(reaper: Reaper) {
    let (mut server, held, sleep) = start_sleepers(reaper, "1", "trap '' TERM; SLEEP & SLEEP & SLEEP; :", 5);
    let begin = Instant::now();
    server.signal(Signal::SIGTERM);
    let log = server.wait_stopped();
    // one second of grace period, and two seconds between SIGTERM and SIGKILL
    assert!(begin.elapsed() >= Duration::from_millis(2990), "{:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(running_count(&sleep), 0);
    assert_eq!(log.matches(" signal=TERM why=stopping\n").count(), 5, "{log}");
    assert_eq!(log.matches(" signal=KILL why=still-there\n").count(), 5, "{log}");
    assert!(log.contains("prise: stopped accepted=5 started=5 ended=5 "), "{log}");
    drop(held);
}

fn a_grandchild_that_ignores_sigterm_is_killed(reaper: Reaper) {
    let script = "(trap '' TERM; SLEEP; :) & SLEEP; :";
    let (mut server, _held, sleep) = start_sleepers(reaper, "0", script, 3);
    server.signal(Signal::SIGTERM);
    let log = server.wait_stopped();
    assert_eq!(running_count(&sleep), 0);
    assert_eq!(log.matches(" signal=TERM seconds=").count(), 3, "{log}");
    assert_eq!(log.matches(" signal=KILL why=still-there\n").count(), 3, "{log}");
}

fn a_child_that_left_its_process_group_is_killed(reaper: Reaper) {
    assert_killed_after_leaving_its_group(reaper, "");
}

fn a_child_that_left_its_process_group_is_killed_although_a_helper_stayed_in_it(reaper: Reaper) {
    // signalling the group succeeds, since the helper is in it, but does not reach the child
    let helper = "pipe(R, W); if (!fork()) { $SIG{TERM} = 'IGNORE'; close W; sleep 97 } close W; <R>; ";
    assert_killed_after_leaving_its_group(reaper, helper);
}

/// Assert that a child is killed although it joins the server's process group. `before` is Perl code that the child
/// runs first.
fn assert_killed_after_leaving_its_group(reaper: Reaper, before: &str) {
    if !has("perl", "perl-base") {
        return;
    }
    let leave = "$| = 1; setpgrp(0, getpgrp(getppid())); $SIG{TERM} = 'IGNORE'; print 'left'; sleep 97";
    let program = &format!("{before}{leave}");
    assert_takes_less(SOON, || {
        let mut server = Server::start(reaper, &["--grace", "0"], &["perl", "-e", program]);
        let mut held = server.connect();
        held.read_exact(&mut [0; 4]).unwrap();
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        let log = server.wait_stopped();
        assert!(log.contains(" signal=KILL seconds="), "{log}");
        begin.elapsed()
    });
}

fn a_child_that_cannot_be_signalled_is_logged_and_not_waited_for(reaper: Reaper) {
    if !is_root() || !has("setpriv", "util-linux") {
        return;
    }
    // root without the capability to signal other users' processes
    let launcher = ["setpriv", "--bounding-set", "-all,+setuid,+setgid", "--"];
    let options = ["--user", "nobody", "--grace", "0"];
    assert_takes_less(SOON, || {
        let mut server = Server::run(&mut serve_through(&launcher, reaper, &options, &["cat"]));
        let held = server.connect();
        let child = server.only_child("cat");
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        server.wait_log("prise: stopped accepted=1 started=1 ended=0 ");
        let took = begin.elapsed();
        // the child could not be killed, and still serves its client
        assert_eq!(exchange(held, b"hello"), b"hello");
        let log = server.wait_stopped();
        assert_eq!(log.matches(&format!("prise: failed pid={child} step=kill why=")).count(), 1, "{log}");
        took
    });
}

/// The pause between two signals, so that the server counts each.
const APART: Duration = Duration::from_millis(150);
/// The upper limit for a stop without a grace period.
const SOON: Duration = Duration::from_secs(5);
/// The upper limit for a stop that does not wait at all: less than the two seconds between SIGTERM and SIGKILL.
const AT_ONCE: Duration = Duration::from_millis(1700);

fn the_third_signal_waits_for_no_child_that_cannot_be_killed(reaper: Reaper) {
    if !is_root() || !has("setpriv", "util-linux") {
        return;
    }
    let launcher = ["setpriv", "--bounding-set", "-all,+setuid,+setgid", "--"];
    let options = ["--user", "nobody", "--grace", "60"];
    assert_takes_less(AT_ONCE, || {
        let mut server = Server::run(&mut serve_through(&launcher, reaper, &options, &["cat"]));
        let held = server.connect();
        server.only_child("cat");
        for pattern in ["stopping why=TERM ", "ending pid=[0-9]+ signal=TERM why=stopping\n"] {
            server.signal(Signal::SIGTERM);
            server.wait_log(&format!("prise: {pattern}"));
            std::thread::sleep(APART);
        }
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        server.wait_log("prise: stopped accepted=1 started=1 ended=0 ");
        let took = begin.elapsed();
        assert_eq!(exchange(held, b"hello"), b"hello");
        server.wait_stopped();
        took
    });
}

fn two_signals_at_the_same_time_count_as_one(reaper: Reaper) {
    // on a busy machine they may arrive apart, but not ten times in a row
    assert!((0..10).any(|_| second_signal_is_ignored(reaper)), "two signals at the same time count as two");
}

/// Whether a second signal, right after the first, does not end the grace period. A third one later must end it.
fn second_signal_is_ignored(reaper: Reaper) -> bool {
    let mut server = Server::start(reaper, &["--grace", "60"], &["cat"]);
    let mut held = server.connect();
    server.only_child("cat");
    server.signal(Signal::SIGTERM);
    server.wait_log("prise: stopping why=TERM live=1 grace=60\n");
    server.signal(Signal::SIGTERM);
    std::thread::sleep(APART);
    let ignored = server.logged("prise: ending ") == 0;
    server.signal(Signal::SIGTERM);
    server.wait_log("prise: ending pid=[0-9]+ signal=TERM why=stopping\n");
    assert_closed(&mut held);
    server.wait_stopped();
    ignored
}

fn the_second_signal_ends_the_grace_period(reaper: Reaper) {
    assert_takes_less(SOON, || {
        let (mut server, _held, sleep) = start_sleepers(reaper, "600", "SLEEP & SLEEP; :", 2);
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        server.wait_log("prise: stopping why=TERM live=2 grace=600\n");
        std::thread::sleep(APART);
        server.signal(Signal::SIGINT);
        let log = server.wait_stopped();
        let took = begin.elapsed();
        assert_eq!(running_count(&sleep), 0);
        assert_eq!(log.matches(" signal=TERM why=stopping\n").count(), 2, "{log}");
        took
    });
}

fn the_third_signal_kills_at_once(reaper: Reaper) {
    assert_takes_less(AT_ONCE, || {
        let (mut server, _held, sleep) = start_sleepers(reaper, "60", "trap '' TERM; SLEEP & SLEEP; :", 2);
        server.signal(Signal::SIGTERM);
        server.wait_log("prise: stopping ");
        std::thread::sleep(APART);
        server.signal(Signal::SIGTERM);
        wait_until("both children got SIGTERM", || server.logged(" signal=TERM why=stopping\n") == 2);
        std::thread::sleep(APART);
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        let log = server.wait_stopped();
        let took = begin.elapsed();
        wait_until("both process groups are empty", || running_count(&sleep) == 0);
        assert_eq!(log.matches(" signal=KILL seconds=").count(), 2, "{log}");
        took
    });
}

fn grace_0_ends_children_at_once(reaper: Reaper) {
    assert_takes_less(AT_ONCE, || {
        let (mut server, mut held, sleep) = start_sleepers(reaper, "0", "exec SLEEP", 2);
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        server.wait_stopped();
        let took = begin.elapsed();
        assert_eq!(running_count(&sleep), 0);
        held.iter_mut().for_each(assert_closed);
        took
    });
}

/// A launcher that runs a program, adopts its orphans as init does, and reaps them at once; real inits may reap late.
const INIT: &str = "import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
program = os.fork()
if program == 0: os.execvp(sys.argv[1], sys.argv[1:])
while True:
    pid, status = os.wait()
    if pid == program: sys.exit(os.waitstatus_to_exitcode(status))
";

fn the_server_ends_as_soon_as_the_last_process_group_is_empty(reaper: Reaper) {
    if !has("python3", "python3") {
        return;
    }
    // the grandchild ends by itself, half a second or more after the child
    let script = "(trap '' TERM; echo ready; sleep 0.5; sleep 0.5) & sleep 97; :";
    let launcher = ["python3", "-c", INIT];
    assert_takes_less(AT_ONCE, || {
        let command = &mut serve_through(&launcher, reaper, &["--grace", "0"], &["sh", "-c", script]);
        let mut server = Server::run(command);
        let parent: i32 = server.wait_log("prise: listening .* pid=([0-9]+) ").parse().expect("a process");
        let mut held = server.connect();
        held.read_exact(&mut [0; 6]).unwrap();
        let begin = Instant::now();
        kill(Pid::from_raw(parent), Signal::SIGTERM).expect("the server runs");
        let log = server.wait_stopped();
        let took = begin.elapsed();
        assert!(took > Duration::from_millis(400), "{took:?}");
        assert!(!log.contains("still-there") || took >= AT_ONCE, "{log}");
        took
    });
}

fn sighup_stays_ignored_under_nohup(reaper: Reaper) {
    if !has("nohup", "coreutils") {
        return;
    }
    let mut command = serve_through(&["nohup"], reaper, &[], &["cat"]);
    let mut server = Server::run(&mut command);
    server.signal(Signal::SIGHUP);
    assert_eq!(server.ask(b"hello"), b"hello");
    server.wait_idle();
    let log = server.stop();
    assert!(log.contains("prise: stopping why=TERM "), "{log}");
}

fn clients_that_wait_for_a_process_are_served_within_the_grace_period_and_refused_after_it(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &["--grace", "60"], &["cat"]);
    let mut strace = Strace::attach(server.pid(), Follow::Parent, FORKS, "error=EAGAIN:when=1..3");
    let waiting = server.connect();
    server.wait_log("prise: paused why=EAGAIN ");
    server.signal(Signal::SIGTERM);
    assert_eq!(exchange(waiting, b"served"), b"served");
    let log = server.wait_stopped();
    strace.detach();
    assert!(log.contains("prise: stopped accepted=1 started=1 ended=1 refused=0 "), "{log}");

    let mut server = Server::start(reaper, &["--grace", "60"], &["cat"]);
    let mut strace = Strace::attach(server.pid(), Follow::Parent, FORKS, "error=EAGAIN");
    let mut waiting = server.connect();
    server.wait_log("prise: paused why=EAGAIN ");
    server.signal(Signal::SIGTERM);
    server.wait_log("prise: stopping ");
    std::thread::sleep(APART);
    server.signal(Signal::SIGTERM);
    assert_closed(&mut waiting);
    server.wait_log("prise: refused peer=[0-9.:]+ why=stopping\n");
    strace.detach();
    let log = server.wait_stopped();
    assert!(log.contains("prise: stopped accepted=1 started=0 ended=0 refused=1 "), "{log}");
}

fn it_can_stop_while_ppoll_fails(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    let mut strace = Strace::attach(server.pid(), Follow::Parent, "ppoll", "error=ENOMEM");
    assert_eq!(server.ask(b"hello"), b"hello");
    wait_until("no zombie is left", || server.children().is_empty());
    server.signal(Signal::SIGTERM);
    server.wait_log("prise: stopped ");
    server.wait_stopped();
    strace.detach();
}
