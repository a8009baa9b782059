//! demo: shows a server that forks one process per client, while several clients talk to it.
//! Usage: make demo
//!
//! The demo has six steps, one function each. It checks everything that it prints, and exits with 0 only if all of it
//! was true.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Debug;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};
use std::{env, panic, process, thread};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use support::{Process, Running, free_port, installed, processes, root, start};

/// How long the demo waits for an expected event.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    leave_no_server_behind();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Unexpected { expected, seen }) => {
            eprintln!("\nThe demo FAILED.\n   expected: {expected}\n   seen:     {seen}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Unexpected> {
    println!("Welcome! This is prise: a server that forks one process per client.");
    println!("Below, $ is a command, < is what the client types, | is what a program prints.\n");
    let programs = Programs::find()?;
    let mut server = start_server(&programs)?;
    let mut clients = connect_clients(&programs, &mut server)?;
    let (silent, talkers) = clients.split_first_mut().expect("there is at least the silent client");
    all_but_one_talk(&mut server, talkers)?;
    silent_client_talks(&mut server, silent)?;
    no_zombie_is_left(&server)?;
    stop_server(server, &clients)?;
    let count = clients.len();
    println!("The demo has checked all of this: {count} clients got {count} replies, each of the");
    println!("{count} messages is in the log exactly once, and there are 0 zombies.");
    Ok(())
}

// ---- the steps ----

fn start_server(programs: &Programs) -> Result<Server, Unexpected> {
    println!("1. The server starts. It calls socket(), bind() and listen(), then waits in");
    println!("   accept().\n");
    // not port 0: this server does not print the port that the kernel would pick
    let port = free_port();
    println!("   server $ prise server fork --port {port}");
    let mut command = Command::new(&programs.prise);
    command.args(["server", "fork", "--port", &port.to_string()]);
    let running = start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    SERVER.store(running.pid() as i32, Ordering::Relaxed);
    let mut server = Server { running, port, shown: 0 };
    within("the server waits for connections", || {
        let log = server.log();
        let waits = log.contains("waiting for incoming connections...\n");
        if waits { Ok(()) } else { Err(format!("its log is {log:?}")) }
    })?;
    server.show_log();
    Ok(server)
}

fn connect_clients(programs: &Programs, server: &mut Server) -> Result<Vec<Client>, Unexpected> {
    println!("\n2. Several clients connect, and send nothing yet. For each client, the server");
    println!("   forks a child process: a copy of itself that has the client's socket. The");
    println!("   child sleeps in read() until its client sends something.\n");
    let clients = programs.clients(server.port)?;
    let count = clients.len();
    server.wait_for_lines(count, "Connection from ")?;
    server.show_log();
    show(&within(&format!("the server has {count} living children"), || server.family(count))?);
    Ok(clients)
}

fn all_but_one_talk(server: &mut Server, talkers: &mut [Client]) -> Result<(), Unexpected> {
    println!("\n3. All clients except the first send a message at the same time. Their children");
    println!("   read once, print the message, answer with 18 bytes (\"ok\" and 16 NULs), and");
    println!("   end. The silent client does not delay the others.\n");
    let start = Instant::now();
    for client in talkers.iter_mut() {
        client.talk();
    }
    for client in talkers.iter_mut() {
        client.wait_for_reply()?;
    }
    let ms = start.elapsed().as_millis();
    for client in talkers.iter_mut() {
        client.leave()?;
    }
    let count = talkers.len();
    server.wait_for_lines(count, "Message from client: ")?;
    server.show_log();
    let family = within("the server has one living child, the silent client's", || server.family(1))?;
    println!("\n   The {count} replies took {ms} ms. One child is left, the silent client's:");
    show(&family);
    Ok(())
}

fn silent_client_talks(server: &mut Server, silent: &mut Client) -> Result<(), Unexpected> {
    println!("\n4. Now the silent client sends its message, too. Its child was waiting for it");
    println!("   all the time.\n");
    silent.talk();
    silent.wait_for_reply()?;
    silent.leave()?;
    server.wait_for_lines(1, &format!("Message from client: {}", silent.message))?;
    server.show_log();
    Ok(())
}

fn no_zombie_is_left(server: &Server) -> Result<(), Unexpected> {
    println!("\n5. All clients have disconnected. A child that has ended stays a zombie (state");
    println!("   Z) until its parent calls waitpid(). This server does so in its handler of");
    println!("   SIGCHLD, so only the server itself is left:");
    show(&within("the server has no child and no zombie", || server.family(0))?);
    println!("\n   The server has 0 children and 0 zombies.");
    Ok(())
}

fn stop_server(mut server: Server, clients: &[Client]) -> Result<(), Unexpected> {
    let pid = server.running.pid();
    println!("\n6. We stop the server with SIGTERM. It has no handler for this signal, so the");
    println!("   signal kills it.\n");
    println!("   shell  $ kill -TERM {pid}");
    server.running.signal(Signal::SIGTERM);
    let status = within("the server ends", || server.running.try_wait().ok_or("it still runs".into()))?;
    SERVER.store(0, Ordering::Relaxed);
    expect(status.signal() == Some(Signal::SIGTERM as i32), "SIGTERM kills the server", status)?;

    let log = String::from_utf8_lossy(&server.running.all_stdout()).into_owned();
    let once = |line: &str| log.lines().filter(|logged| logged.trim_end() == line).count() == 1;
    expect(once("bind done"), "\"bind done\" is in the log once: no child repeats it", &log)?;
    for client in clients {
        let line = format!("Message from client: {}", client.message);
        expect(once(&line), &format!("{line:?} is in the log once"), &log)?;
    }
    let left = killpg(Pid::from_raw(pid as i32), None);
    expect(left == Err(Errno::ESRCH), "the server's process group is empty", left)?;
    let port = server.port;
    let refused = TcpStream::connect(("127.0.0.1", port));
    let is_refused = refused.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    expect(is_refused, &format!("port {port} refuses a client"), &refused)?;
    println!("\n   The server has ended, none of its processes is left, and port {port} refuses");
    println!("   connections. For a minute, a new server may be unable to bind this port,");
    println!("   because `prise server fork` does not set SO_REUSEADDR; `prise server robust`");
    println!("   does.\n");
    Ok(())
}

// ---- the server ----

struct Server {
    running: Running,
    port: u16,
    /// How many bytes of its log were printed.
    shown: usize,
}

impl Server {
    fn log(&mut self) -> String {
        self.running.stdout()
    }

    /// Print the new lines of its log.
    fn show_log(&mut self) {
        let log = self.log();
        show_lines("server", &log[self.shown..]);
        self.shown = log.len();
    }

    /// Wait until exactly `count` new lines of its log begin with a prefix.
    fn wait_for_lines(&mut self, count: usize, prefix: &str) -> Result<(), Unexpected> {
        within(&format!("the server's log has {count} new lines \"{prefix}…\""), || {
            let log = self.log();
            let new = &log[self.shown..];
            let lines = new.lines().filter(|line| line.starts_with(prefix)).count();
            // the last line may be incomplete
            if lines == count && new.ends_with('\n') { Ok(()) } else { Err(format!("{lines} in {new:?}")) }
        })
    }

    /// The server and its children. An error if there are not exactly `count` children, all alive and asleep.
    fn family(&self, count: usize) -> Result<Vec<Process>, String> {
        let pid = self.running.pid();
        let (mut children, others): (Vec<_>, Vec<_>) =
            processes().into_iter().partition(|one| one.ppid == pid);
        let zombies = children.iter().filter(|child| child.state == 'Z').count();
        let parent = others.into_iter().find(|one| one.pid == pid && one.state != 'Z');
        let parent = parent.ok_or("the server has ended")?;
        if children.len() != count || zombies > 0 {
            return Err(format!("{} children, {zombies} of them zombies", children.len()));
        }
        if let Some(awake) = children.iter().find(|child| child.state == 'R') {
            return Err(format!("child {} does not sleep yet", awake.pid));
        }
        children.sort_by_key(|child| child.pid);
        children.insert(0, parent);
        Ok(children)
    }
}

/// Print a parent and its children as a tree.
fn show(family: &[Process]) {
    println!("\n   {:>8} {:>8}  {:11} COMMAND", "PID", "PARENT", "STATE");
    for (index, Process { pid, ppid, state, command }) in family.iter().enumerate() {
        let branch = if index == 0 { "" } else { " \\_ " };
        let state = match state {
            'R' => "R running".into(),
            'S' | 'I' => format!("{state} sleeping"),
            other => other.to_string(),
        };
        // without the program's folder, to keep the lines short
        let arguments = command.split_once(' ').map_or("", |(_, arguments)| arguments);
        println!("   {pid:>8} {ppid:>8}  {state:11} {branch}prise {arguments}");
    }
}

// ---- the clients ----

struct Client {
    name: &'static str,
    message: String,
    running: Running,
    stdin: Option<ChildStdin>,
}

impl Client {
    /// Start a client, and print its command as a user would type it.
    fn start(name: &'static str, program: &Path, arguments: &[&str]) -> Client {
        let shown = program.strip_prefix(root().join("target/release")).or(program.strip_prefix(root()));
        println!("   {name:6} $ {} {}", shown.unwrap_or(program).display(), arguments.join(" "));
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = start(&mut command);
        let stdin = Some(running.stdin());
        Client { name, message: format!("hello from {name}"), running, stdin }
    }

    /// Type the message.
    fn talk(&mut self) {
        println!("   {:6} < {}", self.name, self.message);
        if let Some(stdin) = &mut self.stdin {
            // if the client has ended, wait_for_reply reports it
            let _ = writeln!(stdin, "{}", self.message);
        }
    }

    fn wait_for_reply(&mut self) -> Result<(), Unexpected> {
        within(&format!("{} gets the reply \"ok\"", self.name), || {
            let output = self.running.stdout();
            let replied = output.split(['\n', '\r', '\0']).any(|piece| piece == "ok");
            let stderr = self.running.stderr();
            if replied { Ok(()) } else { Err(format!("its stdout is {output:?}, its stderr {stderr:?}")) }
        })
    }

    /// Close its stdin, wait until it ends, and print its output.
    fn leave(&mut self) -> Result<(), Unexpected> {
        self.stdin = None;
        let name = self.name;
        within(&format!("{name} ends"), || self.running.try_wait().ok_or("it still runs".into()))?;
        show_lines(name, &String::from_utf8_lossy(&self.running.all_stdout()));
        Ok(())
    }
}

/// Print a program's output, each line after the program's name.
fn show_lines(name: &str, text: &str) {
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        println!("   {name:6} | {}", readable(line));
    }
}

/// A line with its NULs counted and its other control characters escaped.
fn readable(line: &str) -> String {
    let mut text = String::new();
    for run in line.chars().collect::<Vec<_>>().chunk_by(|a, b| a == b) {
        match run[0] {
            '\0' => text += &format!("[{} NULs]", run.len()),
            c if c.is_control() => text.extend(run.iter().flat_map(|control| control.escape_default())),
            _ => text.extend(run),
        }
    }
    text
}

// ---- the programs ----

/// The programs that the demo runs.
struct Programs {
    prise: PathBuf,
    twin: PathBuf,
}

impl Programs {
    /// Find prise in target/release, the parent of this example's folder, and the C twin in target/c.
    fn find() -> Result<Programs, Unexpected> {
        let demo = env::current_exe().expect("a program knows its own path");
        let folder = demo.ancestors().nth(2).expect("cargo puts examples into a subfolder");
        let programs = Programs { prise: folder.join("prise"), twin: root().join("target/c/client/message") };
        for program in [&programs.prise, &programs.twin] {
            expect(
                program.is_file(),
                &format!("{} exists: `make demo` builds it", program.display()),
                "there is no such file",
            )?;
        }
        Ok(programs)
    }

    /// Start all installed clients, the silent one first.
    fn clients(&self, port: u16) -> Result<Vec<Client>, Unexpected> {
        let port = &port.to_string();
        let message = ["client", "message", "localhost", port, "--reply"];
        let mut clients = vec![
            Client::start("silent", &self.prise, &message),
            Client::start("rust", &self.prise, &message),
            Client::start("twin", &self.twin, &message[2..]),
        ];
        for name in ["telnet", "nc"] {
            if installed(name) {
                clients.push(Client::start(name, Path::new(name), &["localhost", port]));
            } else {
                println!("   {name:6} : skipped, because it is not installed");
                let expected = format!("{name} is installed, because CI is set");
                expect(env::var_os("CI").is_none(), &expected, "it is not installed")?;
            }
        }
        Ok(clients)
    }
}

// ---- expectations ----

struct Unexpected {
    expected: String,
    seen: String,
}

fn expect(holds: bool, expected: &str, seen: impl Debug) -> Result<(), Unexpected> {
    if holds { Ok(()) } else { Err(Unexpected { expected: expected.into(), seen: format!("{seen:?}") }) }
}

/// Repeat a look until it succeeds. After [`PATIENCE`], give an error with what the last look has seen.
fn within<T>(expected: &str, mut look: impl FnMut() -> Result<T, String>) -> Result<T, Unexpected> {
    let end = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(seen) if Instant::now() > end => {
                return Err(Unexpected { expected: format!("{expected}, within {PATIENCE:?}"), seen });
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

// ---- clean-up ----

/// The server's process group; 0 if there is no server.
static SERVER: AtomicI32 = AtomicI32::new(0);

/// Kill the server if the demo is interrupted or panics. Ctrl-C does not reach the server's own process group; a panic
/// in a release build aborts without dropping values. (Clients end by themselves, since their stdin is closed.)
fn leave_no_server_behind() {
    panic::set_hook(Box::new(|panic| {
        // an error of stderr cannot be reported anywhere
        let _ = writeln!(std::io::stderr(), "{panic}");
        kill_server_and_exit(1)
    }));
    signals().thread_block().expect("signals can be blocked");
    thread::spawn(|| {
        let signal = signals().wait().expect("signals can be waited for");
        kill_server_and_exit(128 + signal as i32)
    });
}

fn kill_server_and_exit(status: i32) -> ! {
    let group = SERVER.swap(0, Ordering::Relaxed);
    if group > 0 {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    process::exit(status)
}

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}
