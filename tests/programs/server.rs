//! `prise serve`, on a port that it picks, and what it logs; programs that are run to their end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use crate::support::{DEADLINE, Running, connect as connect_to, start_piped, wait_until};

pub const PRISE: &str = env!("CARGO_BIN_EXE_prise");

/// A server, which ends with this value, its children too.
pub struct Server {
    running: Running,
    pub port: u16,
}

/// Serve a program.
#[track_caller]
pub fn serve(options: &[&str], program: &[&str]) -> Server {
    let mut command = Command::new(PRISE);
    // who fails a test is not waited for
    command.args(["serve", "--grace", "1"]).args(options).args(["127.0.0.1:0", "--"]).args(program);
    listening(start_piped(&mut command))
}

/// Wait until a server says where it listens.
#[track_caller]
pub fn listening(mut running: Running) -> Server {
    let mut port = None;
    wait_until("prise prints its address", || {
        assert!(running.try_wait().is_none(), "prise has ended: {}", running.stderr());
        port = running.stdout().strip_suffix('\n').and_then(|line| line.rsplit(':').next()?.parse().ok());
        port.is_some()
    });
    Server { running, port: port.expect("it was waited for") }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub fn log(&mut self) -> String {
        self.running.stderr()
    }

    /// Wait until so many lines of the log hold a text.
    #[track_caller]
    pub fn wait_log(&mut self, count: usize, text: &str) -> String {
        wait_until(&format!("{count} lines with {text:?} in the log"), || {
            self.log()
                .split_inclusive('\n')
                .filter(|line| line.contains(text) && line.ends_with('\n'))
                .count()
                >= count
        });
        self.log()
    }

    /// Ask it to stop, and give its whole log.
    #[track_caller]
    pub fn stop(mut self) -> String {
        self.running.signal(Signal::SIGTERM);
        let status = self.running.wait();
        let log = String::from_utf8_lossy(&self.running.all_stderr()).into_owned();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // its children are in groups of their own, and it ends them
        if self.running.try_wait().is_none() {
            self.running.signal(Signal::SIGTERM);
        }
        let end = Instant::now() + DEADLINE;
        while self.running.try_wait().is_none() && Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

/// What a program that has ended left.
pub struct Done {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Run a program to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Done {
    let mut running = start_piped(command);
    let code = running.wait().code();
    let stderr = String::from_utf8_lossy(&running.all_stderr()).into_owned();
    Done { code, stdout: running.all_stdout(), stderr }
}

/// Run a program that must succeed, and give what it printed.
#[track_caller]
pub fn printed(program: &str, arguments: &[&str]) -> String {
    let done = run(Command::new(program).args(arguments));
    assert_eq!(done.code, Some(0), "{program} {arguments:?}: {}", done.stderr);
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Make a script that can be executed. install(1) writes it, since a process that another test starts would
/// keep a file of ours open for writing, and such a file cannot be executed.
pub fn script(folder: &tempfile::TempDir, text: &str) -> String {
    let file = folder.path().join("script");
    let file = file.to_str().expect("a temporary folder has a plain name");
    let mut command = Command::new("install");
    command.args(["-m", "755", "/dev/stdin", file]).stdin(Stdio::piped());
    let mut running = crate::support::start(&mut command);
    running.stdin().write_all(text.as_bytes()).expect("install reads");
    assert!(running.wait().success());
    file.into()
}

/// Say something, half-close, and read to the end.
#[track_caller]
pub fn ask(port: u16, text: &str) -> String {
    tell(connect_to(port), text)
}

/// The same on a connection.
#[track_caller]
pub fn tell(mut client: TcpStream, text: &str) -> String {
    client.write_all(text.as_bytes()).expect("the server takes it");
    client.shutdown(Shutdown::Write).expect("a connection can be half-closed");
    heard(client)
}

/// Read to the end.
#[track_caller]
pub fn heard(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the answer comes whole");
    answer
}

/// Connect from an address of this machine's own network, 127/8.
pub fn connect_from(host: u8, port: u16) -> TcpStream {
    let client = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let client = client.expect("a socket can be made");
    bind(client.as_raw_fd(), &SockaddrIn::new(127, 0, 0, host, 0)).expect("all of 127/8 is this machine");
    let [a, b, c, d] = Ipv4Addr::LOCALHOST.octets();
    connect(client.as_raw_fd(), &SockaddrIn::new(a, b, c, d, port)).expect("the server listens");
    let client = TcpStream::from(client);
    client.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
    client.set_write_timeout(Some(DEADLINE)).expect("a deadline can be set");
    client
}
