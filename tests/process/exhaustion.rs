//! The server runs out of descriptors or processes: it logs this, waits without spinning, and goes on as soon as it
//! can.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fixture::{Kind, REPLY, Server, am_root, assert_served, exchange};
use crate::strace::{Follow, Strace, can_attach};
use crate::support::{
    connect, copy_program, cpu_ticks, descriptors, has, read_to_end, set_limit, wait_until,
};

both!(
    waits_between_failed_accepts_and_then_goes_on,
    survives_running_out_of_descriptors,
    survives_running_out_of_processes,
);

/// The server waits 100 ms between two attempts; the test allows timers to be 5 ms early.
const PAUSE: Duration = Duration::from_millis(95);

fn waits_between_failed_accepts_and_then_goes_on(kind: Kind) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(kind);
    let before = (descriptors(server.pid()), cpu_ticks(server.pid()));
    let mut strace = Strace::attach(server.pid(), Follow::Children, "accept,accept4", "error=EMFILE");
    wait_until("accept fails", || strace.injected() > 0);
    let waiting = connect(server.port);
    let (begin, first) = (Instant::now(), strace.injected());
    wait_until("accept fails 15 more times", || strace.injected() >= first + 15);
    // the first of these pauses began before `begin`: count 14
    assert!(begin.elapsed() >= 14 * PAUSE, "15 attempts within {:?}", begin.elapsed());
    let ticks = cpu_ticks(server.pid()) - before.1;
    assert!(ticks < 30, "{ticks} ticks of CPU, of 10 ms each, in {:?}", begin.elapsed());
    strace.detach();
    assert_eq!(exchange(waiting, b"hello\n"), REPLY);
    server.assert_well(before.0);
    let stderr = server.running.stderr();
    assert!(stderr.lines().all(|line| line == "ERROR on accept: Too many open files"), "{stderr}");
}

fn survives_running_out_of_descriptors(kind: Kind) {
    if !has("prlimit", "util-linux") {
        return;
    }
    let mut server = Server::start(kind);
    let held = descriptors(server.pid());
    set_limit(&mut Command::new("prlimit"), server.pid(), "--nofile=3:");
    // on Linux, the accept() that already waits has reserved its descriptor before the limit changed
    assert_served(server.port);
    let waiting = connect(server.port);
    wait_until("accept fails", || server.running.stderr().contains("ERROR on accept: Too many open files\n"));
    set_limit(&mut Command::new("prlimit"), server.pid(), "--nofile=64:");
    assert_eq!(exchange(waiting, b"hello\n"), REPLY);
    server.assert_well(held);
}

fn survives_running_out_of_processes(kind: Kind) {
    if !has("prlimit", "util-linux") {
        return;
    }
    // root may always fork, so run the server as another user, from a folder that this user can read
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let mut argv = kind.argv();
    let copy = folder.path().join("program");
    copy_program(&argv[0], &copy);
    argv[0] = copy.display().to_string();
    let user = || {
        let mut command = Command::new("prlimit");
        if am_root() {
            command.uid(UNUSED_UID + kind as u32).current_dir("/");
        }
        command
    };
    let mut server = Server::run(user().args(["--nproc=0:", "--"]).args(argv).args(["--port", "0"]));
    let before = descriptors(server.pid());
    for n in 1..=3 {
        let mut client = connect(server.port);
        client.write_all(b"hello\n").unwrap();
        let (reply, _) = read_to_end(&mut client);
        assert!(reply.is_empty(), "{reply:?}");
        let expected = "ERROR on fork: Resource temporarily unavailable\n".repeat(n);
        wait_until("fork fails once for each client", || server.running.stderr() == expected);
    }
    set_limit(&mut user(), server.pid(), "--nproc=1000:");
    assert_served(server.port);
    server.assert_well(before);
}

/// A user who owns no other process; the next number is the second kind's.
const UNUSED_UID: u32 = 61_720;
