//! Programs that would do more than serve their client: none reaches the server's terminal, leaves its group, is
//! taken for ended, or outlives the server.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::read;

use crate::fixture::{Reaper, Server, am_root, finish, is_root, marked_sleep, offspring, running};
use crate::support::{connect, free_port, has, start, start_piped, wait_until};

trials!(
    both: one_that_traces_itself_is_let_go_and_counted_until_it_ends,
        it_does_not_outlive_a_server_that_is_killed;
    once: it_writes_to_the_servers_terminal_and_does_no_more,
        a_terminal_that_nobody_reads_stops_nothing;
);

/// Has a signal stop it, as a traced process is stopped, and goes on once it is let go.
const TRACES_ITSELF: &str = "import ctypes, os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
ctypes.CDLL(None).ptrace(0, 0, 0, 0)
os.kill(os.getpid(), signal.SIGALRM)
print('alive', flush=True)
sys.stdin.read()
";

fn one_that_traces_itself_is_let_go_and_counted_until_it_ends(reaper: Reaper) {
    if !has("python3", "python3") {
        return;
    }
    let mut server = Server::start(reaper, &["--max-children", "3"], &["python3", "-c", TRACES_ITSELF]);
    let mut clients: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    for client in &mut clients {
        let mut said = [0; 6];
        client.read_exact(&mut said).expect("it goes on");
        assert_eq!(&said, b"alive\n");
    }
    let status = server.status();
    assert_eq!((status.live, status.ended), (2, 0), "{status:?}");
    clients.iter().for_each(|client| client.shutdown(Shutdown::Write).unwrap());
    server.at_rest();
    let log = server.stop();
    assert_eq!(log.matches(" exit=0 ").count(), 2, "{log}");
}

fn it_does_not_outlive_a_server_that_is_killed(reaper: Reaper) {
    for options in [&[][..], &["--user", "nobody"]] {
        if !options.is_empty() && !is_root() {
            return;
        }
        let sleep = marked_sleep();
        let mut server = Server::start(reaper, options, &["sh", "-c", &format!("exec {sleep}")]);
        let _held = server.connect();
        wait_until("it sleeps", || running(&sleep) == 1);
        server.signal(Signal::SIGKILL);
        server.running.wait();
        wait_until("it has ended, too", || running(&sleep) == 0);
    }
}

/// What can be done with the terminal that is the log, beside writing to it.
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

fn it_writes_to_the_servers_terminal_and_does_no_more() {
    if !has("python3", "python3") || !has("script", "bsdutils") {
        return;
    }
    let port = free_port();
    // root may do all of it
    let user = if am_root() { "--user nobody" } else { "" };
    let serve = format!(
        "exec '{}' serve {user} 127.0.0.1:{port} -- python3 -c \"$PROGRAM\"",
        env!("CARGO_BIN_EXE_prise")
    );
    let mut command = Command::new("script");
    command.args(["-qec", &serve, "/dev/null"]).env("PROGRAM", TERMINAL).stdin(Stdio::null());
    let mut terminal = start_piped(&mut command);
    terminal.wait_stdout("prise: listening ");
    let said = finish(connect(port), b"");
    assert_eq!(String::from_utf8_lossy(&said), "terminal: True done:\n");
    terminal.wait_stdout("said by the program");
    terminal.wait_stdout("prise: end ");
    // script passes on no signal: the server is its child
    let server = offspring(terminal.pid())[0];
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(server as i32), Signal::SIGQUIT).unwrap();
    terminal.wait_stdout("prise: stopped ");
    assert_eq!(terminal.wait().code(), Some(0));
}

fn a_terminal_that_nobody_reads_stops_nothing() {
    let terminal = openpty(None, None).expect("a terminal can be had");
    let mut how = tcgetattr(&terminal.slave).expect("it has its settings");
    cfmakeraw(&mut how);
    tcsetattr(&terminal.slave, SetArg::TCSANOW, &how).expect("they can be set");
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prise"));
    command.args(["serve", &format!("127.0.0.1:{port}"), "--", "cat"]);
    let mut server =
        start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(terminal.slave)));
    server.wait_stdout("\n");
    // each has two lines of 60 bytes; a terminal keeps 4096 or so
    for _ in 0..300 {
        assert_eq!(finish(connect(port), b"hello"), b"hello");
    }
    wait_until("all are reaped", || offspring(server.pid()).is_empty());
    // now somebody reads
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
    wait_until("all is read", || read_on().lines().count() > 10);
    server.signal(Signal::SIGUSR1);
    wait_until("the counters are told", || read_on().contains("\nprise: status "));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    // what was cut is the one line that says nothing whole, and the next has a line of its own
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
