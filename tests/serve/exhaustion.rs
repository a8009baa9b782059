//! No descriptor, no memory, no process to be had: the server waits without spinning, nobody who was
//! accepted is dropped, and it goes on as soon as there is some.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{
    REPLY, Reaper, Server, am_root, assert_closed, cpu_ticks, finish, offspring, serve_under,
};
use crate::handed::SHARED;
use crate::strace::{Follow, Strace, can_attach};
use crate::support::{assert_takes_less, descriptors, has, wait_until};

trials!(
    both: out_of_descriptors_it_waits_and_serves_all_who_came,
        out_of_processes_it_serves_later_whom_it_has_accepted,
        every_shortage_that_accept_meets_is_waited_out,
        every_shortage_that_fork_meets_is_waited_out,
        an_accept_that_fails_again_and_again_does_not_make_it_spin,
        a_wait_that_fails_is_made_again,
        who_comes_by_a_proxy_is_heard_while_no_wait_succeeds,
        a_shortage_does_not_keep_it_from_stopping,
        a_shortage_that_is_over_is_forgotten,
        a_shortage_while_it_stops_does_not_make_it_spin,
        who_comes_by_a_proxy_waits_behind_those_who_wait;
    once: ;
);

const FORKS: &str = "?fork,?vfork,?clone,?clone3";

/// Change the soft limit of a process that is running.
#[track_caller]
fn prlimit(pid: u32, limit: &str) {
    prlimit_by(&mut Command::new("prlimit"), pid, limit);
}

#[track_caller]
fn prlimit_by(prlimit: &mut Command, pid: u32, limit: &str) {
    let status = prlimit.args(["--pid", &pid.to_string(), limit]).status().expect("prlimit runs");
    assert!(status.success(), "prlimit {limit}");
}

/// The descriptor that a process would open next.
fn next_descriptor(pid: u32) -> usize {
    (0..).find(|fd| !Path::new(&format!("/proc/{pid}/fd/{fd}")).exists()).expect("numbers are without end")
}

/// Detach, once its children are reaped: a SIGCHLD that comes while strace lets a process go may be lost.
#[track_caller]
fn let_go(server: &Server, strace: &mut Strace) {
    server.wait_children(0);
    strace.detach();
}

/// The CPU that it uses in a second, in ticks of 10 ms.
fn ticks_in_a_second(server: &Server) -> u64 {
    let before = cpu_ticks(server.pid());
    std::thread::sleep(Duration::from_secs(1));
    cpu_ticks(server.pid()) - before
}

/// How many calls strace makes fail in a second; one that takes longer to come, on a busy machine, is
/// still a second.
fn injected_in_a_second(strace: &Strace) -> usize {
    let (before, begin) = (strace.injected(), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let calls = strace.injected() - before;
    (calls as f64 / begin.elapsed().as_secs_f64()) as usize
}

fn out_of_descriptors_it_waits_and_serves_all_who_came(reaper: Reaper) {
    if !has("prlimit", "util-linux") {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    let held = server.connect();
    server.wait_children(1);
    wait_until("its copy of the client's socket is closed", || descriptors(server.pid()) == server.held);
    prlimit(server.pid(), &format!("--nofile={}:", next_descriptor(server.pid())));
    let waiting: Vec<_> = (0..20).map(|_| server.connect()).collect();
    server.wait_log("prise: paused why=EMFILE live=1/256\n");
    let ticks = ticks_in_a_second(&server);
    assert!(ticks <= 5, "{ticks} ticks of 10 ms in a second");
    wait_until("it tries again and again", || server.status().exhausted >= 5);
    // whom it has, it serves on; and it reaps
    assert_eq!(finish(held, b"held"), b"held");
    server.wait_children(0);
    prlimit(server.pid(), "--nofile=64:");
    for client in waiting {
        assert_eq!(finish(client, b"waited"), b"waited");
    }
    server.wait_log("prise: resumed live=[01]/256\n");
    let status = server.at_rest();
    assert_eq!((status.started, status.refused), (21, 0));
    server.stop();
}

fn out_of_processes_it_serves_later_whom_it_has_accepted(reaper: Reaper) {
    if !has("prlimit", "util-linux") {
        return;
    }
    // root may always fork: the server runs as another user, from where that user can read it
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let copy = folder.path().join("prise");
    // by a process of its own: a descriptor that is open for writing here, and that another test happens
    // to fork, would make it a busy text file
    assert!(
        Command::new("cp").arg(env!("CARGO_BIN_EXE_prise")).arg(&copy).status().expect("cp runs").success()
    );
    let user = || {
        let mut command = Command::new("prlimit");
        if am_root() {
            command.uid(NOBODY_ELSE + reaper as u32).current_dir("/");
        }
        command
    };
    let serve = ["serve", "--reaper", reaper.name(), "127.0.0.1:0"];
    let mut server = Server::run(user().args(["--nproc=0:", "--"]).arg(&copy).args(serve));
    let waiting: Vec<_> = (0..5).map(|_| server.connect()).collect();
    server.wait_log("prise: paused why=EAGAIN live=0/256\n");
    let ticks = ticks_in_a_second(&server);
    assert!(ticks <= 5, "{ticks} ticks of 10 ms in a second");
    let status = server.status();
    // the others wait in the backlog
    assert_eq!((status.accepted, status.waiting, status.started), (1, 1, 0));
    prlimit_by(&mut user(), server.pid(), "--nproc=1000:");
    for client in waiting {
        assert_eq!(finish(client, b"hello\n"), REPLY);
    }
    server.wait_log("prise: resumed live=0/256\n");
    assert_eq!(server.at_rest().started, 5);
    server.stop();
}

/// A user that owns no other process.
const NOBODY_ELSE: u32 = 61_730;

fn every_shortage_that_accept_meets_is_waited_out(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    for errno in ["ENFILE", "ENOBUFS", "ENOMEM"] {
        let fault = format!("error={errno}:when=1..4");
        let mut strace = Strace::attach(server.pid(), Follow::Parent, "accept4", &fault);
        let begin = Instant::now();
        assert_eq!(server.ask(b"hello"), b"hello", "{errno}");
        // four times it waited
        assert!(begin.elapsed() >= Duration::from_millis(380), "{errno}: {:?}", begin.elapsed());
        let_go(&server, &mut strace);
        assert_eq!(strace.injected(), 4, "{errno}");
    }
    server.wait_log("prise: paused why=ENFILE live=0/256\n");
    server.wait_log("prise: resumed live=0/256\n");
    let status = server.at_rest();
    assert_eq!((status.started, status.exhausted, status.refused), (3, 12, 0));
    server.stop();
}

fn every_shortage_that_fork_meets_is_waited_out(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    for errno in ["EAGAIN", "ENOMEM"] {
        let fault = format!("error={errno}:when=1..4");
        let mut strace = Strace::attach(server.pid(), Follow::Parent, FORKS, &fault);
        let clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
        for client in clients {
            assert_eq!(finish(client, b"hello"), b"hello", "{errno}");
        }
        let_go(&server, &mut strace);
        assert_eq!(strace.injected(), 4, "{errno}");
    }
    let status = server.at_rest();
    assert_eq!((status.started, status.exhausted, status.refused), (6, 8, 0));
    server.stop();
}

fn an_accept_that_fails_again_and_again_does_not_make_it_spin(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    for errno in ["ECONNABORTED", "EPERM", "EINVAL"] {
        let mut strace = Strace::attach(server.pid(), Follow::Parent, "accept4", &format!("error={errno}"));
        let waiting = server.connect();
        wait_until("accept fails", || strace.injected() > 0);
        let calls = injected_in_a_second(&strace);
        strace.detach();
        assert!(calls <= 400, "{errno}: {calls} calls in a second");
        assert_eq!(finish(waiting, b"hello"), b"hello", "{errno}");
    }
    server.at_rest();
    server.stop();
}

fn a_wait_that_fails_is_made_again(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    for errno in ["ENOMEM", "EINTR"] {
        let fault = format!("error={errno}:when=1..3");
        let mut strace = Strace::attach(server.pid(), Follow::Parent, "ppoll", &fault);
        // one wait may bring a client and the end of the one before it: how many clients it takes is open
        wait_until("three waits fail", || {
            assert_eq!(server.ask(b"hello"), b"hello", "{errno}");
            strace.injected() == 3
        });
        let_go(&server, &mut strace);
    }
    server.at_rest();
    server.stop();
}

fn who_comes_by_a_proxy_is_heard_while_no_wait_succeeds(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &["--proxy-protocol", "127.0.0.1"], &["cat"]);
    let mut strace = Strace::attach(server.pid(), Follow::Parent, "ppoll", "error=ENOMEM");
    // a header that is not looked at has three seconds to come
    assert_takes_less(Duration::from_millis(2500), || {
        let mut client = server.connect();
        wait_until("it is accepted", || server.status().waiting == 1);
        let begin = Instant::now();
        client.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.80 40123 80\r\n").unwrap();
        assert_eq!(finish(client, b"hello"), b"hello");
        begin.elapsed()
    });
    let_go(&server, &mut strace);
    assert_eq!(server.at_rest().refused, 0);
    server.stop();
}

fn a_shortage_does_not_keep_it_from_stopping(reaper: Reaper) {
    if !has("prlimit", "util-linux") {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    prlimit(server.pid(), "--nofile=3:");
    let _waiting = server.connect();
    server.wait_log("prise: paused why=EMFILE ");
    let log = server.stop();
    assert!(log.contains("prise: stopped accepted=0 "), "{log}");
}

fn a_shortage_that_is_over_is_forgotten(reaper: Reaper) {
    if !has("prlimit", "util-linux") || !has("python3", "python3") {
        return;
    }
    let mut command = serve_under(&["python3", "-c", SHARED], reaper, &["127.0.0.1:0"], &["cat"]);
    let mut server = Server::run(&mut command);
    let other = offspring(server.pid())[0];
    prlimit(server.pid(), &format!("--nofile={}:", next_descriptor(server.pid())));
    let mut client = server.connect();
    server.wait_log("prise: paused why=EMFILE live=0/256\n");
    // the one client goes to another, and then there are descriptors and no client
    kill(Pid::from_raw(other as i32), Signal::SIGUSR2).unwrap();
    assert_closed(&mut client);
    prlimit(server.pid(), "--nofile=1024:");
    server.wait_log("prise: resumed live=0/256\n");
    kill(Pid::from_raw(other as i32), Signal::SIGKILL).unwrap();
    server.wait_children(0);
    let ticks = ticks_in_a_second(&server);
    assert!(ticks <= 5, "{ticks} ticks of 10 ms in a second");
    server.stop();
}

fn a_shortage_while_it_stops_does_not_make_it_spin(reaper: Reaper) {
    if !has("prlimit", "util-linux") || !can_attach() {
        return;
    }
    // no descriptor for a client who then cannot come any more
    let mut server = Server::start(reaper, &["--grace", "60"], &["cat"]);
    let held = server.connect();
    server.wait_children(1);
    wait_until("its copy of the client's socket is closed", || descriptors(server.pid()) == server.held);
    prlimit(server.pid(), &format!("--nofile={}:", next_descriptor(server.pid())));
    let _waiting = server.connect();
    server.wait_log("prise: paused why=EMFILE live=1/256\n");
    server.signal(Signal::SIGTERM);
    server.wait_log("prise: stopping ");
    let ticks = ticks_in_a_second(&server);
    assert!(ticks <= 5, "{ticks} ticks of 10 ms in a second");
    assert_eq!(finish(held, b"held"), b"held");
    server.ended();
    // no process for a client who then is refused
    let mut server = Server::start(reaper, &["--grace", "0"], &["sh", "-c", "trap '' TERM; echo up; cat"]);
    let mut held = server.connect();
    held.read_exact(&mut [0; 3]).unwrap();
    let mut strace = Strace::attach(server.pid(), Follow::Parent, FORKS, "error=EAGAIN");
    let mut waiting = server.connect();
    server.wait_log("prise: paused why=EAGAIN live=1/256\n");
    server.signal(Signal::SIGTERM);
    assert_closed(&mut waiting);
    server.wait_log("prise: refused peer=[0-9.:]+ why=stopping\n");
    strace.detach();
    let ticks = ticks_in_a_second(&server);
    assert!(ticks <= 5, "{ticks} ticks of 10 ms in a second");
    server.ended();
}

fn who_comes_by_a_proxy_waits_behind_those_who_wait(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &["--proxy-protocol", "127.0.0.1"], &["cat"]);
    // before they connect: a header has three seconds to come
    let mut strace = Strace::attach(server.pid(), Follow::Parent, FORKS, "error=EAGAIN");
    let mut clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
    wait_until("all are accepted", || server.status().waiting == 40);
    for client in &mut clients {
        client.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.80 40123 80\r\n").unwrap();
    }
    server.wait_log("prise: paused why=EAGAIN live=0/256\n");
    let tries = injected_in_a_second(&strace);
    // ten times a second, and not once more for each who comes
    assert!(tries <= 15, "{tries} tries in a second");
    strace.detach();
    for client in clients {
        assert_eq!(finish(client, b"hello"), b"hello");
    }
    let status = server.at_rest();
    assert_eq!((status.started, status.refused), (40, 0));
    server.stop();
}
