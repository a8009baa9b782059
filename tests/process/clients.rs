//! Many clients, and clients that misbehave: they reset, never close, never stop sending.

use std::io::Write;

use nix::sys::signal::Signal;

use crate::fixture::{Kind, REPLY, Server, accepted, assert_served, exchange, reset};
use crate::support::{connect, read_to_end, wait_until};

both!(
    survives_a_client_that_resets_instead_of_sending,
    survives_a_client_that_resets_after_its_message,
    survives_a_client_that_resets_before_accept,
    ends_the_child_of_a_client_that_never_closes,
    ends_the_child_of_a_client_that_never_stops_sending,
    serves_500_clients_connected_at_the_same_time,
    serves_with_the_shortest_and_the_longest_backlog,
);

fn survives_a_client_that_resets_instead_of_sending(kind: Kind) {
    let mut server = Server::start(kind);
    let client = connect(server.port);
    server.wait_children(1);
    reset(client);
    server.wait_children(0);
    let expected = "ERROR reading from socket: Connection reset by peer\n";
    wait_until("the child prints the error", || server.running.stderr() == expected);
    assert_served(server.port);
    let log = server.end_log();
    assert_eq!(log.matches("Message from client").count(), 1, "{log}");
}

fn survives_a_client_that_resets_after_its_message(kind: Kind) {
    let mut server = Server::start(kind);
    let mut client = connect(server.port);
    client.write_all(b"hello\n").unwrap();
    server.running.wait_stdout("Message from client: hello\n");
    reset(client);
    server.wait_children(0);
    assert_served(server.port);
    server.wait_children(0);
}

fn survives_a_client_that_resets_before_accept(kind: Kind) {
    let mut server = Server::start_with(kind, &["--backlog", "8"]);
    server.running.signal(Signal::SIGSTOP);
    let silent = connect(server.port);
    let mut talking = connect(server.port);
    talking.write_all(b"talking\n").unwrap();
    let lines = [accepted(&silent), accepted(&talking)];
    reset(silent);
    reset(talking);
    server.running.signal(Signal::SIGCONT);
    for line in lines {
        server.running.wait_stdout(&line);
    }
    server.wait_children(0);
    assert_served(server.port);
    server.wait_children(0);
    let (_, stderr) = server.end();
    // a child may have read the second client's message before its reset arrived
    let (reading, writing) = stderr.lines().partition::<Vec<_>, _>(|line| line.starts_with("ERROR reading"));
    assert_eq!(reading, ["ERROR reading from socket: Connection reset by peer"], "{stderr}");
    assert!(writing.iter().all(|line| line.starts_with("ERROR writing to socket: ")), "{stderr}");
}

fn ends_the_child_of_a_client_that_never_closes(kind: Kind) {
    let server = Server::start(kind);
    let mut client = connect(server.port);
    client.write_all(b"hello\n").unwrap();
    let (reply, end) = read_to_end(&mut client);
    end.expect("the end of file");
    assert_eq!(reply, REPLY);
    // the client has not closed its end of the connection
    server.wait_children(0);
    drop(client);
}

fn ends_the_child_of_a_client_that_never_stops_sending(kind: Kind) {
    let server = Server::start(kind);
    let mut client = connect(server.port);
    wait_until("the server resets the connection", || client.write_all(b"hello\n").is_err());
    server.wait_children(0);
    assert_served(server.port);
}

fn serves_500_clients_connected_at_the_same_time(kind: Kind) {
    let server = Server::start_with(kind, &["--backlog", "128"]);
    let mut clients = Vec::new();
    for held in (50..=500).step_by(50) {
        // no more at a time than the backlog holds: beyond that, connections may be lost or delayed
        clients.extend((0..50).map(|_| connect(server.port)));
        server.wait_children(held);
    }
    for client in clients {
        assert_eq!(exchange(client, b"hello\n"), REPLY);
    }
    server.wait_children(0);
}

fn serves_with_the_shortest_and_the_longest_backlog(kind: Kind) {
    for backlog in ["0", "2147483647"] {
        let server = Server::start_with(kind, &["--backlog", backlog]);
        (0..20).for_each(|_| assert_served(server.port));
        server.wait_children(0);
    }
}
