//! The end: the port is closed at once, children may finish, and nobody outlives the grace.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Reaper, Server, assert_closed, finish, is_root, marked_sleep, running, serve_under};
use crate::strace::{Follow, Strace, can_attach};
use crate::support::{assert_takes_less, has, wait_until};

trials!(
    both: the_first_signal_closes_the_port_at_once_and_lets_children_finish,
        nobody_of_a_childs_group_outlives_the_grace,
        a_grandchild_that_ignores_sigterm_does_not_outlive_the_child_that_obeys,
        a_child_that_has_left_its_group_does_not_outlive_the_grace,
        a_child_that_has_left_its_helper_in_its_group_does_not_outlive_the_grace,
        it_stops_while_no_wait_succeeds,
        a_child_that_may_not_be_signalled_is_told_of_and_not_waited_for,
        the_second_signal_skips_the_wait,
        the_third_signal_kills_at_once,
        the_third_signal_waits_for_nobody_who_may_not_be_killed,
        signals_that_come_together_are_one,
        no_grace_at_all_ends_children_at_once,
        a_group_keeps_the_server_no_longer_than_there_is_somebody_in_it,
        sighup_stops_unless_nohup_means_otherwise,
        clients_that_wait_for_a_process_are_served_within_the_grace_and_refused_after_it;
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
        assert_eq!(finish(held, b"end"), b"end");
        let log = server.ended();
        // the last child's end is the server's, long before the grace is over
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        assert!(
            log.ends_with("prise: stopped accepted=1 started=1 ended=1 refused=0 exhausted=0 lost-lines=0\n"),
            "{log}"
        );
        assert!(!log.contains("ending"), "{log}");
    }
}

/// Start a server whose children, and theirs, sleep and may ignore SIGTERM; with a client that holds one.
fn stubborn(reaper: Reaper, grace: &str, script: &str, clients: usize) -> (Server, Vec<TcpStream>, String) {
    let sleep = marked_sleep();
    let script = script.replace("SLEEP", &sleep);
    let server = Server::start(reaper, &["--grace", grace], &["sh", "-c", &script]);
    let held = (0..clients).map(|_| server.connect()).collect();
    let processes = clients * script.matches(&sleep).count();
    wait_until("all sleep", || running(&sleep) == processes);
    (server, held, sleep)
}

fn nobody_of_a_childs_group_outlives_the_grace(reaper: Reaper) {
    let (mut server, held, sleep) = stubborn(reaper, "1", "trap '' TERM; SLEEP & SLEEP & SLEEP; :", 5);
    let begin = Instant::now();
    server.signal(Signal::SIGTERM);
    let log = server.ended();
    // one second of grace, and two between SIGTERM and SIGKILL
    assert!(begin.elapsed() >= Duration::from_millis(2990), "{:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(running(&sleep), 0);
    assert_eq!(log.matches(" signal=TERM why=stopping\n").count(), 5, "{log}");
    assert_eq!(log.matches(" signal=KILL why=still-there\n").count(), 5, "{log}");
    assert!(log.contains("prise: stopped accepted=5 started=5 ended=5 "), "{log}");
    drop(held);
}

fn a_grandchild_that_ignores_sigterm_does_not_outlive_the_child_that_obeys(reaper: Reaper) {
    let script = "(trap '' TERM; SLEEP; :) & SLEEP; :";
    let (mut server, _held, sleep) = stubborn(reaper, "0", script, 3);
    server.signal(Signal::SIGTERM);
    let log = server.ended();
    assert_eq!(running(&sleep), 0);
    assert_eq!(log.matches(" signal=TERM seconds=").count(), 3, "{log}");
    assert_eq!(log.matches(" signal=KILL why=still-there\n").count(), 3, "{log}");
}

fn a_child_that_has_left_its_group_does_not_outlive_the_grace(reaper: Reaper) {
    who_leaves_does_not_outlive_the_grace(reaper, "");
}

fn a_child_that_has_left_its_helper_in_its_group_does_not_outlive_the_grace(reaper: Reaper) {
    // to signal the group is no error, and does not reach the child
    let helper = "pipe(R, W); if (!fork()) { $SIG{TERM} = 'IGNORE'; close W; sleep 97 } close W; <R>; ";
    who_leaves_does_not_outlive_the_grace(reaper, helper);
}

fn who_leaves_does_not_outlive_the_grace(reaper: Reaper, before: &str) {
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
        let log = server.ended();
        assert!(log.contains(" signal=KILL seconds="), "{log}");
        begin.elapsed()
    });
}

fn a_child_that_may_not_be_signalled_is_told_of_and_not_waited_for(reaper: Reaper) {
    if !is_root() || !has("setpriv", "util-linux") {
        return;
    }
    // root, but for the capability to signal another user's processes
    let launcher = ["setpriv", "--bounding-set", "-all,+setuid,+setgid", "--"];
    let options = ["--user", "nobody", "--grace", "0"];
    assert_takes_less(SOON, || {
        let mut server = Server::run(&mut serve_under(&launcher, reaper, &options, &["cat"]));
        let held = server.connect();
        let child = server.only_child("cat");
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        server.wait_log("prise: stopped accepted=1 started=1 ended=0 ");
        let took = begin.elapsed();
        // nobody could end it, and its client is served
        assert_eq!(finish(held, b"hello"), b"hello");
        let log = server.ended();
        assert_eq!(log.matches(&format!("prise: failed pid={child} step=kill why=")).count(), 1, "{log}");
        took
    });
}

/// How long signals that follow each other are apart, so that each counts.
const APART: Duration = Duration::from_millis(150);
/// So long a stop takes at most that waits for nobody's grace.
const SOON: Duration = Duration::from_secs(5);
/// Less than the two seconds between SIGTERM and SIGKILL, and the signals before.
const AT_ONCE: Duration = Duration::from_millis(1700);

fn the_third_signal_waits_for_nobody_who_may_not_be_killed(reaper: Reaper) {
    if !is_root() || !has("setpriv", "util-linux") {
        return;
    }
    let launcher = ["setpriv", "--bounding-set", "-all,+setuid,+setgid", "--"];
    let options = ["--user", "nobody", "--grace", "60"];
    assert_takes_less(AT_ONCE, || {
        let mut server = Server::run(&mut serve_under(&launcher, reaper, &options, &["cat"]));
        let held = server.connect();
        server.only_child("cat");
        for said in ["stopping why=TERM ", "ending pid=[0-9]+ signal=TERM why=stopping\n"] {
            server.signal(Signal::SIGTERM);
            server.wait_log(&format!("prise: {said}"));
            std::thread::sleep(APART);
        }
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        server.wait_log("prise: stopped accepted=1 started=1 ended=0 ");
        let took = begin.elapsed();
        assert_eq!(finish(held, b"hello"), b"hello");
        server.ended();
        took
    });
}

fn signals_that_come_together_are_one(reaper: Reaper) {
    // on a busy machine the server may see them apart; not again and again
    assert!((0..10).any(|_| two_signals_are_one(reaper)), "each signal counts, however close they are");
}

/// Whether a second signal, a moment after the first, has not ended the grace; one more does.
fn two_signals_are_one(reaper: Reaper) -> bool {
    let mut server = Server::start(reaper, &["--grace", "60"], &["cat"]);
    let mut held = server.connect();
    server.only_child("cat");
    server.signal(Signal::SIGTERM);
    server.wait_log("prise: stopping why=TERM live=1 grace=60\n");
    server.signal(Signal::SIGTERM);
    std::thread::sleep(APART);
    let is_one = server.logged("prise: ending ") == 0;
    server.signal(Signal::SIGTERM);
    server.wait_log("prise: ending pid=[0-9]+ signal=TERM why=stopping\n");
    assert_closed(&mut held);
    server.ended();
    is_one
}

fn the_second_signal_skips_the_wait(reaper: Reaper) {
    assert_takes_less(SOON, || {
        let (mut server, _held, sleep) = stubborn(reaper, "600", "SLEEP & SLEEP; :", 2);
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        server.wait_log("prise: stopping why=TERM live=2 grace=600\n");
        std::thread::sleep(APART);
        server.signal(Signal::SIGINT);
        let log = server.ended();
        let took = begin.elapsed();
        assert_eq!(running(&sleep), 0);
        assert_eq!(log.matches(" signal=TERM why=stopping\n").count(), 2, "{log}");
        took
    });
}

fn the_third_signal_kills_at_once(reaper: Reaper) {
    assert_takes_less(AT_ONCE, || {
        let (mut server, _held, sleep) = stubborn(reaper, "60", "trap '' TERM; SLEEP & SLEEP; :", 2);
        server.signal(Signal::SIGTERM);
        server.wait_log("prise: stopping ");
        std::thread::sleep(APART);
        server.signal(Signal::SIGTERM);
        wait_until("both are told", || server.logged(" signal=TERM why=stopping\n") == 2);
        std::thread::sleep(APART);
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        let log = server.ended();
        let took = begin.elapsed();
        wait_until("nobody of their groups is left", || running(&sleep) == 0);
        assert_eq!(log.matches(" signal=KILL seconds=").count(), 2, "{log}");
        took
    });
}

fn no_grace_at_all_ends_children_at_once(reaper: Reaper) {
    assert_takes_less(AT_ONCE, || {
        let (mut server, mut held, sleep) = stubborn(reaper, "0", "exec SLEEP", 2);
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        server.ended();
        let took = begin.elapsed();
        assert_eq!(running(&sleep), 0);
        held.iter_mut().for_each(assert_closed);
        took
    });
}

/// Runs a program, takes its orphans on as init does, and waits for them: some inits take their time.
const INIT: &str = "import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
program = os.fork()
if program == 0: os.execvp(sys.argv[1], sys.argv[1:])
while True:
    pid, status = os.wait()
    if pid == program: sys.exit(os.waitstatus_to_exitcode(status))
";

fn a_group_keeps_the_server_no_longer_than_there_is_somebody_in_it(reaper: Reaper) {
    if !has("python3", "python3") {
        return;
    }
    // the grandchild ends half a second after the child, by itself
    let script = "(trap '' TERM; echo ready; sleep 0.5; sleep 0.5) & sleep 97; :";
    let launcher = ["python3", "-c", INIT];
    assert_takes_less(AT_ONCE, || {
        let command = &mut serve_under(&launcher, reaper, &["--grace", "0"], &["sh", "-c", script]);
        let mut server = Server::run(command);
        let parent: i32 = server.wait_log("prise: listening .* pid=([0-9]+) ").parse().expect("a process");
        let mut held = server.connect();
        held.read_exact(&mut [0; 6]).unwrap();
        let begin = Instant::now();
        kill(Pid::from_raw(parent), Signal::SIGTERM).expect("the server is there");
        let log = server.ended();
        let took = begin.elapsed();
        assert!(took > Duration::from_millis(400), "{took:?}");
        assert!(!log.contains("still-there") || took >= AT_ONCE, "{log}");
        took
    });
}

fn sighup_stops_unless_nohup_means_otherwise(reaper: Reaper) {
    if !has("nohup", "coreutils") {
        return;
    }
    let mut command = serve_under(&["nohup"], reaper, &[], &["cat"]);
    let mut server = Server::run(&mut command);
    server.signal(Signal::SIGHUP);
    assert_eq!(server.ask(b"hello"), b"hello");
    server.at_rest();
    let log = server.stop();
    assert!(log.contains("prise: stopping why=TERM "), "{log}");
}

fn clients_that_wait_for_a_process_are_served_within_the_grace_and_refused_after_it(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &["--grace", "60"], &["cat"]);
    let forks = "?fork,?vfork,?clone,?clone3";
    let mut strace = Strace::attach(server.pid(), Follow::Parent, forks, "error=EAGAIN:when=1..3");
    let waiting = server.connect();
    server.wait_log("prise: paused why=EAGAIN ");
    server.signal(Signal::SIGTERM);
    assert_eq!(finish(waiting, b"served"), b"served");
    let log = server.ended();
    strace.detach();
    assert!(log.contains("prise: stopped accepted=1 started=1 ended=1 refused=0 "), "{log}");

    let mut server = Server::start(reaper, &["--grace", "60"], &["cat"]);
    let mut strace = Strace::attach(server.pid(), Follow::Parent, forks, "error=EAGAIN");
    let mut waiting = server.connect();
    server.wait_log("prise: paused why=EAGAIN ");
    server.signal(Signal::SIGTERM);
    server.wait_log("prise: stopping ");
    std::thread::sleep(APART);
    server.signal(Signal::SIGTERM);
    assert_closed(&mut waiting);
    server.wait_log("prise: refused peer=[0-9.:]+ why=stopping\n");
    strace.detach();
    let log = server.ended();
    assert!(log.contains("prise: stopped accepted=1 started=0 ended=0 refused=1 "), "{log}");
}

fn it_stops_while_no_wait_succeeds(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    let mut strace = Strace::attach(server.pid(), Follow::Parent, "ppoll", "error=ENOMEM");
    assert_eq!(server.ask(b"hello"), b"hello");
    wait_until("no zombie is left", || server.children().is_empty());
    server.signal(Signal::SIGTERM);
    server.wait_log("prise: stopped ");
    server.ended();
    strace.detach();
}
