//! Programs that expect what tcpserver gives: the client's address in the environment.

use std::fs;
use std::process::{Command, Stdio};

use crate::server::{ask, connect_from, serve, tell};
use crate::support::{has, start};

#[test]
fn tcprulescheck_finds_the_clients_address_in_the_environment() {
    if !has("tcprules", "ucspi-tcp") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let place = |name: &str| folder.path().join(name).to_str().expect("a plain name").to_string();
    fs::write(place("rules"), "127.0.0.77:deny\n127.:allow\n:deny\n").expect("a file can be written");
    let rules = fs::File::open(place("rules")).expect("it was written");
    let mut tcprules = Command::new("tcprules");
    tcprules.args([place("rules.cdb"), place("rules.tmp")]).stdin(Stdio::from(rules));
    assert!(start(&mut tcprules).wait().success());

    let server = serve(&["--clear-env"], &["tcprulescheck", &place("rules.cdb")]);
    assert_eq!(ask(server.port, ""), "rule 127.:\nallow connection\n");
    assert_eq!(tell(connect_from(77, server.port), ""), "rule 127.0.0.77:\ndeny connection\n");
    server.stop();
}

#[test]
fn recordio_writes_down_what_passes_on_descriptor_2() {
    if !has("recordio", "ucspi-tcp") {
        return;
    }
    let mut server = serve(&[], &["recordio", "tr", "a-z", "A-Z"]);
    assert_eq!(ask(server.port, "hello\n"), "HELLO\n");
    server.wait_log(1, " exit=0 ");
    let log = server.wait_log(1, " > HELLO");
    assert!(log.contains(" < hello"), "{log}");
    server.stop();
}

#[test]
fn nothing_of_the_servers_environment_passes_for_the_clients() {
    let mut command = Command::new(crate::server::PRISE);
    command.args(["serve", "127.0.0.1:0", "--", "env"]);
    command.env("TCPREMOTEHOST", "forged.example.org").env("TCPREMOTEINFO", "forged").env("KEPT", "yes");
    let server = crate::server::listening(crate::support::start_piped(&mut command));
    let answer = ask(server.port, "");
    assert!(!answer.contains("forged") && answer.contains("KEPT=yes\n"), "{answer}");
    for known in ["PROTO=TCP\n", "TCPLOCALIP=127.0.0.1\n", "REMOTE_ADDR=127.0.0.1\n"] {
        assert!(answer.contains(known), "{known:?} is not in {answer}");
    }
    server.stop();
}
