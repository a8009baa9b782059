//! No descriptor, no process to be had: the server says so, waits without spinning, and goes on as soon
//! as there are some.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fixture::{Kind, REPLY, Server, am_root, assert_served, finish};
use crate::strace::{Follow, Strace, can_attach};
use crate::support::{connect, descriptors, has, read_to_end, wait_until};

both!(
    backs_off_while_accept_fails_and_then_goes_on,
    survives_running_out_of_descriptors,
    survives_running_out_of_processes,
);

/// Less than the server's pause of 100 ms between two attempts, for timers that are early.
const PAUSE: Duration = Duration::from_millis(95);

fn backs_off_while_accept_fails_and_then_goes_on(kind: Kind) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(kind);
    let before = (descriptors(server.pid()), cpu_ticks(server.pid()));
    let mut strace = Strace::attach(server.pid(), Follow::Children, "accept,accept4", "error=EMFILE");
    wait_until("accept fails", || strace.injected() > 0);
    let waiting = connect(server.port);
    let (begin, first) = (Instant::now(), strace.injected());
    wait_until("accept fails 15 times more", || strace.injected() >= first + 15);
    // there may be more than 15 by now, each after its pause; the first pause had begun before
    assert!(begin.elapsed() >= 14 * PAUSE, "15 attempts within {:?}", begin.elapsed());
    let ticks = cpu_ticks(server.pid()) - before.1;
    assert!(ticks < 30, "{ticks} ticks of CPU, of 10 ms each, in {:?}", begin.elapsed());
    strace.detach();
    assert_eq!(finish(waiting, b"hello\n"), REPLY);
    server.assert_well(before.0);
    let stderr = server.running.stderr();
    assert!(stderr.lines().all(|line| line == "ERROR on accept: Too many open files"), "{stderr}");
}

/// The CPU time that a process has used, in clock ticks: fields 14 and 15 of /proc/PID/stat.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let after_name = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.map(|field| field.parse::<u64>().expect("a number of ticks")).sum()
}

fn survives_running_out_of_descriptors(kind: Kind) {
    if !has("prlimit", "util-linux") {
        return;
    }
    let mut server = Server::start(kind);
    let held = descriptors(server.pid());
    prlimit(&mut Command::new("prlimit"), server.pid(), "--nofile=3:");
    // Linux gave the accept that is waiting its descriptor before that
    assert_served(server.port);
    let waiting = connect(server.port);
    wait_until("accept fails", || server.running.stderr().contains("ERROR on accept: Too many open files\n"));
    prlimit(&mut Command::new("prlimit"), server.pid(), "--nofile=64:");
    assert_eq!(finish(waiting, b"hello\n"), REPLY);
    server.assert_well(held);
}

fn survives_running_out_of_processes(kind: Kind) {
    if !has("prlimit", "util-linux") {
        return;
    }
    // root may always fork: the server runs as another user, from where that user can read it
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let mut argv = kind.argv();
    let copy = folder.path().join("program");
    // by a process of its own: a descriptor that is open for writing here, and that another test
    // happens to fork, would make it a busy text file
    assert!(Command::new("cp").arg(&argv[0]).arg(&copy).status().expect("cp runs").success());
    argv[0] = copy.display().to_string();
    let user = || {
        let mut command = Command::new("prlimit");
        if am_root() {
            command.uid(NOBODY_ELSE + kind as u32).current_dir("/");
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
        let said = "ERROR on fork: Resource temporarily unavailable\n".repeat(n);
        wait_until("fork fails once for each client", || server.running.stderr() == said);
    }
    prlimit(&mut user(), server.pid(), "--nproc=1000:");
    assert_served(server.port);
    server.assert_well(before);
}

/// A user that owns no other process.
const NOBODY_ELSE: u32 = 61_720;

/// Change the soft limit of a process that is running.
#[track_caller]
fn prlimit(prlimit: &mut Command, pid: u32, limit: &str) {
    let status = prlimit.args(["--pid", &pid.to_string(), limit]).status().expect("prlimit runs");
    assert!(status.success(), "prlimit {limit}");
}
