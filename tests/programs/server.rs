//! Runs `prise serve` on a port that the kernel picks and reads its log; runs other programs to their end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{self, DEADLINE, Running, connect, holds_within, start_piped, wait_until};

pub const PRISE: &str = env!("CARGO_BIN_EXE_prise");

/// A running server. Dropping this value ends it and its children.
pub struct Server {
    running: Running,
    pub port: u16,
}

/// Start `prise serve` with a program.
#[track_caller]
pub fn serve(options: &[&str], program: &[&str]) -> Server {
    let mut command = Command::new(PRISE);
    // if a test fails, its children need not finish
    command.args(["serve", "--grace", "1"]).args(options).args(["127.0.0.1:0", "--"]).args(program);
    listening(start_piped(&mut command))
}

/// Wait until a server prints its address.
#[track_caller]
pub fn listening(mut running: Running) -> Server {
    let mut port = None;
    wait_until("prise prints its address", || {
        assert!(running.try_wait().is_none(), "prise has ended: {}", running.stderr());
        port = running.stdout().strip_suffix('\n').and_then(|line| line.rsplit(':').next()?.parse().ok());
        port.is_some()
    });
    Server { running, port: port.expect("the loop above has read it") }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub fn log(&mut self) -> String {
        self.running.stderr()
    }

    /// Wait until `count` lines of the log contain a text; gives the log.
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

    /// Stop it with SIGTERM; gives its whole log. Its exit status must be 0.
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
        // each child has its own process group, so let the server end them
        if self.running.try_wait().is_none() {
            self.running.signal(Signal::SIGTERM);
        }
        holds_within(DEADLINE, || self.running.try_wait().is_some());
    }
}

/// The exit code and the output of a program that has ended.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Run a program to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Finished {
    let mut running = start_piped(command);
    let code = running.wait().code();
    let stderr = String::from_utf8_lossy(&running.all_stderr()).into_owned();
    Finished { code, stdout: running.all_stdout(), stderr }
}

/// Run a program that must succeed; gives its stdout.
#[track_caller]
pub fn printed(program: &str, arguments: &[&str]) -> String {
    let done = run(Command::new(program).args(arguments));
    assert_eq!(done.code, Some(0), "{program} {arguments:?}: {}", done.stderr);
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The path of a file in a temporary folder.
pub fn path_in(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("a temporary folder has a plain name").into()
}

/// Create an executable script with install(1). If this process wrote the file itself, another test could fork at that
/// moment: its child would keep the file open for writing, and exec of the script would fail with ETXTBSY.
pub fn script(folder: &TempDir, text: &str) -> String {
    let file = path_in(folder, "script");
    let mut command = Command::new("install");
    command.args(["-m", "755", "/dev/stdin", &file]).stdin(Stdio::piped());
    let mut running = support::start(&mut command);
    running.stdin().write_all(text.as_bytes()).expect("install reads");
    assert!(running.wait().success());
    file
}

/// Connect, send a text, half-close, and read the answer to the end of file.
#[track_caller]
pub fn ask(port: u16, text: &str) -> String {
    exchange(connect(port), text)
}

/// The same on an open connection.
#[track_caller]
pub fn exchange(client: TcpStream, text: &str) -> String {
    String::from_utf8(support::exchange(client, text.as_bytes())).expect("the answer is UTF-8")
}

/// Read an answer to the end of file.
#[track_caller]
pub fn read_answer(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the answer ends with an end of file, and is UTF-8");
    answer
}
