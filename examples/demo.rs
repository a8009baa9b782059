//! demo: a server that forks one process per client, watched while clients talk to it at once.
//! Usage: make demo
//!
//! Six acts, a function each. It exits 0 only if everything that it says was so.

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

use support::{Process, Running, free_port, processes, root, start};

/// How long the demo waits for what must come.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    leave_no_server_behind();
    match play() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Unexpected { expected, seen }) => {
            eprintln!("\nThe demo FAILED.\n   expected: {expected}\n   seen:     {seen}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<(), Unexpected> {
    println!("prise: a server that forks one process per client\n");
    let programs = Programs::find()?;
    let mut server = start_the_server(&programs)?;
    let mut clients = connect_everyone(&programs, &mut server)?;
    let (silent, talkers) = clients.split_first_mut().expect("there is at least the silent client");
    everyone_talks_but_one(&mut server, talkers)?;
    the_silent_one_talks(&mut server, silent)?;
    nobody_is_left(&server)?;
    stop_the_server(server, &clients)?;
    let count = clients.len();
    println!(
        "All this was so: {count} clients, {count} replies, {count} messages in the log once, 0 zombies."
    );
    Ok(())
}

// ---- the acts ----

fn start_the_server(programs: &Programs) -> Result<Server, Unexpected> {
    println!("1. The server starts: socket(), bind() to a port, listen(). It waits in accept().\n");
    // it says nothing of the port that the kernel picks for port 0
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
        if waits { Ok(()) } else { Err(format!("the log {log:?}")) }
    })?;
    server.show_log();
    Ok(server)
}

fn connect_everyone(programs: &Programs, server: &mut Server) -> Result<Vec<Client>, Unexpected> {
    println!("\n2. Clients connect, and none has said a word yet. For each the server forks a child: a");
    println!("   copy of itself, which holds that client's socket and sleeps in read() until it speaks.\n");
    let clients = programs.clients(server.port)?;
    let count = clients.len();
    server.wait_for_lines(count, "Connection from ")?;
    server.show_log();
    show(&within(&format!("the server with {count} living children"), || server.family(count))?);
    Ok(clients)
}

fn everyone_talks_but_one(server: &mut Server, talkers: &mut [Client]) -> Result<(), Unexpected> {
    println!("\n3. All but the first talk, at once. Each one's child reads once, prints what came, answers");
    println!("   18 bytes, \"ok\" and 16 NULs, and ends. The silent client delays nobody.\n");
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
    let family = within("the server with one living child, the silent client's", || server.family(1))?;
    println!("\n   {count} replies in {ms} ms. One child is left, the silent client's:");
    show(&family);
    Ok(())
}

fn the_silent_one_talks(server: &mut Server, silent: &mut Client) -> Result<(), Unexpected> {
    println!("\n4. The silent client talks at last. Its child has waited for it all the while.\n");
    silent.talk();
    silent.wait_for_reply()?;
    silent.leave()?;
    server.wait_for_lines(1, &format!("Message from client: {}", silent.message))?;
    server.show_log();
    Ok(())
}

fn nobody_is_left(server: &Server) -> Result<(), Unexpected> {
    println!("\n5. All clients have gone. A child that has ended stays a zombie (state Z) until its parent");
    println!("   waits for it. This parent does so whenever it gets SIGCHLD:");
    show(&within("the server without children, zombies too", || server.family(0))?);
    println!("\n   0 children, 0 zombies.");
    Ok(())
}

fn stop_the_server(mut server: Server, clients: &[Client]) -> Result<(), Unexpected> {
    let pid = server.running.pid();
    println!("\n6. The server is told to end. It has no handler for SIGTERM, which therefore ends it.\n");
    println!("   shell  $ kill -TERM {pid}");
    server.running.signal(Signal::SIGTERM);
    let status = within("the server ends", || server.running.try_wait().ok_or("it still runs".into()))?;
    SERVER.store(0, Ordering::Relaxed);
    expect(status.signal() == Some(Signal::SIGTERM as i32), "the server is ended by SIGTERM", status)?;

    let log = String::from_utf8_lossy(&server.running.all_stdout()).into_owned();
    let once = |line: &str| log.lines().filter(|logged| logged.trim_end() == line).count() == 1;
    expect(once("bind done"), "\"bind done\" once in the log, not again from a child", &log)?;
    for client in clients {
        let line = format!("Message from client: {}", client.message);
        expect(once(&line), &format!("{line:?} once in the log"), &log)?;
    }
    let left = killpg(Pid::from_raw(pid as i32), None);
    expect(left == Err(Errno::ESRCH), "nothing is left of the server's process group", left)?;
    let port = server.port;
    let refused = TcpStream::connect(("127.0.0.1", port));
    let is_refused = refused.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    expect(is_refused, &format!("port {port} refuses a client"), &refused)?;
    println!("\n   SIGTERM ended it; port {port} refuses clients; nothing is left running. A restart on");
    println!("   that port may fail for a minute: this server sets no SO_REUSEADDR, server robust does.\n");
    Ok(())
}

// ---- the server ----

struct Server {
    running: Running,
    port: u16,
    /// How much of its log has been shown.
    shown: usize,
}

impl Server {
    fn log(&mut self) -> String {
        self.running.stdout()
    }

    /// Print what is new in its log.
    fn show_log(&mut self) {
        let log = self.log();
        show_lines("server", &log[self.shown..]);
        self.shown = log.len();
    }

    /// Wait until so many new lines of its log begin in a way.
    fn wait_for_lines(&mut self, count: usize, prefix: &str) -> Result<(), Unexpected> {
        within(&format!("{count} lines \"{prefix}…\" more in the server's log"), || {
            let log = self.log();
            let new = &log[self.shown..];
            let lines = new.lines().filter(|line| line.starts_with(prefix)).count();
            // the last may have come in part
            if lines == count && new.ends_with('\n') { Ok(()) } else { Err(format!("{lines}, in {new:?}")) }
        })
    }

    /// The server and its children, if there are so many, all alive.
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
            return Err(format!("child {} not yet asleep", awake.pid));
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
        // without the folder of the program, which would only make long lines
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
    /// Start a client, and show its command as a person would type it.
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
            // if it has ended, its missing reply will say so
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

    /// Let it end, and show what it has printed.
    fn leave(&mut self) -> Result<(), Unexpected> {
        self.stdin = None;
        let name = self.name;
        within(&format!("{name} ends"), || self.running.try_wait().ok_or("it still runs".into()))?;
        show_lines(name, &String::from_utf8_lossy(&self.running.all_stdout()));
        Ok(())
    }
}

/// Print what a program has printed, each line with its name.
fn show_lines(name: &str, text: &str) {
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        println!("   {name:6} | {}", readable(line));
    }
}

/// NULs are counted, other control characters escaped.
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

/// What the demo runs.
struct Programs {
    prise: PathBuf,
    twin: PathBuf,
}

impl Programs {
    /// Beside this example, which is target/release/examples/demo, and in target/c.
    fn find() -> Result<Programs, Unexpected> {
        let demo = env::current_exe().expect("a program knows where it is");
        let folder = demo.ancestors().nth(2).expect("cargo puts examples into a folder of their own");
        let programs = Programs { prise: folder.join("prise"), twin: root().join("target/c/client/message") };
        for program in [&programs.prise, &programs.twin] {
            expect(
                program.is_file(),
                &format!("{}, which make demo builds", program.display()),
                "no such file",
            )?;
        }
        Ok(programs)
    }

    /// Start every client that there is, the silent one first.
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
                println!("   {name:6} : not installed, left out");
                expect(env::var_os("CI").is_none(), &format!("{name}, as CI is set"), "it is not installed")?;
            }
        }
        Ok(clients)
    }
}

fn installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

// ---- what is expected ----

struct Unexpected {
    expected: String,
    seen: String,
}

fn expect(holds: bool, expected: &str, seen: impl Debug) -> Result<(), Unexpected> {
    if holds { Ok(()) } else { Err(Unexpected { expected: expected.into(), seen: format!("{seen:?}") }) }
}

/// Look until what is expected is there; if it does not come, what was seen last counts.
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

// ---- whatever happens ----

/// The server's process group, 0 while there is none.
static SERVER: AtomicI32 = AtomicI32::new(0);

/// Neither Ctrl-C, which does not reach the server's process group, nor a panic, which drops nothing
/// in a release build, may leave the server behind. (A client ends with its stdin.)
fn leave_no_server_behind() {
    panic::set_hook(Box::new(|panic| {
        // nowhere is left to say that stderr itself failed
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
