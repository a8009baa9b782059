//! Every path releases its slot. With `--max-children 1`, a client is served only if the slot of the one before is
//! free.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::fixture::{ONE_SLOT, REPLY, Reaper, Server, assert_closed, exchange, peer, reset};
use crate::strace::{FORKS, Follow, Strace, can_attach};
use crate::support::{connect, connect_from, read_to_end, wait_until};

trials!(
    both: a_child_that_exits_or_is_killed_releases_its_slot,
        a_program_that_cannot_be_executed_releases_its_slot,
        a_child_whose_setup_fails_releases_its_slot,
        a_client_that_resets_releases_its_slot,
        a_refused_client_takes_no_slot,
        an_invalid_proxy_header_releases_its_slot,
        a_failed_fork_takes_no_slot,
        a_thousand_clients_of_all_kinds_leave_nothing_behind;
    once: ;
);

/// A program that executes its client's line.
const EXECUTE_LINE: [&str; 3] = ["sh", "-c", "read -r how; echo \"$how\"; eval \"$how\""];

fn a_child_that_exits_or_is_killed_releases_its_slot(reaper: Reaper) {
    let mut server = Server::start(reaper, &ONE_SLOT, &EXECUTE_LINE);
    for (how, logged) in [
        ("exit 0", "exit=0"),
        ("exit 255", "exit=255"),
        ("kill -TERM $$", "signal=TERM"),
        ("kill -KILL $$", "signal=KILL"),
        // nix does not know this signal, and its waitpid() fails on it
        ("kill -40 $$", "signal=40"),
    ] {
        for _ in 0..10 {
            assert_eq!(server.ask(format!("{how}\n").as_bytes()), format!("{how}\n").as_bytes());
        }
        wait_until(logged, || server.logged(&format!(" {logged} ")) == 10);
    }
    let status = server.wait_idle();
    assert_eq!((status.accepted, status.refused, status.exhausted), (50, 0, 0));
    server.stop();
}

fn a_program_that_cannot_be_executed_releases_its_slot(reaper: Reaper) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("program");
    fs::write(&file, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = Server::start(reaper, &ONE_SLOT, &[file.to_str().unwrap()]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    (0..10).for_each(|_| assert_closed(&mut server.connect()));
    wait_until("ten children exit with 126", || server.logged(" exit=126 ") == 10);
    assert_eq!(server.logged(" step=exec why=Permission denied\n"), 10);
    fs::remove_file(&file).unwrap();
    (0..10).for_each(|_| assert_closed(&mut server.connect()));
    wait_until("ten children exit with 127", || server.logged(" exit=127 ") == 10);
    assert_eq!(server.logged(" step=exec why=No such file or directory\n"), 10);
    server.wait_idle();
    server.stop();
}

fn a_child_whose_setup_fails_releases_its_slot(reaper: Reaper) {
    let root = tempfile::tempdir().unwrap();
    let options = ["--max-children", "1", "--chroot", root.path().to_str().unwrap()];
    let mut server = Server::start(reaper, &options, &[]);
    // the root directory exists at the start, and is removed now
    root.close().unwrap();
    (0..20).for_each(|_| assert_closed(&mut server.connect()));
    wait_until("twenty children exit with 111", || server.logged(" exit=111 ") == 20);
    assert_eq!(server.logged(" step=chroot why="), 20);
    server.wait_idle();
    server.stop();
}

fn a_client_that_resets_releases_its_slot(reaper: Reaper) {
    let mut server = Server::start(reaper, &ONE_SLOT, &["cat"]);
    for n in 0..60 {
        let mut client = server.connect();
        if n % 2 == 0 {
            // half of the clients reset during the answer, the others without a message
            client.write_all(&[b'x'; 1000]).unwrap();
        }
        reset(client);
    }
    assert_eq!(server.ask(b"hello"), b"hello");
    let status = server.wait_idle();
    assert_eq!(status.refused, 0);
    server.stop();
}

fn a_refused_client_takes_no_slot(reaper: Reaper) {
    let options = ["--max-children", "2", "--per-ip", "1"];
    let mut server = Server::start(reaper, &options, &["cat"]);
    let held = server.connect();
    server.wait_children(1);
    for n in 1..=50 {
        let mut refused = server.connect();
        let line = format!("prise: refused peer={} why=per-ip\n", peer(&refused));
        assert_closed(&mut refused);
        wait_until("the refusal is logged", || server.logged(&line) == 1);
        assert_eq!(server.children().len(), 1, "after {n} refusals");
    }
    assert_eq!(exchange(held, b"held"), b"held");
    server.wait_children(0);
    assert_eq!(server.ask(b"next"), b"next");
    let status = server.wait_idle();
    assert_eq!((status.accepted, status.refused), (52, 50));
    server.stop();
}

fn an_invalid_proxy_header_releases_its_slot(reaper: Reaper) {
    let options = ["--max-children", "1", "--proxy-protocol", "127.0.0.0/8"];
    let mut server = Server::start(reaper, &options, &["cat"]);
    for invalid in [&b"GET / HTTP/1.1\r\n"[..], b"PROXY TCP4 nonsense\r\n", b"", b"PROXY T"] {
        for _ in 0..10 {
            let mut client = server.connect();
            // the server may close the connection at the first wrong byte
            let _ = client.write_all(invalid);
            let _ = client.shutdown(std::net::Shutdown::Write);
            assert_closed(&mut client);
        }
    }
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n";
    assert_eq!(server.ask(&[&header[..], b"served"].concat()), b"served");
    let status = server.wait_idle();
    assert_eq!((status.started, status.refused), (1, 40));
    server.stop();
}

fn a_failed_fork_takes_no_slot(reaper: Reaper) {
    if !can_attach() {
        return;
    }
    let mut server = Server::start(reaper, &ONE_SLOT, &[]);
    for _ in 0..2 {
        let mut strace = Strace::attach(server.pid(), Follow::Parent, FORKS, "error=EAGAIN:when=1..2");
        assert_eq!(server.ask(b"hello\n"), REPLY);
        // a SIGCHLD that arrives while strace detaches may be lost
        server.wait_children(0);
        strace.detach();
        assert_eq!(strace.injected(), 2);
    }
    let status = server.wait_idle();
    assert_eq!((status.accepted, status.started, status.refused, status.exhausted), (2, 2, 0, 4));
    server.stop();
}

fn a_thousand_clients_of_all_kinds_leave_nothing_behind(reaper: Reaper) {
    let options = ["--max-children", "8", "--rate", "900/1", "--proxy-protocol", "127.0.0.2"];
    let mut server = Server::start(reaper, &options, &[]);
    let port = server.port;
    std::thread::scope(|scope| {
        for share in 0..4 {
            scope.spawn(move || (share..1000).step_by(4).for_each(|n| mixed_client(port, n)));
        }
    });
    let status = server.wait_idle();
    assert!(status.accepted <= 1000, "{status:?}");
    // a client may reset before it is accepted, and is then not counted
    assert!(status.accepted >= 800, "{status:?}");
    assert!(status.refused >= 200, "{status:?}");
    server.stop();
}

/// The nth client: it is served, resets, or is a proxy with a valid or an invalid header.
fn mixed_client(port: u16, n: usize) {
    match n % 5 {
        0 => reset(connect(port)),
        1 => {
            let mut client = connect_from("127.0.0.2", port);
            let _ = client.write_all(b"nonsense");
            let _ = read_to_end(&mut client);
        }
        2 => {
            let mut client = connect_from("127.0.0.2", port);
            let _ =
                client.write_all(format!("PROXY TCP4 192.0.2.{} 192.0.2.8 1 2\r\nx\n", n % 200).as_bytes());
            let _ = read_to_end(&mut client);
        }
        _ => {
            let mut client = connect(port);
            let _ = client.write_all(b"hello\n");
            let _ = client.shutdown(std::net::Shutdown::Write);
            let _ = read_to_end(&mut client);
        }
    }
}
