//! The server runs out of descriptors, memory or processes: it waits without spinning, drops no accepted client, and
//! goes on as soon as it can.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{REPLY, Reaper, Server, am_root, assert_closed, child_pids, exchange, serve_through};
use crate::handed::SHARED;
use crate::strace::{FORKS, Follow, Strace, can_attach};
use crate::support::{assert_takes_less, copy_program, cpu_ticks, descriptors, has, set_limit, wait_until};

trials!(
    both: without_descriptors_it_waits_and_then_serves_everyone,
        without_processes_it_waits_and_then_serves_everyone,
        it_retries_accept_after_every_shortage,
        it_retries_fork_after_every_shortage,
        an_accept_that_always_fails_does_not_make_it_spin,
        it_retries_a_failed_ppoll,
        it_reads_proxy_headers_while_ppoll_fails,
        it_can_stop_during_a_shortage,
        it_forgets_a_shortage_that_is_over,
        a_shortage_while_stopping_does_not_make_it_spin,
        a_new_client_does_not_cause_a_new_fork_attempt_during_a_shortage;
    once: ;
);

/// Change the soft limit of a running process.
#[track_caller]
fn prlimit(pid: u32, limit: &str) {
    set_limit(&mut Command::new("prlimit"), pid, limit);
}

/// The lowest free descriptor of a process, which it will open next.
fn next_descriptor(pid: u32) -> usize {
    (0..).find(|fd| !Path::new(&format!("/proc/{pid}/fd/{fd}")).exists()).expect("the range is endless")
}

/// Detach after all children are reaped: a SIGCHLD that arrives while strace detaches may be lost.
#[track_caller]
fn detach_when_reaped(server: &Server, strace: &mut Strace) {
    server.wait_children(0);
    strace.detach();
}

/// The CPU time that the server uses in a second, in ticks of 10 ms.
fn ticks_in_a_second(server: &Server) -> u64 {
    let before = cpu_ticks(server.pid());
    std::thread::sleep(Duration::from_secs(1));
    cpu_ticks(server.pid()) - before
}

/// How many calls strace lets fail per second. On a busy machine the sleep may be longer than a second; the count is
/// divided by the real time.
fn injected_in_a_second(strace: &Strace) -> usize {
    let (before, begin) = (strace.injected(), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let calls = strace.injected() - before;
    (calls as f64 / begin.elapsed().as_secs_f64()) as usize
}

fn without_descriptors_it_waits_and_then_serves_everyone(reaper: Reaper) {
    if !has("prlimit", "util-linux") {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    let held = server.connect();
    server.wait_children(1);
    wait_until("its copy of the client's socket is closed", || {
        descriptors(server.pid()) == server.initial_descriptors
    });
    prlimit(server.pid(), &format!("--nofile={}:", next_descriptor(server.pid())));
    let waiting: Vec<_> = (0..20).map(|_| server.connect()).collect();
    server.wait_log("prise: paused why=EMFILE live=1/256\n");
    let ticks = ticks_in_a_second(&server);
    assert!(ticks <= 5, "{ticks} ticks of 10 ms in a second");
    wait_until("it keeps trying", || server.status().exhausted >= 5);
    // meanwhile it serves the client that it has, and reaps the child
    assert_eq!(exchange(held, b"held"), b"held");
    server.wait_children(0);
    prlimit(server.pid(), "--nofile=64:");
    for client in waiting {
        assert_eq!(exchange(client, b"waited"), b"waited");
    }
    server.wait_log("prise: resumed live=[01]/256\n");
    let status = server.wait_idle();
    assert_eq!((status.started, status.refused), (21, 0));
    server.stop();
}

fn without_processes_it_waits_and_then_serves_everyone(reaper: Reaper) {
    if !has("prlimit", "util-linux") {
        return;
    }
    // root may always fork, so run the server as another user, from a folder that this user can read
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let copy = folder.path().join("prise");
    copy_program(env!("CARGO_BIN_EXE_prise"), &copy);
    let user = || {
        let mut command = Command::new("prlimit");
        if am_root() {
            command.uid(UNUSED_UID + reaper as u32).current_dir("/");
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
    // the other clients wait in the backlog
    assert_eq!((status.accepted, status.waiting, status.started), (1, 1, 0));
    set_limit(&mut user(), server.pid(), "--nproc=1000:");
    for client in waiting {
        assert_eq!(exchange(client, b"hello\n"), REPLY);
    }
    server.wait_log("prise: resumed live=0/256\n");
    assert_eq!(server.wait_idle().started, 5);
    server.stop();
}

/// A user who owns no other process; the next number is the other reaper's.
const UNUSED_UID: u32 = 61_730;

fn it_retries_accept_after_every_shortage(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    for errno in ["ENFILE", "ENOBUFS", "ENOMEM"] {
        let fault = format!("error={errno}:when=1..4");
        let mut strace = Strace::attach(server.pid(), Follow::Parent, "accept4", &fault);
        let begin = Instant::now();
        assert_eq!(server.ask(b"hello"), b"hello", "{errno}");
        // it has waited four times
        assert!(begin.elapsed() >= Duration::from_millis(380), "{errno}: {:?}", begin.elapsed());
        detach_when_reaped(&server, &mut strace);
        assert_eq!(strace.injected(), 4, "{errno}");
    }
    server.wait_log("prise: paused why=ENFILE live=0/256\n");
    server.wait_log("prise: resumed live=0/256\n");
    let status = server.wait_idle();
    assert_eq!((status.started, status.exhausted, status.refused), (3, 12, 0));
    server.stop();
}

fn it_retries_fork_after_every_shortage(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    for errno in ["EAGAIN", "ENOMEM"] {
        let fault = format!("error={errno}:when=1..4");
        let mut strace = Strace::attach(server.pid(), Follow::Parent, FORKS, &fault);
        let clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
        for client in clients {
            assert_eq!(exchange(client, b"hello"), b"hello", "{errno}");
        }
        detach_when_reaped(&server, &mut strace);
        assert_eq!(strace.injected(), 4, "{errno}");
    }
    let status = server.wait_idle();
    assert_eq!((status.started, status.exhausted, status.refused), (6, 8, 0));
    server.stop();
}

fn an_accept_that_always_fails_does_not_make_it_spin(reaper: Reaper) {
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
        assert_eq!(exchange(waiting, b"hello"), b"hello", "{errno}");
    }
    server.wait_idle();
    server.stop();
}

fn it_retries_a_failed_ppoll(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &[], &["cat"]);
    for errno in ["ENOMEM", "EINTR"] {
        let fault = format!("error={errno}:when=1..3");
        let mut strace = Strace::attach(server.pid(), Follow::Parent, "ppoll", &fault);
        // one ppoll may report both a client and the end of the child before, so the number of clients needed varies
        wait_until("ppoll fails three times", || {
            assert_eq!(server.ask(b"hello"), b"hello", "{errno}");
            strace.injected() == 3
        });
        detach_when_reaped(&server, &mut strace);
    }
    server.wait_idle();
    server.stop();
}

fn it_reads_proxy_headers_while_ppoll_fails(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &["--proxy-protocol", "127.0.0.1"], &["cat"]);
    let mut strace = Strace::attach(server.pid(), Follow::Parent, "ppoll", "error=ENOMEM");
    // after three seconds the server refuses a client whose header it has not read
    assert_takes_less(Duration::from_millis(2500), || {
        let mut client = server.connect();
        wait_until("it is accepted", || server.status().waiting == 1);
        let begin = Instant::now();
        client.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.80 40123 80\r\n").unwrap();
        assert_eq!(exchange(client, b"hello"), b"hello");
        begin.elapsed()
    });
    detach_when_reaped(&server, &mut strace);
    assert_eq!(server.wait_idle().refused, 0);
    server.stop();
}

fn it_can_stop_during_a_shortage(reaper: Reaper) {
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

fn it_forgets_a_shortage_that_is_over(reaper: Reaper) {
    if !has("prlimit", "util-linux") || !has("python3", "python3") {
        return;
    }
    let mut command = serve_through(&["python3", "-c", SHARED], reaper, &["127.0.0.1:0"], &["cat"]);
    let mut server = Server::run(&mut command);
    let other = child_pids(server.pid())[0];
    prlimit(server.pid(), &format!("--nofile={}:", next_descriptor(server.pid())));
    let mut client = server.connect();
    server.wait_log("prise: paused why=EMFILE live=0/256\n");
    // another process accepts the only client; then there are descriptors again, and no client waits
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

fn a_shortage_while_stopping_does_not_make_it_spin(reaper: Reaper) {
    if !has("prlimit", "util-linux") || !can_attach() {
        return;
    }
    // first: no descriptor for a waiting client; when the server stops, it closes the port
    let mut server = Server::start(reaper, &["--grace", "60"], &["cat"]);
    let held = server.connect();
    server.wait_children(1);
    wait_until("its copy of the client's socket is closed", || {
        descriptors(server.pid()) == server.initial_descriptors
    });
    prlimit(server.pid(), &format!("--nofile={}:", next_descriptor(server.pid())));
    let _waiting = server.connect();
    server.wait_log("prise: paused why=EMFILE live=1/256\n");
    server.signal(Signal::SIGTERM);
    server.wait_log("prise: stopping ");
    let ticks = ticks_in_a_second(&server);
    assert!(ticks <= 5, "{ticks} ticks of 10 ms in a second");
    assert_eq!(exchange(held, b"held"), b"held");
    server.wait_stopped();
    // second: no process for an accepted client; when the server stops, it refuses this client
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
    server.wait_stopped();
}

fn a_new_client_does_not_cause_a_new_fork_attempt_during_a_shortage(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &["--proxy-protocol", "127.0.0.1"], &["cat"]);
    // attach before the clients connect, for their headers must come within three seconds
    let mut strace = Strace::attach(server.pid(), Follow::Parent, FORKS, "error=EAGAIN");
    let mut clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
    wait_until("all are accepted", || server.status().waiting == 40);
    for client in &mut clients {
        client.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.80 40123 80\r\n").unwrap();
    }
    server.wait_log("prise: paused why=EAGAIN live=0/256\n");
    let attempts = injected_in_a_second(&strace);
    // ten attempts a second, not one more for each new client
    assert!(attempts <= 15, "{attempts} attempts in a second");
    strace.detach();
    for client in clients {
        assert_eq!(exchange(client, b"hello"), b"hello");
    }
    let status = server.wait_idle();
    assert_eq!((status.started, status.refused), (40, 0));
    server.stop();
}
