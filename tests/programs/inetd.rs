//! Programs written for inetd, and programs that know nothing about sockets.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};

use crate::server::{ask, path_in, printed, read_answer, run, script, serve};
use crate::support::{connect, has, has_root, start};

/// A long text, in which no line occurs twice.
fn long_text() -> String {
    (0..200_000).map(|n| format!("{n}\n")).collect()
}

#[test]
fn git_daemon_serves_five_clones_at_once() {
    if !has("git", "git") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    // ignore the configuration of the user who runs this test
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_AUTHOR_NAME", "a").env("GIT_AUTHOR_EMAIL", "a@example.org");
        command.env("GIT_COMMITTER_NAME", "a").env("GIT_COMMITTER_EMAIL", "a@example.org");
        command
    };
    let succeed = |arguments: &[&str]| {
        let finished = run(&mut git(arguments));
        assert_eq!(finished.code, Some(0), "git {arguments:?}: {}", finished.stderr);
    };
    let (work, project) = (path_in(&folder, "work"), path_in(&folder, "project.git"));
    succeed(&["init", "--quiet", &work]);
    fs::write(folder.path().join("work/text"), long_text()).expect("a file can be written");
    succeed(&["-C", &work, "add", "text"]);
    succeed(&["-C", &work, "commit", "--quiet", "--message", "a text"]);
    succeed(&["clone", "--quiet", "--bare", &work, &project]);

    let base = format!("--base-path={}", folder.path().display());
    let daemon = ["git", "daemon", "--inetd", "--verbose", "--log-destination=stderr", "--export-all", &base];
    let mut server = serve(&[], &daemon);
    let url = format!("git://127.0.0.1:{}/project.git", server.port);
    let clones: Vec<_> = (0..5)
        .map(|n| {
            let mut command = git(&["clone", "--quiet", &url, &path_in(&folder, &format!("clone{n}"))]);
            crate::support::start_piped(&mut command)
        })
        .collect();
    for (n, mut clone) in clones.into_iter().enumerate() {
        assert!(clone.wait().success(), "{}", clone.stderr());
        let text = fs::read_to_string(folder.path().join(format!("clone{n}/text")));
        assert!(text.is_ok_and(|text| text == long_text()), "clone {n} differs from the commit");
    }
    // git daemon logs its client's address from REMOTE_ADDR and REMOTE_PORT
    let log = server.wait_log(5, " exit=0 ");
    assert_eq!(log.matches("Connection from 127.0.0.1:").count(), 5, "{log}");
    server.stop();
}

#[test]
fn micro_httpd_serves_eight_downloads_at_once() {
    if !has("micro-httpd", "micro-httpd") || !has("curl", "curl") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    fs::write(folder.path().join("text.txt"), long_text()).expect("a file can be written");
    let mut server = serve(&[], &["micro-httpd", folder.path().to_str().expect("a plain name")]);
    let url = format!("http://127.0.0.1:{}/", server.port);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "15", "--parallel"]);
    for n in 0..8 {
        curl.arg("--output").arg(folder.path().join(format!("got{n}"))).arg(format!("{url}text.txt"));
    }
    let finished = run(&mut curl);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    for n in 0..8 {
        let got = fs::read_to_string(folder.path().join(format!("got{n}")));
        assert!(got.is_ok_and(|got| got == long_text()), "download {n} differs from the file");
    }
    server.wait_log(8, " exit=0 ");
    let status = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "15"];
    assert_eq!(printed("curl", &[&status[..], &[&format!("{url}none")]].concat()), "404");
    server.stop();
}

#[test]
fn a_shell_script_talks_with_its_client() {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let text = "#!/bin/sh\nread name\necho \"hello $name from $TCPREMOTEIP\"\nsleep 0.01 & wait\nexit 7\n";
    let mut server = serve(&[], &[&script(&folder, text)]);
    assert_eq!(ask(server.port, "Ada\n"), "hello Ada from 127.0.0.1\n");
    server.wait_log(1, " exit=7 ");
    server.stop();
}

#[test]
fn a_python_script_can_use_the_socket_on_descriptor_0() {
    if !has("python3", "python3") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let text = "#!/usr/bin/env python3
import os, socket
client = socket.socket(fileno=0)
ip, port = client.getpeername()
print((ip, str(port)) == (os.environ['TCPREMOTEIP'], os.environ['TCPREMOTEPORT']))
print(client.getsockname()[1] == int(os.environ['TCPLOCALPORT']))
print(sorted(os.listdir('/proc/self/fd'))[:3], os.getpgrp() == os.getpid())
print(input()[::-1])
";
    let server = serve(&[], &[&script(&folder, text)]);
    assert_eq!(ask(server.port, "prise\n"), "True\nTrue\n['0', '1', '2'] True\nesirp\n");
    server.stop();
}

#[test]
fn cat_sends_everything_back() {
    let server = serve(&[], &["cat"]);
    let sent = long_text();
    let mut client = connect(server.port);
    let mut writing = client.try_clone().expect("a descriptor can be copied");
    let whole = sent.clone();
    let writer = std::thread::spawn(move || {
        writing.write_all(whole.as_bytes()).expect("cat reads");
        writing.shutdown(Shutdown::Write).expect("a connection can be half-closed");
    });
    let mut got = String::new();
    client.read_to_string(&mut got).expect("cat sends the text back");
    writer.join().expect("the writer has written everything");
    assert!(got == sent, "{} bytes of {} came back", got.len(), sent.len());
    server.stop();
}

#[test]
fn telnet_can_talk_to_a_program() {
    if !has("telnet", "telnet") {
        return;
    }
    let mut server = serve(&[], &["sh", "-c", "read line; echo \"heard: $line\""]);
    let mut telnet = Command::new("telnet");
    telnet.args(["127.0.0.1", &server.port.to_string()]);
    telnet.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut telnet = start(&mut telnet);
    telnet.wait_stdout("Escape character");
    let mut keyboard = telnet.stdin();
    keyboard.write_all(b"good evening\n").expect("telnet reads");
    telnet.wait_stdout("heard: good evening");
    telnet.wait();
    server.wait_log(1, " exit=0 ");
    server.stop();
}

#[test]
fn a_ctf_challenge_runs_as_nobody_with_limited_resources() {
    if !has_root("only root can run children as another user") {
        return;
    }
    let program = "id -un; grep -E '^(NoNewPrivs|CapEff):' /proc/self/status; ulimit -v;
        grep 'Max processes' /proc/self/limits; cat";
    let challenge = |timeout: &str| {
        let options = "--user nobody --no-new-privs --per-ip 2 --memory 256 --nproc 64 --timeout";
        let options = options.split(' ').chain([timeout]);
        serve(&options.collect::<Vec<_>>(), &["sh", "-c", program])
    };

    let mut server = challenge("4");
    let mut answer = String::new();
    connect(server.port).read_to_string(&mut answer).expect("the answer arrives");
    let words: Vec<_> = answer.split_whitespace().collect();
    let expected = "nobody CapEff: 0000000000000000 NoNewPrivs: 1 262144 Max processes 64 64 processes";
    assert_eq!(words.join(" "), expected);
    // its `cat` waits for the client until the timeout
    let log = server.wait_log(1, "prise: end pid=");
    assert!(log.contains(" signal=TERM why=timeout\n"), "{log}");
    server.stop();

    let mut server = challenge("60");
    let held = [connect(server.port), connect(server.port)];
    server.wait_log(2, "prise: start pid=");
    assert_eq!(read_answer(connect(server.port)), "");
    let log = server.wait_log(1, "prise: refused peer=127.0.0.1:");
    assert!(log.contains(" why=per-ip\n"), "{log}");
    drop(held);
    server.stop();
}
