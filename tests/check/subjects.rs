//! Programs that are no servers, and servers with unusual mistakes: the verdict is clear and comes in bounded time.

use crate::python::findings_on;
use crate::support::examiner::check;
use crate::{PRISE, assert_nothing_left};

#[test]
fn a_server_that_greets_its_clients_one_after_the_other_fails_concurrent() {
    let late = "import socket, sys, time
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
while True:
    c, _ = s.accept()
    time.sleep(0.4)
    try: c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    let Some(findings) = findings_on("concurrent", &[], &["python3", "-c", late, "{port}"]) else { return };
    assert_eq!(findings.failed(), ["concurrent"], "{}{}", findings.stdout, findings.stderr);
}

#[test]
fn a_program_that_is_no_server_is_reported_as_such() {
    for (server, says) in [
        (&["./no-such-server"][..], "./no-such-server: No such file or directory"),
        (&["sh", "-c", "echo cannot bind >&2; exit 7"], "exit status: 7); it says: cannot bind"),
        (&["sh", "-c", "exec sleep 61.25"], "it did not listen on port"),
        (&["sh", "-c", "trap '' TERM; yes floods61"], "it says: floods61\\nfloods61"),
        (&["sh", "-c", "setsid sleep 61.75 & exit 0"], "it has ended (exit status: 0)"),
    ] {
        let findings = check(&["--timeout", "1"], &[server, &["{port}"]].concat());
        assert_eq!(findings.code, Some(3), "{}{}", findings.stdout, findings.stderr);
        assert!(findings.stderr.starts_with("the server could not be started: "), "{}", findings.stderr);
        assert!(findings.stderr.contains(says), "{says:?} is not in {:?}", findings.stderr);
    }
    assert_nothing_left("61.25");
    assert_nothing_left("61.75");
    assert_nothing_left("floods61");
}

#[test]
fn a_program_that_never_stops_forking_is_stopped() {
    let forks = "i=0; while [ $i -lt 3000 ]; do sleep 61.5 & i=$((i+1)); done; wait";
    let findings = check(&["--timeout", "1"], &["sh", "-c", forks, "{port}"]);
    assert_eq!(findings.code, Some(3), "{}{}", findings.stdout, findings.stderr);
    assert_nothing_left("61.5");
}

#[test]
fn a_server_that_goes_to_the_background_is_refused() {
    let daemon = format!("setsid '{PRISE}' server robust --port {{port}} --backlog 63 & exit 0");
    let findings = check(&["--timeout", "1"], &["sh", "-c", &daemon]);
    assert_eq!(findings.code, Some(3), "{}{}", findings.stdout, findings.stderr);
    assert!(findings.stderr.contains("in the background"), "{}", findings.stderr);
    assert_nothing_left("--backlog 63");
}

#[test]
fn an_endless_answer_gets_a_verdict() {
    if !crate::support::has("tcpserver", "ucspi-tcp") {
        return;
    }
    let findings = check(
        &["--format", "tap", "--expect", "y\\n", "--only", "answers,end-of-file,delivers,own-memory"],
        &["tcpserver", "-HR", "127.0.0.1", "{port}", "yes"],
    );
    assert_eq!(findings.failed(), ["end-of-file"], "{}", findings.stdout);
    assert_eq!(findings.unseen(), ["delivers"], "{}", findings.stdout);
}

#[test]
fn a_server_that_ignores_sigterm_fails_that_check_and_is_gone_afterwards() {
    let stubborn = format!("trap '' TERM; exec '{PRISE}' server robust --port {{port}} --backlog 64");
    let findings =
        check(&["--format", "tap", "--only", "answers,stops", "--timeout", "2"], &["sh", "-c", &stubborn]);
    assert_eq!(findings.failed(), ["stops"], "{}", findings.stdout);
    assert_nothing_left("--backlog 64");
}

#[test]
fn another_server_on_the_port_is_not_examined_instead() {
    let other = std::net::TcpListener::bind("0.0.0.0:0").expect("a port can be bound");
    let port = other.local_addr().expect("it is bound").port().to_string();
    let findings = check(&["--port", &port], &[PRISE, "server", "robust", "--port", &port]);
    assert_eq!(findings.code, Some(3), "{}", findings.stdout);
    let expected = format!("something else listens on port {port}");
    assert!(findings.stderr.contains(&expected), "{}", findings.stderr);
}
