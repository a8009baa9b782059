//! `--hangup`: a client that closes both directions ends its child; a half-close does not.

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::fixture::{
    Reaper, Server, child_pids, exchange, many_processes, marked_sleep, peer, program_name, reset,
    running_count,
};
use crate::support::{has, read_to_end, wait_until};

trials!(
    both: a_reset_ends_the_child_although_it_reads_nothing,
        a_connection_closed_in_both_directions_ends_the_child,
        a_half_close_does_not_end_the_child,
        a_child_that_ignores_sigterm_is_killed,
        without_hangup_a_reset_does_not_end_the_child,
        a_thousand_resets_end_the_children_and_delay_no_other_client;
    once: ;
);

fn a_reset_ends_the_child_although_it_reads_nothing(reaper: Reaper) {
    let sleep = marked_sleep();
    let mut server = Server::start(reaper, &["--hangup"], &["sh", "-c", &format!("{sleep} & {sleep}; :")]);
    for _ in 0..3 {
        let client = server.connect();
        let pattern = format!("prise: end pid=[0-9]+ peer={} signal=TERM ", peer(&client));
        wait_until("the child sleeps", || running_count(&sleep) == 2);
        reset(client);
        server.wait_log(&pattern);
        wait_until("its process group is empty", || running_count(&sleep) == 0);
    }
    assert_eq!(server.logged(" signal=TERM why=client-gone\n"), 3);
    server.wait_idle();
    server.stop();
}

fn a_connection_closed_in_both_directions_ends_the_child(reaper: Reaper) {
    if !has("perl", "perl-base") {
        return;
    }
    let program = "$| = 1; print 'end'; shutdown(STDOUT, 1); sleep 97";
    let mut server = Server::start(reaper, &["--hangup"], &["perl", "-e", program]);
    let mut client = server.connect();
    let (got, end) = read_to_end(&mut client);
    end.expect("the end of file");
    assert_eq!(got, b"end");
    // one direction is closed, the other is open
    assert_eq!(server.status().live, 1);
    drop(client);
    server.wait_log(" signal=TERM why=client-gone\n");
    server.wait_idle();
    server.stop();
}

fn a_half_close_does_not_end_the_child(reaper: Reaper) {
    let program = "cat >/dev/null; sleep 0.7; echo answered";
    let mut server = Server::start(reaper, &["--hangup"], &["sh", "-c", program]);
    assert_eq!(server.ask(b"question\n"), b"answered\n");
    let mut client = server.connect();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client).0, b"answered\n");
    server.wait_idle();
    let log = server.stop();
    assert!(!log.contains("prise: ending"), "{log}");
    assert_eq!(log.matches(" exit=0 ").count(), 2, "{log}");
}

fn a_child_that_ignores_sigterm_is_killed(reaper: Reaper) {
    let sleep = marked_sleep();
    let program = format!("trap '' TERM; {sleep} & {sleep}; :");
    let mut server = Server::start(reaper, &["--hangup"], &["sh", "-c", &program]);
    let client = server.connect();
    wait_until("the child sleeps", || running_count(&sleep) == 2);
    reset(client);
    server.wait_log("prise: end pid=[0-9]+ peer=[0-9.:]+ signal=KILL ");
    server.wait_log(" signal=KILL why=still-there\n");
    wait_until("its process group is empty", || running_count(&sleep) == 0);
    server.wait_idle();
    server.stop();
}

fn without_hangup_a_reset_does_not_end_the_child(reaper: Reaper) {
    let mut server = Server::start(reaper, &[], &["sh", "-c", "echo; sleep 1; exit 7"]);
    let mut client = server.connect();
    client.read_exact(&mut [0]).unwrap();
    reset(client);
    server.wait_log("prise: end pid=[0-9]+ peer=[0-9.:]+ exit=7 seconds=[1-9]");
    server.stop();
}

fn a_thousand_resets_end_the_children_and_delay_no_other_client(reaper: Reaper) {
    let _many = many_processes();
    let options = ["--hangup", "--max-children", "1010"];
    let mut server =
        Server::start(reaper, &options, &["sh", "-c", "read -r word && echo $word || exec sleep 97"]);
    let clients: Vec<_> = (0..1000).map(|_| server.connect()).collect();
    let staying = server.connect();
    server.wait_children(1001);
    for client in &clients {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let asleep = |pid: &u32| program_name(*pid) == "sleep";
    wait_until("all children sleep", || {
        child_pids(server.pid()).iter().filter(|pid| asleep(pid)).count() == 1000
    });
    clients.into_iter().for_each(reset);
    let mut slowest = Duration::ZERO;
    wait_until("all children but one have ended", || {
        let begin = Instant::now();
        assert_eq!(server.ask(b"hello\n"), b"hello\n");
        slowest = slowest.max(begin.elapsed());
        server.status().live == 1
    });
    assert!(slowest < Duration::from_secs(6), "a client waited for {slowest:?}");
    assert_eq!(server.logged(" signal=TERM why=client-gone\n"), 1000);
    assert_eq!(exchange(staying, b"still here\n"), b"still here\n");
    server.wait_idle();
    server.stop();
}
