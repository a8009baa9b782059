//! A running `server robust`, and clients for it.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::{
    DEADLINE, Process, Running, children, connect, descriptors, start, start_piped, twin, wait_until,
};
pub use crate::support::{REPLY, am_root, exchange, reset};

/// The server's edition: the Rust, or the C twin.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Rust,
    C,
}

impl Kind {
    /// The program and the arguments that select the server.
    pub fn argv(self) -> Vec<String> {
        let words = match self {
            Kind::Rust => vec![env!("CARGO_BIN_EXE_prise"), "server", "robust"],
            Kind::C => return vec![twin("server/robust").display().to_string()],
        };
        words.into_iter().map(String::from).collect()
    }

    /// The command that starts the server.
    pub fn command(self, options: &[&str]) -> Command {
        self.through(&[], options)
    }

    /// The same through a launcher: a command that ends in an exec of its last arguments.
    pub fn through(self, launcher: &[&str], options: &[&str]) -> Command {
        let mut words = launcher.iter().map(|word| String::from(*word)).chain(self.argv());
        let mut command = Command::new(words.next().expect("argv has a program"));
        command.args(words).args(options);
        command
    }
}

/// A listening server, with its stdout and stderr piped to the test.
pub struct Server {
    pub running: Running,
    pub port: u16,
}

impl Server {
    /// Start it, on a port that the kernel picks.
    #[track_caller]
    pub fn start(kind: Kind) -> Server {
        Server::start_with(kind, &[])
    }

    /// Start it with more options.
    #[track_caller]
    pub fn start_with(kind: Kind, options: &[&str]) -> Server {
        Server::run(&mut kind.command(&[&["--port", "0"], options].concat()))
    }

    /// Start it by a command that contains `--port 0`.
    #[track_caller]
    pub fn run(command: &mut Command) -> Server {
        let mut running = start_piped(command);
        running.wait_stdout("waiting for incoming connections...\n");
        let printed = running.stdout();
        let port = printed.lines().find_map(|line| line.strip_prefix("port ")?.parse().ok());
        Server { running, port: port.expect("the server prints its port") }
    }

    /// The parent's process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The parent's children, including zombies.
    pub fn children(&self) -> Vec<Process> {
        children(self.pid())
    }

    /// Wait until the parent has this many children.
    #[track_caller]
    pub fn wait_children(&self, expected: usize) {
        wait_until(&format!("{expected} children"), || self.children().len() == expected);
    }

    /// Assert that the server works as at the start: the next client gets its whole reply, then the parent has no child
    /// and the expected number of descriptors.
    #[track_caller]
    pub fn assert_well(&self, expected_descriptors: usize) {
        assert_served(self.port);
        self.wait_children(0);
        wait_until(&format!("{expected_descriptors} descriptors"), || {
            descriptors(self.pid()) == expected_descriptors
        });
    }

    /// Kill it with its children; gives their whole stdout and stderr.
    pub fn end(mut self) -> (String, String) {
        self.running.kill_group();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(self.running.all_stdout()), text(self.running.all_stderr()))
    }

    /// The same; gives the stdout after the banner.
    pub fn end_log(self) -> String {
        let (stdout, _) = self.end();
        let banner = "waiting for incoming connections...\n";
        stdout.split_once(banner).expect("the server printed its banner").1.into()
    }
}

/// Start a server with this stdout, and stderr piped. The test cannot read stdout: [`connect_first`] waits until the
/// server listens.
pub fn start_with_stdout(command: &mut Command, stdout: Stdio) -> Running {
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
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream
}

/// Connect, send a message, and give the reply.
#[track_caller]
pub fn ask(port: u16, message: &[u8]) -> Vec<u8> {
    exchange(connect(port), message)
}

/// Assert that one more client gets its whole reply, and then the end of file.
#[track_caller]
pub fn assert_served(port: u16) {
    assert_eq!(ask(port, b"hello\n"), REPLY);
}

/// The same for many clients, from four threads.
#[track_caller]
pub fn assert_all_served(port: u16, clients: usize) {
    thread::scope(|scope| {
        for share in 0..4 {
            scope.spawn(move || (share..clients).step_by(4).for_each(|_| assert_served(port)));
        }
    });
}

/// The log line for a connected client.
pub fn accepted(client: &TcpStream) -> String {
    let address = client.local_addr().expect("a connection has an address");
    format!("Connection from {}:{} accepted\n", address.ip(), address.port())
}
