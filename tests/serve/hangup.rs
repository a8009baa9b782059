//! `--hangup`: a client that has wholly gone ends its child, and one that half-closed does not.

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::fixture::{Reaper, Server, crowd, finish, marked_sleep, offspring, peer, reset, running};
use crate::support::{has, read_to_end, wait_until};

trials!(
    both: a_reset_ends_the_child_though_it_reads_nothing,
        a_connection_closed_both_ways_ends_the_child,
        a_half_close_ends_no_child,
        a_child_that_ignores_sigterm_is_killed_when_its_client_has_gone,
        without_hangup_a_reset_ends_no_child,
        a_thousand_clients_that_go_together_end_their_children_and_delay_nobody;
    once: ;
);

fn a_reset_ends_the_child_though_it_reads_nothing(reaper: Reaper) {
    let sleep = marked_sleep();
    let mut server = Server::start(reaper, &["--hangup"], &["sh", "-c", &format!("{sleep} & {sleep}; :")]);
    for _ in 0..3 {
        let client = server.connect();
        let pattern = format!("prise: end pid=[0-9]+ peer={} signal=TERM ", peer(&client));
        wait_until("it sleeps", || running(&sleep) == 2);
        reset(client);
        server.wait_log(&pattern);
        wait_until("nobody of its group is left", || running(&sleep) == 0);
    }
    assert_eq!(server.logged(" signal=TERM why=client-gone\n"), 3);
    server.at_rest();
    server.stop();
}

fn a_connection_closed_both_ways_ends_the_child(reaper: Reaper) {
    if !has("perl", "perl-base") {
        return;
    }
    let program = "$| = 1; print 'end'; shutdown(STDOUT, 1); sleep 97";
    let mut server = Server::start(reaper, &["--hangup"], &["perl", "-e", program]);
    let mut client = server.connect();
    let (got, end) = read_to_end(&mut client);
    end.expect("the end of file");
    assert_eq!(got, b"end");
    // one way is closed, and the other is not
    assert_eq!(server.status().live, 1);
    drop(client);
    server.wait_log(" signal=TERM why=client-gone\n");
    server.at_rest();
    server.stop();
}

fn a_half_close_ends_no_child(reaper: Reaper) {
    let program = "cat >/dev/null; sleep 0.7; echo answered";
    let mut server = Server::start(reaper, &["--hangup"], &["sh", "-c", program]);
    assert_eq!(server.ask(b"question\n"), b"answered\n");
    let mut client = server.connect();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client).0, b"answered\n");
    server.at_rest();
    let log = server.stop();
    assert!(!log.contains("prise: ending"), "{log}");
    assert_eq!(log.matches(" exit=0 ").count(), 2, "{log}");
}

fn a_child_that_ignores_sigterm_is_killed_when_its_client_has_gone(reaper: Reaper) {
    let sleep = marked_sleep();
    let program = format!("trap '' TERM; {sleep} & {sleep}; :");
    let mut server = Server::start(reaper, &["--hangup"], &["sh", "-c", &program]);
    let client = server.connect();
    wait_until("it sleeps", || running(&sleep) == 2);
    reset(client);
    server.wait_log("prise: end pid=[0-9]+ peer=[0-9.:]+ signal=KILL ");
    server.wait_log(" signal=KILL why=still-there\n");
    wait_until("nobody of its group is left", || running(&sleep) == 0);
    server.at_rest();
    server.stop();
}

fn without_hangup_a_reset_ends_no_child(reaper: Reaper) {
    let mut server = Server::start(reaper, &[], &["sh", "-c", "echo; sleep 1; exit 7"]);
    let mut client = server.connect();
    client.read_exact(&mut [0]).unwrap();
    reset(client);
    server.wait_log("prise: end pid=[0-9]+ peer=[0-9.:]+ exit=7 seconds=[1-9]");
    server.stop();
}

fn a_thousand_clients_that_go_together_end_their_children_and_delay_nobody(reaper: Reaper) {
    let _crowd = crowd();
    let options = ["--hangup", "--max-children", "1010"];
    let mut server =
        Server::start(reaper, &options, &["sh", "-c", "read -r word && echo $word || exec sleep 97"]);
    let clients: Vec<_> = (0..1000).map(|_| server.connect()).collect();
    let staying = server.connect();
    server.wait_children(1001);
    for client in &clients {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let asleep = |pid: &u32| crate::fixture::name_of(*pid) == "sleep";
    wait_until("all sleep", || offspring(server.pid()).iter().filter(|pid| asleep(pid)).count() == 1000);
    clients.into_iter().for_each(reset);
    let mut slowest = Duration::ZERO;
    wait_until("all have ended but one", || {
        let begin = Instant::now();
        assert_eq!(server.ask(b"hello\n"), b"hello\n");
        slowest = slowest.max(begin.elapsed());
        server.status().live == 1
    });
    assert!(slowest < Duration::from_secs(6), "a client waited for {slowest:?}");
    assert_eq!(server.logged(" signal=TERM why=client-gone\n"), 1000);
    assert_eq!(finish(staying, b"still here\n"), b"still here\n");
    server.at_rest();
    server.stop();
}
