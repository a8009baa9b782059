//! `server robust` that is running, and a client for it.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::{
    DEADLINE, Process, Running, children, connect, descriptors, start, start_piped, twin, wait_until,
};
pub use crate::support::{am_root, finish, reset};

/// What a client of either server gets: "ok" and 16 NULs.
pub const REPLY: &[u8; 18] = b"ok\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Rust or C.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Rust,
    C,
}

impl Kind {
    /// The program, and the arguments that make it the server.
    pub fn argv(self) -> Vec<String> {
        let words = match self {
            Kind::Rust => vec![env!("CARGO_BIN_EXE_prise"), "server", "robust"],
            Kind::C => return vec![twin("server/robust").display().to_string()],
        };
        words.into_iter().map(String::from).collect()
    }

    /// The command that starts the server.
    pub fn command(self, options: &[&str]) -> Command {
        self.under(&[], options)
    }

    /// The command that starts it through a launcher, which ends with an exec of its last arguments.
    pub fn under(self, launcher: &[&str], options: &[&str]) -> Command {
        let mut words = launcher.iter().map(|word| String::from(*word)).chain(self.argv());
        let mut command = Command::new(words.next().expect("argv has a program"));
        command.args(words).args(options);
        command
    }
}

/// A server that listens, with its stdout and stderr piped to the test.
pub struct Server {
    pub running: Running,
    pub port: u16,
}

impl Server {
    /// Start it, on a port that it chooses.
    #[track_caller]
    pub fn start(kind: Kind) -> Server {
        Server::start_with(kind, &[])
    }

    /// Start it with more options.
    #[track_caller]
    pub fn start_with(kind: Kind, options: &[&str]) -> Server {
        Server::run(&mut kind.command(&[&["--port", "0"], options].concat()))
    }

    /// Start it by a command that says `--port 0`.
    #[track_caller]
    pub fn run(command: &mut Command) -> Server {
        let mut running = start_piped(command);
        running.wait_stdout("waiting for incoming connections...\n");
        let printed = running.stdout();
        let port = printed.lines().find_map(|line| line.strip_prefix("port ")?.parse().ok());
        Server { running, port: port.expect("the server says its port") }
    }

    /// The parent.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The parent's children, zombies too.
    pub fn children(&self) -> Vec<Process> {
        children(self.pid())
    }

    /// Wait until there are this many.
    #[track_caller]
    pub fn wait_children(&self, expected: usize) {
        wait_until(&format!("{expected} children"), || self.children().len() == expected);
    }

    /// The server is as good as new: the next client gets its whole reply, then nothing is left of the
    /// children, and the parent holds as many descriptors as it is said to.
    #[track_caller]
    pub fn assert_well(&self, expected_descriptors: usize) {
        assert_served(self.port);
        self.wait_children(0);
        wait_until(&format!("{expected_descriptors} descriptors"), || {
            descriptors(self.pid()) == expected_descriptors
        });
    }

    /// End it, and take all that it and its children said: stdout and stderr.
    pub fn end(mut self) -> (String, String) {
        self.running.kill_group();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(self.running.all_stdout()), text(self.running.all_stderr()))
    }

    /// Take what it printed after its banner, once all of its children have printed.
    pub fn end_log(self) -> String {
        let (stdout, _) = self.end();
        let banner = "waiting for incoming connections...\n";
        stdout.split_once(banner).expect("the server printed its banner").1.into()
    }
}

/// Start a server whose stdout says no port, with stderr piped; it listens once the first client is there.
pub fn start_mute(command: &mut Command, stdout: Stdio) -> Running {
    start(command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()))
}

/// Connect as soon as the server listens.
#[track_caller]
pub fn connect_first(port: u16) -> TcpStream {
    let mut stream = None;
    wait_until("the server listens", || {
        stream = TcpStream::connect(("127.0.0.1", port)).ok();
        stream.is_some()
    });
    let stream = stream.expect("it has connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
    stream
}

/// What one client more gets.
#[track_caller]
pub fn ask(port: u16, message: &[u8]) -> Vec<u8> {
    finish(connect(port), message)
}

/// One client more gets its whole reply, and then the end of file.
#[track_caller]
pub fn assert_served(port: u16) {
    assert_eq!(ask(port, b"hello\n"), REPLY);
}

/// The same for many clients, from several threads.
#[track_caller]
pub fn assert_all_served(port: u16, clients: usize) {
    thread::scope(|scope| {
        for share in 0..4 {
            scope.spawn(move || (share..clients).step_by(4).for_each(|_| assert_served(port)));
        }
    });
}

/// The line of the log for a client of this machine.
pub fn accepted(client: &TcpStream) -> String {
    let address = client.local_addr().expect("a connection has an address");
    format!("Connection from {}:{} accepted\n", address.ip(), address.port())
}
