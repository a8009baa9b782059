//! Hostile programs: they cannot control the server's terminal, leave their process group, look as if they had ended,
//! or outlive the server.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::read;

use crate::fixture::{Reaper, Server, am_root, child_pids, exchange, is_root, marked_sleep, running_count};
use crate::support::{connect, free_port, has, raw_terminal, start, start_piped, wait_until};

trials!(
    both: a_program_that_traces_itself_is_resumed_and_counts_as_living,
        a_program_does_not_outlive_a_killed_server;
    once: a_program_can_only_write_to_the_servers_terminal,
        it_serves_while_nobody_reads_its_terminal;
);

/// Calls ptrace(PTRACE_TRACEME): the next signal stops it, and its parent, which is the tracer now, must resume it.
const TRACES_ITSELF: &str = "import ctypes, os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
ctypes.CDLL(None).ptrace(0, 0, 0, 0)
os.kill(os.getpid(), signal.SIGALRM)
print('alive', flush=True)
sys.stdin.read()
";

fn a_program_that_traces_itself_is_resumed_and_counts_as_living(reaper: Reaper) {
    if !has("python3", "python3") {
        return;
    }
    let mut server = Server::start(reaper, &["--max-children", "3"], &["python3", "-c", TRACES_ITSELF]);
    let mut clients: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    for client in &mut clients {
        let mut line = [0; 6];
        client.read_exact(&mut line).expect("the program is resumed");
        assert_eq!(&line, b"alive\n");
    }
    let status = server.status();
    assert_eq!((status.live, status.ended), (2, 0), "{status:?}");
    clients.iter().for_each(|client| client.shutdown(Shutdown::Write).unwrap());
    server.wait_idle();
    let log = server.stop();
    assert_eq!(log.matches(" exit=0 ").count(), 2, "{log}");
}

fn a_program_does_not_outlive_a_killed_server(reaper: Reaper) {
    for options in [&[][..], &["--user", "nobody"]] {
        if !options.is_empty() && !is_root() {
            return;
        }
        let sleep = marked_sleep();
        let mut server = Server::start(reaper, options, &["sh", "-c", &format!("exec {sleep}")]);
        let _held = server.connect();
        wait_until("the program sleeps", || running_count(&sleep) == 1);
        server.signal(Signal::SIGKILL);
        server.running.wait();
        wait_until("the program has ended, too", || running_count(&sleep) == 0);
    }
}

/// Tries to misuse the terminal on descriptor 2: push input, take the foreground, read, open /dev/tty; and to join the
/// server's process group. It reports what succeeded.
const TERMINAL: &str = "import fcntl, os, signal, termios
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
signal.signal(signal.SIGTTIN, signal.SIG_IGN)
done = []
for name, what in [
    ('typed', lambda: fcntl.ioctl(2, termios.TIOCSTI, b'x')),
    ('foreground', lambda: os.tcsetpgrp(2, os.getpgrp())),
    ('read', lambda: os.read(2, 1)),
    ('opened', lambda: os.open('/dev/tty', os.O_RDWR)),
    ('left', lambda: os.setpgid(0, os.getpgid(os.getppid()))),
]:
    try: what()
    except OSError: continue
    done.append(name)
os.write(2, b'said by the program\\r\\n')
print('terminal:', os.isatty(2), 'done:', *done)
";

fn a_program_can_only_write_to_the_servers_terminal() {
    if !has("python3", "python3") || !has("script", "bsdutils") {
        return;
    }
    let port = free_port();
    // root could do all of it
    let user = if am_root() { "--user nobody" } else { "" };
    let serve = format!(
        "exec '{}' serve {user} 127.0.0.1:{port} -- python3 -c \"$PROGRAM\"",
        env!("CARGO_BIN_EXE_prise")
    );
    let mut command = Command::new("script");
    command.args(["-qec", &serve, "/dev/null"]).env("PROGRAM", TERMINAL).stdin(Stdio::null());
    let mut terminal = start_piped(&mut command);
    terminal.wait_stdout("prise: listening ");
    let report = exchange(connect(port), b"");
    assert_eq!(String::from_utf8_lossy(&report), "terminal: True done:\n");
    terminal.wait_stdout("said by the program");
    terminal.wait_stdout("prise: end ");
    // script(1) forwards no signal, so signal its child, the server
    let server = child_pids(terminal.pid())[0];
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(server as i32), Signal::SIGQUIT).unwrap();
    terminal.wait_stdout("prise: stopped ");
    assert_eq!(terminal.wait().code(), Some(0));
}

fn it_serves_while_nobody_reads_its_terminal() {
    let terminal = raw_terminal();
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prise"));
    command.args(["serve", &format!("127.0.0.1:{port}"), "--", "cat"]);
    let mut server =
        start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(terminal.slave)));
    server.wait_stdout("\n");
    // each client causes two lines of about 60 bytes; a terminal buffers about 4096 bytes
    for _ in 0..300 {
        assert_eq!(exchange(connect(port), b"hello"), b"hello");
    }
    wait_until("all children are reaped", || child_pids(server.pid()).is_empty());
    // now read the terminal
    let nonblocking = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
    fcntl(&terminal.master, nonblocking).unwrap();
    let mut log = Vec::new();
    let mut read_on = || {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = read(&terminal.master, &mut piece) {
            log.extend_from_slice(&piece[..n]);
        }
        String::from_utf8_lossy(&log).into_owned()
    };
    wait_until("the log is read", || read_on().lines().count() > 10);
    server.signal(Signal::SIGUSR1);
    wait_until("the counters are logged", || read_on().contains("\nprise: status "));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    // at most one line is cut short, and the next line begins on its own line
    let log = read_on();
    let is_whole = |line: &&str| line.starts_with("prise: ") && line.contains('=');
    let cut: Vec<&str> = log.lines().filter(|line| !is_whole(line)).collect();
    assert!(
        cut.len() <= 1
            && cut
                .iter()
                .all(|line| "prise: start pid=".starts_with(*line) || "prise: end pid=".starts_with(*line)),
        "{log}"
    );
}
