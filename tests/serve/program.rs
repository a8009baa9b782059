//! What the executed program finds: descriptors, signals, process group, user, resource limits, environment.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::fixture::{REPLY, Reaper, Server, exchange, is_root, peer, serve, serve_through};
use crate::strace::{Follow, Strace, can_attach};
use crate::support::{has, stat_field, wait_until};
use crate::watch::Watch;

trials!(
    both: it_has_only_descriptors_0_1_and_2,
        it_has_default_signal_dispositions_and_an_empty_mask,
        it_leads_its_own_process_group,
        sigpipe_kills_it_when_its_client_disconnects,
        it_can_answer_after_a_half_close,
        it_runs_as_the_requested_user_and_groups,
        it_runs_in_the_requested_root_directory,
        it_gets_no_new_privileges,
        it_has_the_requested_resource_limits,
        its_environment_describes_the_connection_and_nothing_stale;
    once: its_cpu_time_is_limited,
        its_user_may_be_a_number,
        exec_is_retried_during_a_shortage,
        its_steps_come_in_order,
        clear_env_keeps_only_path,
        a_script_is_found_in_path;
);

fn it_has_only_descriptors_0_1_and_2(reaper: Reaper) {
    let launcher = ["sh", "-c", "exec 3</dev/null 7</dev/null 9>/dev/null; exec \"$@\"", "sh"];
    for options in [&[][..], &["--hangup"]] {
        let mut server = Server::run(&mut serve_through(&launcher, reaper, options, &["cat"]));
        let others: Vec<_> = (0..3).map(|_| server.connect()).collect();
        server.wait_children(3);
        drop(others);
        server.wait_children(0);
        let client = server.connect();
        let child = server.only_child("cat");
        let open = || -> BTreeMap<String, String> {
            let entries = fs::read_dir(format!("/proc/{child}/fd")).expect("the child exists");
            // a descriptor may be closed before its link is read
            let entry = |entry: fs::DirEntry| {
                let target = fs::read_link(entry.path()).ok()?;
                Some((entry.file_name().to_string_lossy().into(), target.to_string_lossy().into()))
            };
            entries.filter_map(|found| entry(found.expect("it can be read"))).collect()
        };
        // at its start, the program opens and closes shared libraries
        let mut found = BTreeMap::new();
        wait_until("three descriptors", || {
            found = open();
            found.len() == 3
        });
        let open = found;
        assert_eq!(open.keys().collect::<Vec<_>>(), ["0", "1", "2"]);
        assert!(open["0"].starts_with("socket:"), "{open:?}");
        assert_eq!(open["0"], open["1"]);
        let log = fs::read_link(format!("/proc/{}/fd/2", server.pid())).expect("the server has a log");
        assert_eq!(open["2"], log.to_string_lossy());
        drop(client);
        server.wait_idle();
        server.stop();
    }
}

/// A line of /proc/PID/status.
#[track_caller]
fn status_of(pid: u32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process exists");
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in {status}")).trim().into()
}

fn it_has_default_signal_dispositions_and_an_empty_mask(reaper: Reaper) {
    if !has("perl", "perl-base") {
        return;
    }
    let launcher = "use POSIX;
        $SIG{$_} = 'IGNORE' for qw(USR2 PIPE INT QUIT TSTP CHLD);
        sigaction(40, POSIX::SigAction->new('IGNORE'));
        sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM, SIGUSR1, SIGCHLD, 41));
        exec @ARGV";
    let mut server = Server::run(&mut serve_through(&["perl", "-e", launcher], reaper, &[], &["cat"]));
    let client = server.connect();
    let child = server.only_child("cat");
    for set in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        let signals = u64::from_str_radix(&status_of(child, set), 16).expect("a set of signals");
        // libc reserves signals 32 and 33, and lets no program change them
        assert_eq!(signals & !(0b11 << 31), 0, "{set}: {signals:016x}");
    }
    assert_eq!(exchange(client, b"hello"), b"hello");
    server.wait_idle();
    server.stop();
}

fn it_leads_its_own_process_group(reaper: Reaper) {
    let mut server = Server::start(reaper, &[], &["cat"]);
    let client = server.connect();
    let child = server.only_child("cat");
    assert_eq!(stat_field(child, 5), child.to_string(), "its group");
    // it also gets its own session if the server has a terminal; setsid costs time
    let has_terminal = stat_field(server.pid(), 7) != "0";
    let session = if has_terminal { child.to_string() } else { stat_field(server.pid(), 6) };
    assert_eq!(stat_field(child, 6), session, "its session");
    drop(client);
    server.wait_idle();
    server.stop();
}

fn sigpipe_kills_it_when_its_client_disconnects(reaper: Reaper) {
    let mut server = Server::start(reaper, &[], &["yes"]);
    let mut client = server.connect();
    client.read_exact(&mut [0; 1000]).unwrap();
    drop(client);
    // the first write after the reset may fail with ECONNRESET; the next one raises SIGPIPE
    server.wait_log("prise: end pid=[0-9]+ peer=[0-9.:]+ (signal=PIPE|exit=1) ");
    server.wait_idle();
    server.stop();
}

fn it_can_answer_after_a_half_close(reaper: Reaper) {
    let mut server = Server::start(reaper, &[], &["sort"]);
    assert_eq!(server.ask(b"pear\napple\nfig\n"), b"apple\nfig\npear\n");
    let numbers: String = (0..50_000).rev().map(|n| format!("{n:06}\n")).collect();
    let sorted: String = (0..50_000).map(|n| format!("{n:06}\n")).collect();
    assert_eq!(server.ask(numbers.as_bytes()), sorted.as_bytes());
    server.wait_idle();
    server.stop();
    let mut server = Server::start(reaper, &[], &["cat"]);
    let client = server.connect();
    let mut writer = client.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        writer.write_all(&[b'x'; 1_000_000]).expect("cat reads");
        writer.shutdown(std::net::Shutdown::Write).expect("a connection can be half-closed");
    });
    let (echo, end) = crate::support::read_to_end(&mut { client });
    end.expect("the end of file");
    assert_eq!(echo.len(), 1_000_000);
    sender.join().expect("the sender ends");
    server.wait_idle();
    server.stop();
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// The words of a text, sorted.
fn words_of(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split_whitespace().map(String::from).collect();
    words.sort();
    words
}

fn it_runs_as_the_requested_user_and_groups(reaper: Reaper) {
    if !is_root() || !has("setpriv", "util-linux") {
        return;
    }
    // the server has groups that its children must not have
    let launcher = ["setpriv", "--groups", "0,3,4", "--"];
    let script = "id -u; id -g; id -G; grep -c '^CapEff:[[:space:]]*0*$' /proc/self/status";
    for (user, numbers) in [("nobody", ["nobody", ""]), ("nobody:daemon", ["nobody", "daemon"])] {
        let program = ["sh", "-c", script];
        let mut server = Server::run(&mut serve_through(&launcher, reaper, &["--user", user], &program));
        let answer = text(server.ask(b""));
        let lines: Vec<&str> = answer.lines().collect();
        let id = |option: &str, name: &str| {
            let output = Command::new("id").args([option, name]).output().expect("id runs");
            text(output.stdout).trim().to_string()
        };
        assert_eq!(lines[0], id("-u", numbers[0]));
        if numbers[1].is_empty() {
            assert_eq!(lines[1], id("-g", "nobody"));
            assert_eq!(words_of(lines[2]), words_of(&id("-G", "nobody")));
        } else {
            assert_eq!(lines[1], id("-g", "daemon"));
            assert!(!words_of(lines[2]).contains(&"0".into()), "{answer}");
            assert!(!words_of(lines[2]).contains(&"4".into()), "{answer}");
        }
        assert_eq!(lines[3], "1", "no capability is left");
        server.wait_idle();
        server.stop();
    }
}

/// Build a statically linked program in a folder that can become the root directory.
fn static_program(folder: &Path) {
    let source = folder.join("inside.c");
    fs::write(
        &source,
        "#include <unistd.h>\nint main(void) { char b[99]; ssize_t n = readlink(\"/name\", b, 99);\n\
         return getcwd(b + 50, 49) == 0 || write(1, b, n) != n || write(1, b + 50, 1) != 1; }\n",
    )
    .unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let program = folder.join("inside");
    let built = Command::new(compiler).args(["-static", "-o"]).args([&program, &source]).status();
    assert!(built.expect("a C compiler runs").success(), "a static program can be built");
    std::os::unix::fs::symlink("a root of its own", folder.join("name")).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

fn it_runs_in_the_requested_root_directory(reaper: Reaper) {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    static_program(folder.path());
    let root = folder.path().to_str().unwrap();
    // the program is looked up inside the new root, the user's name outside
    let options = ["--chroot", root, "--user", "nobody", "--no-new-privs", "--nofile", "20"];
    let mut server = Server::start(reaper, &options, &["/inside"]);
    assert_eq!(text(server.ask(b"")), "a root of its own/");
    server.wait_idle();
    server.stop();
    // the tutorial's child needs no program in the new root
    let mut server = Server::start(reaper, &options, &[]);
    let client = server.connect();
    let child = server.only_child("prise");
    let link = format!("/proc/{child}/root");
    wait_until("the child has changed its root", || fs::read_link(&link).is_ok_and(|at| at == folder.path()));
    assert_eq!(exchange(client, b"hello\n"), REPLY);
    server.wait_idle();
    server.stop();
}

fn it_gets_no_new_privileges(reaper: Reaper) {
    for (options, expected) in [(&[][..], "0"), (&["--no-new-privs"], "1")] {
        let mut server = Server::start(reaper, options, &["grep", "NoNewPrivs", "/proc/self/status"]);
        assert_eq!(words_of(&text(server.ask(b""))), [expected, "NoNewPrivs:"]);
        assert_eq!(status_of(server.pid(), "NoNewPrivs"), "0");
        server.wait_idle();
        server.stop();
    }
}

fn it_has_the_requested_resource_limits(reaper: Reaper) {
    let options = ["--cpu", "7", "--memory", "4000", "--nofile", "33", "--nproc", "777"];
    let mut server = Server::start(reaper, &options, &["cat", "/proc/self/limits"]);
    let limits = text(server.ask(b""));
    let mine = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    for (name, value) in [
        ("Max cpu time", "7"),
        ("Max address space", "4194304000"),
        ("Max open files", "33"),
        ("Max processes", "777"),
    ] {
        let fields = |text: &str| -> Vec<String> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("every limit is listed");
            line.split_whitespace().take(2).map(String::from).collect()
        };
        // the soft limit sends SIGXCPU, the hard limit a second later SIGKILL
        let hard = if name == "Max cpu time" { "8" } else { value };
        assert_eq!(fields(&limits), [value, hard], "{name}");
        assert_ne!(fields(&mine), [value, value], "the server's own {name}");
    }
    server.wait_idle();
    server.stop();
}

fn its_cpu_time_is_limited() {
    let options = ["--cpu", "1"];
    let mut server = Server::start(Reaper::Hint, &options, &["sh", "-c", "while :; do :; done"]);
    let _client = server.connect();
    let cpu =
        server.wait_log("prise: end pid=[0-9]+ peer=[0-9.:]+ signal=XCPU seconds=[0-9.]+ cpu=([0-9.]+) ");
    let cpu: f64 = cpu.parse().expect("a number of seconds");
    assert!((0.5..1.5).contains(&cpu), "{cpu} s of CPU");
    server.wait_idle();
    server.stop();
}

fn its_user_may_be_a_number() {
    if !is_root() {
        return;
    }
    for (asked, is) in [("65534", "65534:65534"), ("4242:4343", "4242:4343"), ("4242:nogroup", "4242:65534")]
    {
        let mut server =
            Server::start(Reaper::Hint, &["--user", asked], &["sh", "-c", "echo $(id -u):$(id -G)"]);
        assert_eq!(text(server.ask(b"")).trim(), is, "{asked}");
        server.wait_idle();
        server.stop();
    }
}

fn exec_is_retried_during_a_shortage() {
    if !can_attach() {
        return;
    }
    for errno in ["EAGAIN", "ENOMEM", "ENFILE"] {
        let mut server = Server::start(Reaper::Hint, &[], &["/bin/cat"]);
        let fault = format!("error={errno}:when=1..3");
        let mut strace = Strace::attach(server.pid(), Follow::Children, "execve", &fault);
        assert_eq!(server.ask(b"hello"), b"hello", "{errno}");
        server.wait_children(0);
        strace.detach();
        assert_eq!(strace.injected(), 3, "{errno}");
        server.wait_idle();
        let log = server.stop();
        assert!(log.contains(" exit=0 ") && !log.contains("failed"), "{log}");
    }
}

fn its_steps_come_in_order() {
    if !is_root() || !can_attach() {
        return;
    }
    let options =
        ["--chroot", "/", "--cpu", "9", "--nofile", "99", "--user", "nobody", "--no-new-privs", "--hangup"];
    let mut server = Server::start(Reaper::Hint, &options, &["/bin/true"]);
    let watch = Watch::attach(
        server.pid(),
        "process,signal,desc,close_range,setsid,setpgid,prctl,prlimit64,setrlimit,chroot,chdir,setgroups,setgid,setuid",
    );
    server.ask(b"");
    server.wait_idle();
    let child: u32 = server.wait_log("prise: start pid=([0-9]+) ").parse().expect("a process");
    let calls: Vec<String> =
        watch.detach().into_iter().filter(|(pid, _)| *pid == child).map(|(_, call)| call).collect();
    let expected = [
        "setpgid(0, 0|setsid(",
        "rt_sigaction(SIGPIPE, {sa_handler=SIG_DFL",
        "rt_sigprocmask(SIG_SETMASK, [], ",
        "dup2(|dup3(",
        "close_range(3, 4294967295, 0",
        "chroot(\"/\"",
        "chdir(\"/\"",
        "RLIMIT_CPU",
        "RLIMIT_NOFILE",
        "setgroups(",
        "setgid(",
        "setuid(",
        "prctl(PR_SET_NO_NEW_PRIVS, 1",
        "prctl(PR_SET_PDEATHSIG, SIGTERM",
        "execve(\"/bin/true\", [\"/bin/true\"], ",
    ];
    let mut rest = calls.iter();
    for step in expected {
        // strace splits a call in two lines when a call of the parent comes in between; the first has the arguments
        let is_step = |call: &&String| step.split('|').any(|word| call.contains(word));
        assert!(rest.find(is_step).is_some(), "{step} is missing or out of order in {calls:#?}");
    }
    // before exec, the child opens no file and starts no process
    let before_exec = calls.iter().take_while(|call| !call.starts_with("execve("));
    for call in before_exec {
        assert!(!call.starts_with("open") && !call.starts_with("clone"), "{call}");
    }
    server.stop();
}

/// The lines of env(1).
fn variables(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
}

/// The client's address, and the environment that env(1) sends to it.
#[track_caller]
fn environment_of(client: TcpStream) -> (String, BTreeMap<String, String>) {
    let address = peer(&client);
    (address, variables(&text(exchange(client, b""))))
}

fn its_environment_describes_the_connection_and_nothing_stale(reaper: Reaper) {
    let stale = [
        ("PROTO", "SSL"),
        ("TCPLOCALIP", "stale"),
        ("TCPLOCALHOST", "stale"),
        ("TCPREMOTEHOST", "stale"),
        ("TCPREMOTEINFO", "stale"),
        ("REMOTE_ADDR", "stale"),
        ("LISTEN_PID", "1"),
        ("LISTEN_FDS", "1"),
        ("LISTEN_FDNAMES", "stale"),
        ("NOTIFY_SOCKET", "/nowhere"),
        ("FOO", "kept=as it is"),
    ];
    let mut server = Server::run(serve(reaper, &["[::]:0"], &["env"]).envs(stale));
    let clients = [
        server.connect(),
        TcpStream::connect(("::1", server.port)).expect("the server listens on IPv6, too"),
    ];
    for client in clients {
        let ip = client.peer_addr().expect("a connection has an address").ip().to_string();
        let port = client.local_addr().expect("a connection has an address").port().to_string();
        let (_, found) = environment_of(client);
        for (name, value) in [
            ("PROTO", "TCP"),
            ("TCPREMOTEIP", &ip),
            ("TCPREMOTEPORT", &port),
            ("TCPLOCALIP", &ip),
            ("TCPLOCALPORT", &server.port.to_string()),
            ("REMOTE_ADDR", &ip),
            ("REMOTE_PORT", &port),
            ("FOO", "kept=as it is"),
        ] {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{name} in {found:?}");
        }
        for name in [
            "TCPLOCALHOST",
            "TCPREMOTEHOST",
            "TCPREMOTEINFO",
            "LISTEN_PID",
            "LISTEN_FDS",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
        ] {
            assert_eq!(found.get(name), None, "{name}");
        }
    }
    server.wait_idle();
    server.stop();
}

fn clear_env_keeps_only_path() {
    let mut command = serve(Reaper::Hint, &["--clear-env"], &["env"]);
    let mut server = Server::run(command.env("FOO", "secret").env("TCPREMOTEHOST", "stale"));
    let (_, found) = environment_of(server.connect());
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let known = [
        "PATH",
        "PROTO",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "TCPLOCALIP",
        "TCPLOCALPORT",
        "TCPREMOTEIP",
        "TCPREMOTEPORT",
    ];
    assert_eq!(names, known);
    server.wait_idle();
    server.stop();
}

fn a_script_is_found_in_path() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let folder = tempfile::tempdir().unwrap();
    let path = format!("{}/missing:{}:/usr/bin:/bin", folder.path().display(), folder.path().display());
    // a file name may be any bytes, not only UTF-8
    for name in [b"plain".to_vec(), b"not UTF-8: \xe9".to_vec()] {
        let name = OsString::from_vec(name);
        let file = folder.path().join(&name);
        fs::write(&file, "#!/bin/sh\necho \"$0\" \"$1\"\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o755);
        let mut command = serve(Reaper::Hint, &[], &[]);
        command.arg("--").arg(&name).arg("an argument").env("PATH", &path);
        let mut server = Server::run(&mut command);
        let mut expected = file.into_os_string().into_vec();
        expected.extend(b" an argument\n");
        assert_eq!(server.ask(b""), expected);
        server.wait_idle();
        server.stop();
    }
}
