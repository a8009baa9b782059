//! The server reaps each child within a second.

use std::collections::HashMap;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::fixture::{REPLY, Reaper, Server, child_pids, exchange, many_processes, serve_through};
use crate::support::{cpu_ticks, descriptors, has, read_to_end, stat_field, wait_until};

trials!(
    both: it_reaps_300_children_that_end_together_beside_2000_idle_ones,
        it_reaps_inherited_children,
        it_reaps_if_sigchld_was_ignored_or_blocked_at_start,
        two_thousand_clients_leave_no_zombie_and_no_descriptor,
        it_reaps_while_a_queue_of_clients_is_accepted;
    once: ;
);

/// Wait until a process has `left` children; assert meanwhile that no child is a zombie for a second. A late look, on a
/// busy machine, adds at most 50 ms to a zombie's age.
#[track_caller]
fn watch_until(parent: u32, left: usize) {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
    let mut ages: HashMap<u32, Duration> = HashMap::new();
    let mut last = Instant::now();
    wait_until(&format!("{left} children"), || {
        let children = child_pids(parent);
        let passed = last.elapsed().min(BETWEEN_LOOKS);
        last = Instant::now();
        let dead: Vec<u32> = children.iter().copied().filter(|&pid| is_zombie(pid)).collect();
        ages.retain(|pid, _| dead.contains(pid));
        for pid in dead {
            let age = ages.entry(pid).and_modify(|age| *age += passed).or_default();
            assert!(*age < Duration::from_secs(1), "{pid} has been a zombie for {age:?}");
        }
        children.len() == left
    });
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"))
}

fn hold(server: &Server, clients: usize) -> Vec<TcpStream> {
    (0..clients).map(|_| server.connect()).collect()
}

fn it_reaps_300_children_that_end_together_beside_2000_idle_ones(reaper: Reaper) {
    let _many = many_processes();
    let mut server = Server::start(reaper, &["--max-children", "3000"], &[]);
    // the oldest children, the youngest, and some in between will end
    let oldest = hold(&server, 100);
    let idle = [hold(&server, 1000), Vec::new()];
    let middle = hold(&server, 100);
    let more_idle = hold(&server, 1000);
    let youngest = hold(&server, 100);
    server.wait_children(2300);
    let leaving = [youngest, oldest, middle];
    let mut left = 2300;
    for (n, clients) in leaving.into_iter().enumerate() {
        left -= clients.len();
        if n == 1 {
            // while the parent is stopped, the SIGCHLD of its 100 children merge into one pending signal
            server.signal(Signal::SIGSTOP);
            drop(clients);
            wait_until("100 zombies", || {
                child_pids(server.pid()).iter().filter(|&&pid| is_zombie(pid)).count() == 100
            });
            server.signal(Signal::SIGCONT);
        } else {
            drop(clients);
        }
        watch_until(server.pid(), left);
    }
    assert_eq!(server.ask(b"hello\n"), REPLY);
    watch_until(server.pid(), 2000);
    // idle children cost no CPU time
    let before = cpu_ticks(server.pid());
    std::thread::sleep(Duration::from_millis(300));
    let ticks = cpu_ticks(server.pid()) - before;
    assert!(ticks <= 3, "{ticks} ticks of 10 ms within 300 ms");
    drop((idle, more_idle));
    watch_until(server.pid(), 0);
    let status = server.wait_idle();
    assert_eq!((status.ended, status.refused), (2301, 0));
    server.stop();
}

fn it_reaps_inherited_children(reaper: Reaper) {
    if !has("perl", "perl-base") {
        return;
    }
    // one child ends before the server's exec, so that its SIGCHLD is lost; one ends when the server is idle
    let launcher = "for $time (0, 1.7) { fork or do { select undef, undef, undef, $time; exit 0 } }
        select undef, undef, undef, 0.2; exec @ARGV";
    let mut server = Server::run(&mut serve_through(&["perl", "-e", launcher], reaper, &[], &["cat"]));
    watch_until(server.pid(), 0);
    assert_eq!(server.ask(b"hello"), b"hello");
    let status = server.wait_idle();
    // the counters do not count them
    assert_eq!((status.started, status.ended), (1, 1));
    assert_eq!(server.logged("prise: end "), 1);
    server.stop();
}

fn it_reaps_if_sigchld_was_ignored_or_blocked_at_start(reaper: Reaper) {
    if !has("perl", "perl-base") {
        return;
    }
    for launcher in [
        "$SIG{CHLD} = 'IGNORE'; exec @ARGV",
        "use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGCHLD, SIGUSR1, SIGTERM)); exec @ARGV",
    ] {
        let mut server = Server::run(&mut serve_through(&["perl", "-e", launcher], reaper, &[], &[]));
        for _ in 0..20 {
            assert_eq!(server.ask(b"hello\n"), REPLY);
        }
        watch_until(server.pid(), 0);
        assert_eq!(server.wait_idle().ended, 20);
        server.stop();
    }
}

fn two_thousand_clients_leave_no_zombie_and_no_descriptor(reaper: Reaper) {
    let mut server = Server::start(reaper, &["--hangup", "--timeout", "600"], &[]);
    let port = server.port;
    let serve = |n: usize| {
        (0..n).for_each(|_| assert_eq!(exchange(crate::support::connect(port), b"hello\n"), REPLY));
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| serve(500));
        }
    });
    watch_until(server.pid(), 0);
    assert_eq!(server.wait_idle().ended, 2000);
    assert_eq!(descriptors(server.pid()), server.initial_descriptors);
    // afterwards the server sleeps in ppoll
    wait_until("the server sleeps", || stat_field(server.pid(), 3) == "S");
    server.stop();
}

fn it_reaps_while_a_queue_of_clients_is_accepted(reaper: Reaper) {
    let mut server = Server::start(reaper, &["--max-children", "1000"], &[]);
    // while the parent is stopped, clients fill the backlog: afterwards the listener is always ready
    server.signal(Signal::SIGSTOP);
    let mut clients = hold(&server, 600);
    for client in &mut clients {
        client.write_all(b"hello\n").expect("a message can be sent");
        client.shutdown(Shutdown::Write).expect("a client can half-close");
    }
    server.signal(Signal::SIGCONT);
    for mut client in clients {
        let (reply, end) = read_to_end(&mut client);
        end.expect("the end of file");
        assert_eq!(reply, REPLY);
    }
    watch_until(server.pid(), 0);
    assert_eq!(server.wait_idle().ended, 600);
    let log = server.log();
    let first_end = log.find("prise: end pid=").expect("it was logged");
    let last_start = log.rfind("prise: start pid=").expect("it was logged");
    assert!(first_end < last_start, "no child was reaped until all 600 clients were accepted");
}
