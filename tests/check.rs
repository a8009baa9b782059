//! The examiner: its command line, its formats, and what it does with subjects that are no servers at all.
//! What it says of servers stands in examinations.rs.

mod support;

use std::process::Command;

use nix::sys::signal::Signal;
use support::examiner::check;
use support::start_piped;

const PRISE: &str = env!("CARGO_BIN_EXE_prise");

/// No process of a test's own is left: each has a word of its own in its arguments.
#[track_caller]
fn assert_nothing_left(word: &str) {
    let left: Vec<_> =
        support::processes().into_iter().filter(|process| process.command.contains(word)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_server_is_not_blamed_for_the_orphans_of_its_children() {
    if !support::has("python3", "python3") {
        return;
    }
    // each child leaves a child of its own, which ends when it does
    let relay = "import os, signal, socket, sys
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
signal.signal(signal.SIGCHLD, reap)
while True:
    c, _ = s.accept()
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        orphaned, alive = os.pipe()
        if os.fork() == 0:
            os.close(alive)
            c.close()
            os.read(orphaned, 1)
            os._exit(0)
        try:
            c.recv(255)
            c.sendall(b'ok')
            while c.recv(255): pass
        except OSError: pass
        os._exit(0)
    c.close()
";
    let findings = check(
        &["--format", "tap", "--timeout", "10", "--only", "no-zombies"],
        &["python3", "-c", relay, "{port}"],
    );
    assert_eq!(findings.code, Some(0), "{}{}", findings.stdout, findings.stderr);
}

#[test]
fn a_server_may_stop_listening_for_a_moment_when_descriptors_run_out() {
    if !support::has("python3", "python3") {
        return;
    }
    let careful = "import select, socket, sys, time
def listening(): return socket.create_server(('', int(sys.argv[1])), backlog=100)
s = listening()
while True:
    try:
        select.select([s], [], [])
        c, _ = s.accept()
    except OSError:
        s.close()
        time.sleep(float(sys.argv[2]))
        s = listening()
        continue
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    let only = ["--format", "tap", "--timeout", "10", "--only", "out-of-descriptors"];
    let findings = check(&only, &["python3", "-c", careful, "{port}", "1.5"]);
    assert_eq!(
        (findings.code, findings.unseen().len()),
        (Some(0), 0),
        "{}{}",
        findings.stdout,
        findings.stderr
    );
    // but not for longer than an answer may take
    let findings = check(&only, &["python3", "-c", careful, "{port}", "30"]);
    assert_eq!(findings.code, Some(1), "{}{}", findings.stdout, findings.stderr);
}

#[test]
fn a_limit_that_forbids_poll_is_no_shortage_of_descriptors() {
    if !support::has("python3", "python3") {
        return;
    }
    let bare = "import os, select, socket, sys, time
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
rest, wake = os.pipe()
for fd in range(3): os.close(fd)
waits = select.poll()
waits.register(s)
waits.register(rest)
while True:
    waits.poll()
    try: c, _ = s.accept()
    except OSError:
        time.sleep(0.1)
        continue
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    let only = ["--format", "tap", "--timeout", "10", "--only", "out-of-descriptors"];
    let findings = check(&only, &["python3", "-c", bare, "{port}"]);
    let found = (findings.code, findings.unseen());
    assert_eq!(found, (Some(0), vec!["out-of-descriptors"]), "{}{}", findings.stdout, findings.stderr);
}

#[test]
fn a_server_may_log_how_many_clients_it_has() {
    if !support::has("python3", "python3") {
        return;
    }
    // children that take longer to end on a terminal than on a pipe
    let counting = "import os, signal, socket, sys, time
children = 0
def reap(*_):
    global children
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: children -= 1
    except ChildProcessError: pass
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
signal.signal(signal.SIGCHLD, reap)
while True:
    c, _ = s.accept()
    children += 1
    print('clients:', children, flush=True)
    if os.fork() == 0:
        try:
            c.recv(255)
            c.sendall(b'ok')
        except OSError: pass
        if sys.stdout.isatty(): time.sleep(0.2)
        os._exit(0)
    c.close()
";
    let findings = check(
        &["--format", "tap", "--timeout", "10", "--only", "log-once"],
        &["python3", "-c", counting, "{port}"],
    );
    assert_eq!(
        (findings.code, findings.unseen().len()),
        (Some(0), 0),
        "{}{}",
        findings.stdout,
        findings.stderr
    );
}

#[test]
fn a_log_with_the_time_in_each_line_is_not_blamed_for_it() {
    if !support::has("python3", "python3") {
        return;
    }
    let stamped = "import os, signal, socket, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
while True:
    c, _ = s.accept()
    print(time.time_ns(), 'a client has come', flush=True)
    if os.fork() == 0:
        try:
            c.recv(255)
            c.sendall(b'ok')
        except OSError: pass
        os._exit(0)
    c.close()
";
    // nobody waits for its children, nor need anybody
    let only = ["--format", "tap", "--timeout", "10", "--only", "log-once,no-zombies"];
    let findings = check(&only, &["python3", "-c", stamped, "{port}"]);
    let found = (findings.code, findings.unseen().len());
    assert_eq!(found, (Some(0), 0), "{}{}", findings.stdout, findings.stderr);
}

#[test]
fn a_log_that_a_clock_fills_is_not_blamed_for_it() {
    if !support::has("python3", "python3") {
        return;
    }
    // three times as slow on a pipe, so that there the clock says more
    let beats = "import select, socket, sys, time
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
slow = 0 if sys.stdout.isatty() else 0.3
while True:
    print('alive', flush=True)
    if not select.select([s], [], [], 0.05)[0]: continue
    c, _ = s.accept()
    for _ in range(6):
        time.sleep(slow / 6)
        print('alive', flush=True)
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    let findings = check(
        &["--format", "tap", "--timeout", "10", "--only", "log-once"],
        &["python3", "-c", beats, "{port}"],
    );
    let found = (findings.code, findings.unseen().len());
    assert_eq!(found, (Some(0), 0), "{}{}", findings.stdout, findings.stderr);
}

#[test]
fn a_server_that_is_started_again_when_it_ends_is_stopped_with_who_does_that() {
    let again = format!(
        "trap 'kill $!; exit' TERM; while :; do '{PRISE}' server fork --port $0 --backlog 67 & wait $!; done"
    );
    let findings = check(&["--format", "tap", "--only", "stops"], &["sh", "-c", &again, "{port}"]);
    assert_eq!(findings.code, Some(0), "{}{}", findings.stdout, findings.stderr);
    assert_nothing_left("--backlog 67");
}

#[test]
fn a_server_may_have_the_udp_port_too() {
    if !support::has("python3", "python3") {
        return;
    }
    let both = "import os, socket, sys
port = int(sys.argv[1])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(('', port))
s = socket.create_server(('', port), backlog=100)
while True:
    c, _ = s.accept()
    try:
        c.recv(255)
        c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    let findings = check(&["--format", "tap", "--only", "answers"], &["python3", "-c", both, "{port}"]);
    assert_eq!(findings.code, Some(0), "{}{}", findings.stdout, findings.stderr);
}

#[test]
fn a_server_that_greets_late_and_one_after_the_other_is_found_out() {
    if !support::has("python3", "python3") {
        return;
    }
    let late = "import socket, sys, time
s = socket.create_server(('', int(sys.argv[1])), backlog=100)
while True:
    c, _ = s.accept()
    time.sleep(0.4)
    try: c.sendall(b'ok')
    except OSError: pass
    c.close()
";
    let only = ["--format", "tap", "--timeout", "10", "--only", "concurrent"];
    let findings = check(&only, &["python3", "-c", late, "{port}"]);
    assert_eq!(findings.failed(), ["concurrent"], "{}{}", findings.stdout, findings.stderr);
}

#[test]
fn a_wrong_expectation_is_not_the_servers_every_fault() {
    let findings = check(
        &["--format", "tap", "--expect", "nope", "--only", "answers,concurrent,idle-clients,port-taken"],
        &[PRISE, "server", "fork", "--port", "{port}"],
    );
    assert_eq!(findings.failed(), ["answers"], "{}", findings.stdout);
    assert_eq!(findings.unseen(), ["concurrent", "idle-clients"], "{}", findings.stdout);
    assert!(findings.stdout.contains("an answer beginning \\\"nope\\\" (--expect)"), "{}", findings.stdout);
    // the same where nobody asks for that check
    let findings = check(
        &["--format", "tap", "--expect", "nope", "--only", "concurrent"],
        &[PRISE, "server", "fork", "--port", "{port}"],
    );
    assert_eq!(findings.unseen(), ["concurrent"], "{}", findings.stdout);
}

#[test]
fn nobody_need_read_the_steps() {
    let examine = format!(
        "'{PRISE}' check --only answers --format tap --verbose -- \
         '{PRISE}' server fork --port {{port}} --backlog 65 2>/dev/full"
    );
    let output = Command::new("sh").args(["-c", &examine]).output().expect("sh runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_nothing_left("--backlog 65");
}

#[test]
fn what_was_found_is_not_lost_when_the_rest_is_cut_short() {
    for (format, ends) in [("json", "]}\n"), ("tap", "Bail out! stopped by SIGINT\n"), ("human", "here\n")] {
        let mut command = Command::new(PRISE);
        command.args(["check", "--format", format, "--only", "answers,idle-clients", "--timeout", "60"]);
        command.args(["--", PRISE, "server", "fork", "--port", "{port}", "--backlog", "66"]);
        let mut running = start_piped(&mut command);
        support::wait_until("many clients are held", || {
            support::processes().iter().filter(|process| process.command.contains("--backlog 66")).count()
                > 20
        });
        running.signal(Signal::SIGINT);
        assert_eq!(running.wait().code(), Some(130), "{format}: {}", running.stderr());
        let found = running.stdout();
        assert!(found.contains("answers") && found.ends_with(ends), "{format}: {found}");
        if format == "json" && support::has("python3", "python3") {
            let query = "import json, sys
found = json.loads(sys.argv[1])
assert found['cut_short'] == 'stopped by SIGINT' and found['checks'][0]['name'] == 'answers'";
            let read = Command::new("python3").args(["-c", query, &found]).status().expect("python3 runs");
            assert!(read.success(), "{found}");
        }
        assert_nothing_left("--backlog 66");
    }
}

#[test]
fn nothing_is_said_of_an_answer_or_a_log_that_there_is_not() {
    if !support::has("python3", "python3") {
        return;
    }
    let silent = "import socket, sys
s = socket.create_server(('', int(sys.argv[1])))
while True:
    c, _ = s.accept()
    try:
        while c.recv(255): pass
    except OSError: pass
    c.close()
";
    let findings = check(
        &["--format", "tap", "--timeout", "10", "--only", "own-memory,log-once"],
        &["python3", "-c", silent, "{port}"],
    );
    assert_eq!(findings.unseen().len(), 2, "{}", findings.stdout);
}

#[test]
fn a_subject_that_is_no_server_is_told_apart() {
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
fn a_subject_that_never_stops_forking_is_stopped() {
    let forks = "i=0; while [ $i -lt 3000 ]; do sleep 61.5 & i=$((i+1)); done; wait";
    let findings = check(&["--timeout", "1"], &["sh", "-c", forks, "{port}"]);
    assert_eq!(findings.code, Some(3), "{}{}", findings.stdout, findings.stderr);
    assert_nothing_left("61.5");
}

#[test]
fn a_server_that_puts_itself_in_the_background_is_told_to_stay() {
    let daemon = format!("setsid '{PRISE}' server fork --port {{port}} --backlog 63 & exit 0");
    let findings = check(&["--timeout", "1"], &["sh", "-c", &daemon]);
    assert_eq!(findings.code, Some(3), "{}{}", findings.stdout, findings.stderr);
    assert!(findings.stderr.contains("in the background"), "{}", findings.stderr);
    assert_nothing_left("--backlog 63");
}

#[test]
fn an_answer_without_end_is_a_verdict() {
    if !support::has("tcpserver", "ucspi-tcp") {
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
    let stubborn = format!("trap '' TERM; exec '{PRISE}' server fork --port {{port}} --backlog 64");
    let findings =
        check(&["--format", "tap", "--only", "answers,stops", "--timeout", "2"], &["sh", "-c", &stubborn]);
    assert_eq!(findings.failed(), ["stops"], "{}", findings.stdout);
    assert_nothing_left("--backlog 64");
}

#[test]
fn the_examiners_own_children_are_left_alone() {
    // as those are that a shell has started before its exec
    let nap = format!("sleep 95.{:06}", std::process::id());
    let examine = format!("{nap} & exec '{PRISE}' check --only answers,stops --format tap -- \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &examine, "sh", PRISE, "server", "fork", "--port", "{port}"]);
    let mut running = start_piped(&mut command);
    let status = running.wait();
    assert_eq!(status.code(), Some(0), "{}{}", running.stdout(), running.stderr());
    assert!(support::processes().iter().any(|process| process.command == nap), "{nap} is gone");
}

#[test]
fn who_ignores_sigchld_does_not_make_the_examiner_or_the_server_ignore_it() {
    if !support::has("perl", "perl-base") {
        return;
    }
    let mut command = Command::new("perl");
    command.args(["-e", "$SIG{CHLD} = 'IGNORE'; exec @ARGV or die", PRISE, "check", "--format", "tap"]);
    command.args(["--only", "no-zombies,stops", "--", "sh", "-c", "exec \"$0\" \"$@\""]);
    command.args([PRISE, "server", "fork", "--no-reap", "--port", "{port}"]);
    let output = command.output().expect("perl runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(found.contains("not ok 1 - no-zombies") && found.contains("\nok 2 - stops"), "{found}");
}

#[test]
fn another_server_on_the_port_is_not_examined_in_its_place() {
    let other = std::net::TcpListener::bind("0.0.0.0:0").expect("a port can be had");
    let port = other.local_addr().expect("it is bound").port().to_string();
    let findings = check(&["--port", &port], &[PRISE, "server", "fork", "--port", &port]);
    assert_eq!(findings.code, Some(3), "{}", findings.stdout);
    let said = format!("something else listens on port {port}");
    assert!(findings.stderr.contains(&said), "{}", findings.stderr);
}

#[test]
fn ctrl_c_leaves_no_process_behind_at_any_step() {
    let mut steps = vec![
        ("answers", "start the server"),
        ("no-zombies", "clients connect"),
        ("interrupted-calls", "kill(SIGSTOP)"),
        ("out-of-descriptors", "prlimit"),
        ("idle-clients", "start the server"),
    ];
    if support::has("strace", "strace") {
        steps.extend([("fork-fails", "makes fork() give"), ("parent:accept=EMFILE", "strace: ")]);
    }
    for (only, step) in steps {
        let mut command = Command::new(PRISE);
        command.args(["check", "--only", only, "--timeout", "60", "--verbose", "--"]);
        command.args([PRISE, "server", "fork", "--port", "{port}", "--backlog", "62"]);
        let mut running = start_piped(&mut command);
        running.wait_stdout(step);
        running.signal(Signal::SIGINT);
        assert_eq!(running.wait().code(), Some(130), "{only}: {}", running.stderr());
        assert_nothing_left("--backlog 62");
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    if !support::has("script", "bsdutils") {
        return;
    }
    let examine = format!("'{PRISE}' check --only answers -- '{PRISE}' server fork --port {{port}}");
    let on_terminal = |colour: (&str, &str)| {
        let mut script = Command::new("script");
        script.args(["-qec", &examine, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
        script.env(colour.0, colour.1).stdin(std::process::Stdio::null());
        String::from_utf8_lossy(&script.output().expect("script runs").stdout).into_owned()
    };
    let coloured = "\x1b[32mholds";
    assert!(on_terminal(("NO_COLOR", "")).contains(coloured), "{:?}", on_terminal(("NO_COLOR", "")));
    assert!(!on_terminal(("NO_COLOR", "1")).contains(coloured));
    assert!(!on_terminal(("TERM", "dumb")).contains(coloured));
    let redirected = check(&["--only", "answers"], &[PRISE, "server", "fork", "--port", "{port}"]);
    assert!(!redirected.stdout.contains('\x1b') && redirected.stdout.contains("  holds   answers"));
}

#[test]
fn the_findings_are_tap() {
    if !support::has("prove", "perl") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let findings = folder.path().join("findings.tap");
    for (server, well) in [(&["server", "fork"][..], true), (&["server", "fork", "--no-reap"], false)] {
        let words = [&[PRISE], server, &["--port", "{port}"]].concat();
        let found = check(&["--format", "tap", "--only", "answers,no-zombies"], &words);
        std::fs::write(&findings, &found.stdout).expect("a temporary file can be written");
        let output =
            Command::new("prove").args(["--exec", "cat"]).arg(&findings).output().expect("prove runs");
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), well, "{told}\n{}", found.stdout);
        assert!(told.contains("Tests=2") && !told.contains("Parse errors"), "{told}\n{}", found.stdout);
    }
}

#[test]
fn the_findings_are_json() {
    if !support::has("python3", "python3") {
        return;
    }
    let findings = check(
        &["--format", "json", "--verbose", "--only", "answers,no-zombies"],
        &[PRISE, "server", "fork", "--no-reap", "--port", "{port}"],
    );
    let query = "import json, sys
found = json.loads(sys.argv[1])
print(found['holds'], found['fails'], [(one['name'], one['verdict']) for one in found['checks']])";
    let output =
        Command::new("python3").args(["-c", query, &findings.stdout]).output().expect("python3 runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1 1 [('answers', 'holds'), ('no-zombies', 'fails')]\n",
        "{}",
        findings.stdout
    );
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for options in [
        &["--only", "nosuch"][..],
        &["--send", ""],
        &["--send", "\\q"],
        &["--timeout", "0"],
        &["--format", "xml"],
        &["--port", "0"],
    ] {
        let findings = check(options, &["true", "{port}"]);
        assert_eq!(findings.code, Some(2), "{options:?}: {}", findings.stderr);
        assert_eq!(findings.stdout, "");
    }
    // nothing tells it where to listen
    let findings = check(&[], &["true"]);
    assert_eq!((findings.code, findings.stdout.as_str()), (Some(2), ""), "{}", findings.stderr);
    assert!(findings.stderr.contains("{port}") && findings.stderr.contains("--port"), "{}", findings.stderr);
    let nothing = Command::new(PRISE).arg("check").output().expect("prise runs");
    assert_eq!(nothing.status.code(), Some(2));
    let list = Command::new(PRISE).args(["check", "--list"]).output().expect("prise runs");
    assert_eq!(list.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&list.stdout).lines().count(), 20);
}
