//! The limits: number of children, clients per source, rate per source, time per client.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::fixture::{Reaper, Server, assert_closed, exchange, marked_sleep, peer, running_count};
use crate::support::{DEADLINE, connect_from, wait_until};

trials!(
    both: at_max_children_the_next_client_waits_in_the_backlog,
        a_source_above_its_limit_is_closed_and_another_is_served,
        two_addresses_of_one_ipv6_network_are_one_source,
        an_ipv4_client_of_an_ipv6_socket_is_counted_as_ipv4,
        a_source_above_its_rate_is_served_again_later,
        timeout_sends_sigterm_and_2_seconds_later_sigkill_to_the_group,
        a_child_that_ends_in_time_gets_no_signal;
    once: ;
);

fn at_max_children_the_next_client_waits_in_the_backlog(reaper: Reaper) {
    let mut server = Server::start(reaper, &["--max-children", "3"], &["cat"]);
    let clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    server.wait_log("prise: paused why=max-children live=3/3\n");
    assert_eq!(server.children().len(), 3);
    // the two waiting clients are not accepted: they cost the server no descriptor
    let status = server.status();
    assert_eq!((status.accepted, status.live, status.waiting), (3, 3, 0));
    for client in clients {
        assert_eq!(exchange(client, b"hello"), b"hello");
    }
    server.wait_log("prise: resumed live=[0-2]/3\n");
    let status = server.wait_idle();
    assert_eq!((status.started, status.refused, status.exhausted), (5, 0, 0));
    let log = server.stop();
    assert!(!log.contains("live=4"), "{log}");
}

fn a_source_above_its_limit_is_closed_and_another_is_served(reaper: Reaper) {
    let mut server = Server::start(reaper, &["--per-ip", "2"], &["cat"]);
    let held = [server.connect(), server.connect()];
    server.wait_children(2);
    let mut third = server.connect();
    assert_closed(&mut third);
    server.wait_log(&format!("prise: refused peer={} why=per-ip\n", peer(&third)));
    let other = connect_from("127.0.0.2", server.port);
    assert_eq!(exchange(other, b"other"), b"other");
    for client in held {
        assert_eq!(exchange(client, b"held"), b"held");
    }
    server.wait_children(0);
    assert_eq!(server.ask(b"again"), b"again");
    assert_eq!(server.wait_idle().refused, 1);
    server.stop();
}

/// Connect, and announce a client address as a proxy does.
fn proxied_client(server: &Server, client: &str) -> TcpStream {
    let mut stream = server.connect();
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let local = if client.contains(':') { "2001:db8::80" } else { "192.0.2.80" };
    let header = format!("PROXY {family} {client} {local} 40000 80\r\n");
    stream.write_all(header.as_bytes()).expect("the server reads");
    stream
}

fn two_addresses_of_one_ipv6_network_are_one_source(reaper: Reaper) {
    let options = ["--per-ip", "1", "--proxy-protocol", "127.0.0.1"];
    let mut server = Server::start(reaper, &options, &["cat"]);
    let held = proxied_client(&server, "2001:db8:0:1::a");
    server.wait_children(1);
    assert_closed(&mut proxied_client(&server, "2001:db8:0:1:ffff::b"));
    server.wait_log(r"prise: refused peer=\[2001:db8:0:1:ffff::b\]:40000 why=per-ip\n");
    assert_eq!(exchange(proxied_client(&server, "2001:db8:0:2::a"), b"other"), b"other");
    // the proxy's own address is not counted
    assert_eq!(exchange(proxied_client(&server, "192.0.2.1"), b"other"), b"other");
    assert_eq!(exchange(held, b"held"), b"held");
    server.wait_children(0);
    assert_eq!(exchange(proxied_client(&server, "2001:db8:0:1:ffff::b"), b"now"), b"now");
    assert_eq!(server.wait_idle().refused, 1);
    server.stop();
}

fn an_ipv4_client_of_an_ipv6_socket_is_counted_as_ipv4(reaper: Reaper) {
    let mut server = Server::start(reaper, &["--per-ip", "1", "[::]:0"], &["cat"]);
    let held = server.connect();
    server.wait_children(1);
    server.wait_log(&format!("prise: start pid=[0-9]+ peer={} ", peer(&held)));
    assert_closed(&mut server.connect());
    // as IPv4-mapped IPv6 addresses, both would be in the same /64
    assert_eq!(exchange(connect_from("127.0.0.2", server.port), b"other"), b"other");
    let v6 = TcpStream::connect(("::1", server.port)).expect("the server listens on IPv6, too");
    let v6_line = format!("prise: start pid=[0-9]+ peer={} ", regex::escape(&peer(&v6)));
    assert_eq!(exchange(v6, b"v6"), b"v6");
    server.wait_log(&v6_line);
    drop(held);
    assert_eq!(server.wait_idle().refused, 1);
    server.stop();
}

fn a_source_above_its_rate_is_served_again_later(reaper: Reaper) {
    let mut server = Server::start(reaper, &["--rate", "3/2"], &["cat"]);
    let begin = Instant::now();
    let mut served = 0;
    let mut refused = 0;
    // refused attempts do not delay the next token
    while served < 6 || refused == 0 {
        let mut client = server.connect();
        // the server may already have closed a refused client
        let _ = client.write_all(b"hello");
        let _ = client.shutdown(std::net::Shutdown::Write);
        let (got, _) = crate::support::read_to_end(&mut client);
        if got == b"hello" {
            served += 1;
        } else {
            assert_eq!(got, b"");
            refused += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(begin.elapsed() < DEADLINE, "{served} served, {refused} refused");
    }
    // three at once, then one every two thirds of a second
    assert!(begin.elapsed() >= Duration::from_millis(1990), "{:?}", begin.elapsed());
    assert_eq!(exchange(connect_from("127.0.0.2", server.port), b"other"), b"other");
    let status = server.wait_idle();
    assert_eq!((status.started, status.refused), (served + 1, refused));
    assert_eq!(server.logged(" why=rate\n") as u64, refused);
    server.stop();
}

fn timeout_sends_sigterm_and_2_seconds_later_sigkill_to_the_group(reaper: Reaper) {
    let sleep = marked_sleep();
    let program = format!("read -r how; [ $how = meek ] || trap '' TERM; {sleep} & {sleep}");
    let mut server = Server::start(reaper, &["--timeout", "4"], &["sh", "-c", &program]);
    let mut clients = [server.connect(), server.connect()];
    let peers = [peer(&clients[0]), peer(&clients[1])];
    clients[0].write_all(b"meek\n").unwrap();
    clients[1].write_all(b"stubborn\n").unwrap();
    wait_until("both have their grandchildren", || running_count(&sleep) == 4);
    for (peer, signal, least, most) in [(&peers[0], "TERM", 4.0, 9.0), (&peers[1], "KILL", 6.0, 12.0)] {
        let pattern = format!("prise: end pid=[0-9]+ peer={peer} signal={signal} seconds=([0-9.]+) ");
        let seconds: f64 = server.wait_log(&pattern).parse().expect("a number of seconds");
        assert!((least..most).contains(&seconds), "{seconds} s until SIG{signal}");
    }
    assert_eq!(server.logged(" signal=TERM why=timeout\n"), 2);
    assert_eq!(server.logged(" signal=KILL why=still-there\n"), 1);
    clients.iter_mut().for_each(assert_closed);
    wait_until("both process groups are empty", || running_count(&sleep) == 0);
    server.wait_idle();
    server.stop();
}

fn a_child_that_ends_in_time_gets_no_signal(reaper: Reaper) {
    let mut server = Server::start(reaper, &["--timeout", "3"], &["cat"]);
    for _ in 0..20 {
        assert_eq!(server.ask(b"hello"), b"hello");
    }
    let begin = Instant::now();
    let held = server.connect();
    server.wait_log(" signal=TERM why=timeout\n");
    assert!(begin.elapsed() >= Duration::from_millis(2990), "{:?}", begin.elapsed());
    drop(held);
    server.wait_idle();
    assert_eq!(server.stop().matches("prise: ending ").count(), 1);
}
