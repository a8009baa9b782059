//! UCSPI programs, written for tcpserver: they expect the client's address in the environment.

use std::fs;
use std::process::{Command, Stdio};

use crate::server::{ask, exchange, path_in, serve};
use crate::support::{connect_from, has, start};

#[test]
fn tcprulescheck_finds_the_clients_address_in_the_environment() {
    if !has("tcprules", "ucspi-tcp") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let [rules, compiled, temporary] = ["rules", "rules.cdb", "rules.tmp"].map(|name| path_in(&folder, name));
    fs::write(&rules, "127.0.0.77:deny\n127.:allow\n:deny\n").expect("a file can be written");
    let rules = fs::File::open(&rules).expect("the file exists");
    let mut tcprules = Command::new("tcprules");
    tcprules.args([&compiled, &temporary]).stdin(Stdio::from(rules));
    assert!(start(&mut tcprules).wait().success());

    let server = serve(&["--clear-env"], &["tcprulescheck", &compiled]);
    assert_eq!(ask(server.port, ""), "rule 127.:\nallow connection\n");
    assert_eq!(exchange(connect_from("127.0.0.77", server.port), ""), "rule 127.0.0.77:\ndeny connection\n");
    server.stop();
}

#[test]
fn recordio_records_the_conversation_on_descriptor_2() {
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
fn stale_client_variables_of_the_server_are_removed() {
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
