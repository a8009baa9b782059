//! Reads strace's traces into a form that can be compared: all calls that a program makes after the start of its
//! runtime. [`NORMALISED`] describes what is left out and what is rewritten.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::subject::{Edition, Subject};

/// The explanation that is printed above the tables.
pub const NORMALISED: &str = "\
strace records all system calls from main on. The calls of the loader, of the C library's start and of Rust's runtime
before main are left out. Also left out: memory (brk, mmap, …), the resolver's files and queries, and stdio on
descriptors 0 to 2, whose bytes the first columns compare. Descriptors are shown by the names of their variables,
ports by their role, and clone as fork. A call that SIGCHLD interrupts and the kernel restarts is shown once; the
children that the handler reaps are shown at the end, one line each. A program that never ends is killed when it waits
or spins; repeated rows are shown once. On a pipe without a reader, C's stdout is line-buffered, too (stdbuf -oL),
because buffering decides when SIGPIPE comes.
For server robust, a poll and the reads after it are shown as one read, and a close just before the exit is not shown.";

/// The words before a command that make strace trace it into files that begin with `trace`, inject a fault, and set the
/// command's environment.
pub fn strace(trace: &Path, inject: Option<&str>, environment: &[(String, String)]) -> Vec<String> {
    let trace = trace.display().to_string();
    let mut words: Vec<String> =
        ["strace", "-ff", "-qq", "-s", "400", "-o", &trace].map(String::from).into_iter().collect();
    // -E sets a variable for the command only, not for strace
    words.extend(environment.iter().flat_map(|(name, value)| ["-E".into(), format!("{name}={value}")]));
    words.extend(inject.iter().flat_map(|fault| ["-e".into(), format!("inject={fault}")]));
    words
}

/// The calls of the loader and the C library before main.
const LOADER: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "close",
    "execve",
    "fstat",
    "getrandom",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "open",
    "openat",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rseq",
    "set_robust_list",
    "set_tid_address",
];

/// The internal calls of the C library, the resolver and Rust's runtime after main has begun.
const LIBRARY: &[&str] = &[
    "access",
    "brk",
    "clock_gettime",
    "faccessat2",
    "futex",
    "getpid",
    "getrandom",
    "gettid",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "open",
    "openat",
    "prlimit64",
    "readlink",
    "restart_syscall",
    "rseq",
    "set_robust_list",
    "sigaltstack",
    "sysinfo",
    "uname",
];

/// The calls of a program and of its children, in order, in C notation.
pub fn read(trace: &Path, port: u16, subject: &Subject) -> Vec<String> {
    let folder = trace.parent().expect("a trace is in a folder");
    let mut processes: BTreeMap<u32, String> = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder of the trace can be read") {
        let path = entry.expect("the folder of the trace can be read").path();
        let pid = path.extension().and_then(|pid| pid.to_str()?.parse().ok());
        processes.insert(
            pid.expect("strace names its files by pid"),
            fs::read_to_string(&path).expect("a trace is text"),
        );
    }
    // the program's trace begins with execve, the traces of its children do not
    let root = processes.iter().find(|(_, text)| text.starts_with("execve("));
    let root = *root.expect("the program was traced").0;
    let whole = processes.remove(&root).expect("the map has the root");
    let robust = subject.program == "server/robust";
    let mut program = Process::new(port, robust, Names::new());
    let forked: HashMap<u32, Names> = program.read(&from_main(&whole, subject)).into_iter().collect();
    let mut parent = program.finish("");
    let mut children = Vec::new();
    for (pid, text) in processes {
        let names = forked.get(&pid).cloned().unwrap_or_default();
        let mut child = Process::new(port, robust, names);
        child.read(&text.lines().collect::<Vec<_>>());
        children.push(child.finish("    "));
    }
    // the order in which concurrent children end depends on timing
    children.sort();
    for child in children {
        parent.push("child:".into());
        parent.extend(child);
    }
    parent
}

/// The lines of a trace from main on.
fn from_main<'a>(trace: &'a str, subject: &Subject) -> Vec<&'a str> {
    let lines: Vec<&str> = trace.lines().collect();
    let name = |line: &&str| line.split('(').next().unwrap_or_default().to_string();
    // the last call before main: see src/runtime.rs and c/runtime.h
    let last = match (subject.edition, subject.program) {
        (_, "server/robust") => Some("rt_sigaction(SIGXFSZ, {"),
        (Edition::Rust, _) => Some("rt_sigaction(SIGPIPE, {sa_handler=SIG_DFL"),
        _ => None,
    };
    let first = match last {
        Some(last) => lines.iter().rposition(|line| line.starts_with(last)).map(|last| last + 1),
        None => lines.iter().position(|line| !LOADER.contains(&name(line).as_str())),
    };
    lines[first.unwrap_or(lines.len())..].to_vec()
}

/// Keep one copy of rows that repeat at least four times: a spinning server repeats them any number of times.
pub fn without_repetitions(rows: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut rest = rows.as_slice();
    while !rest.is_empty() {
        let spins = (1..=4).find(|&n| {
            let mut rounds = rest.chunks_exact(n).take(4);
            rest.len() >= 4 * n && rounds.all(|round| *round == rest[..n])
        });
        let Some(n) = spins else {
            kept.push(rest[0].clone());
            rest = &rest[1..];
            continue;
        };
        let rounds = rest.chunks_exact(n).take_while(|round| **round == rest[..n]).count();
        kept.extend_from_slice(&rest[..n]);
        kept.push("… again and again".into());
        let more = &rest[rounds * n..];
        // the kill may cut the last round short, even within a row
        let cut = more.len() <= n && more.iter().zip(&rest[..n]).all(|(one, whole)| whole.starts_with(one));
        rest = if cut { &[] } else { more };
    }
    kept
}

/// The names of a process's descriptors, by number.
type Names = HashMap<String, &'static str>;

struct Process {
    names: Names,
    /// The descriptors that the C library has opened.
    library: HashSet<String>,
    port: u16,
    robust: bool,
    lines: Vec<Call>,
    reaped: usize,
}

#[derive(PartialEq)]
struct Call {
    name: String,
    fd: String,
    arguments: String,
    result: String,
}

static CALL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(\w+)\((.*)\)\s+= (\S+)(?: (E[A-Z0-9]+))?").expect("a pattern"));
static ACTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(SIG\w+), \{sa_handler=(\w+), sa_mask=\[[^]]*\], sa_flags=([\w|]+)").expect("a pattern")
});
static POINTER: LazyLock<Regex> = LazyLock::new(|| Regex::new("0x[0-9a-f]{6,}").expect("a pattern"));
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\{sa_family=(\w+), sin_port=htons\((\d+)\), sin_addr=inet_addr\("([\d.]+)"\)\}"#)
        .expect("a pattern")
});

impl Process {
    fn new(port: u16, robust: bool, names: Names) -> Process {
        Process { names, library: HashSet::new(), port, robust, lines: Vec::new(), reaped: 0 }
    }

    /// Read a trace. Gives the forked children with the names of the descriptors that they inherit.
    fn read(&mut self, lines: &[&str]) -> Vec<(u32, Names)> {
        let mut forked = Vec::new();
        for line in lines {
            let Some(parts) = CALL.captures(line) else { continue };
            let (name, arguments, value) = (&parts[1], &parts[2], &parts[3]);
            let error = parts.get(4).map(|error| error.as_str());
            let result = error.unwrap_or(value);
            match name {
                // interrupted by SIGCHLD; its restart follows
                _ if value == "?" && name != "exit_group" => {}
                "clone" | "clone3" | "fork" | "vfork" => {
                    self.push("fork", "", "", error.unwrap_or("child"));
                    forked.extend(value.parse().map(|pid| (pid, self.names.clone())));
                }
                "wait4" | "waitid" => self.reaped += usize::from(error.is_none() && value != "0"),
                "rt_sigreturn" => {}
                "exit_group" => self.push("_exit", "", arguments, ""),
                // dup: perror writes to a copy of stderr
                "openat" | "open" | "dup" => drop(self.library.insert(value.into())),
                "socket" if arguments.starts_with("AF_INET, SOCK_STREAM, ") => {
                    self.push("socket", "", arguments, error.unwrap_or("socket_desc"));
                    if error.is_none() {
                        self.names.insert(value.into(), "socket_desc");
                    }
                }
                "socket" => drop(self.library.insert(value.into())),
                "rt_sigaction" => {
                    let action = ACTION.captures(arguments).map(|action| match &action[2] {
                        // without a handler, the flags have no effect
                        disposition @ ("SIG_IGN" | "SIG_DFL") => format!("{}, {disposition}", &action[1]),
                        _ => format!("{}, handler, {}", &action[1], action[3].replace("SA_RESTORER|", "")),
                    });
                    self.push("sigaction", "", action.as_deref().unwrap_or(arguments), result);
                }
                _ if LIBRARY.contains(&name) => {}
                "newfstatat" | "stat" if arguments.starts_with("AT_FDCWD") || arguments.starts_with('"') => {}
                "poll" if arguments.starts_with("NULL") || arguments.starts_with("[]") => {
                    self.push("poll", "", "nothing", "");
                }
                _ => self.on_descriptor(name, arguments, value, error),
            }
        }
        forked
    }

    /// Add a call whose first argument is a descriptor, unless that is one of stdio or of the C library.
    fn on_descriptor(&mut self, name: &str, arguments: &str, value: &str, error: Option<&str>) {
        let number = arguments.trim_start_matches("[{fd=").split([',', '}']).next().unwrap_or_default();
        if self.library.contains(number) || ["0", "1", "2"].contains(&number) {
            if name == "close" {
                self.library.remove(number);
            }
            return;
        }
        let fd = self.names.get(number).map_or(number, |name| name).to_string();
        let rest = arguments.split_once(", ").map_or("", |(_, rest)| rest);
        // if a call has filled in no bytes, strace shows the address of its buffer
        let rest = POINTER.replace_all(rest, "buffer");
        let rest = rest.as_ref();
        let result = error.unwrap_or(value);
        match name {
            "accept" | "accept4" => {
                let client = error.map_or_else(|| self.addresses(rest), |_| String::new());
                self.push("accept", &fd, &client, error.unwrap_or("new_socket"));
                if error.is_none() {
                    self.names.insert(value.into(), "new_socket");
                }
            }
            // Rust's std checks that a descriptor is open before it closes it
            "fcntl" if self.robust && rest == "F_GETFD" => {}
            "close" => {
                self.push("close", &fd, "", result);
                self.names.remove(number);
            }
            "bind" | "connect" => self.push(name, &fd, &self.addresses(rest), result),
            "getsockname" => self.push(name, &fd, "", ""),
            "sendto" => self.push("send", &fd, rest.split(", NULL").next().unwrap_or(rest), result),
            "recvfrom" => self.push("recv", &fd, rest.split(", NULL").next().unwrap_or(rest), result),
            "read" if self.robust => self.push(name, &fd, "", result),
            "poll" => self.push(name, &fd, "", result),
            _ => self.push(name, &fd, rest, result),
        }
    }

    /// Shorten `{sa_family=AF_INET, sin_port=htons(40000), sin_addr=inet_addr("127.0.0.1")}, 16`, and name the port by
    /// its role.
    fn addresses(&self, text: &str) -> String {
        let role = |parts: &regex::Captures| {
            let port = if parts[2] == self.port.to_string() { "PORT" } else { "EPHEMERAL" };
            format!("{{{} {}:{port}}}", &parts[1], &parts[3])
        };
        ADDRESS.replace_all(text, role).into_owned()
    }

    fn push(&mut self, name: &str, fd: &str, arguments: &str, result: &str) {
        let call =
            Call { name: name.into(), fd: fd.into(), arguments: arguments.into(), result: result.into() };
        if !(self.robust && self.merge_into_last(&call)) {
            self.lines.push(call);
        }
    }

    /// Merge a poll or read with the one before: the number of pieces in which bytes arrive depends on timing. Gives
    /// whether the call was merged.
    fn merge_into_last(&mut self, call: &Call) -> bool {
        let Some(last) = self.lines.last_mut() else { return false };
        let waiting = last.name == "poll" && !last.fd.is_empty();
        if call.fd != last.fd || !(waiting || last.name == "read") {
            return false;
        }
        match (last.result.parse::<u64>(), call.result.parse::<u64>()) {
            // a poll for more bytes, which have arrived
            (Ok(1..), Ok(1..)) if call.name == "poll" => true,
            (Ok(n @ 1..), Ok(more @ 1..)) if call.name == "read" && last.name == "read" => {
                last.result = (n + more).to_string();
                true
            }
            // a poll, and the read after it
            (Ok(1), _) if last.name == "poll" && call.name == "read" => {
                last.name = call.name.clone();
                last.result = call.result.clone();
                true
            }
            _ => false,
        }
    }

    fn finish(mut self, indent: &str) -> Vec<String> {
        // exit closes all descriptors, so a close just before it makes no difference
        if self.robust
            && let Some(end) = self.lines.pop_if(|call| call.name == "_exit")
        {
            while self.lines.pop_if(|call| call.name == "close").is_some() {}
            self.lines.push(end);
        }
        let mut lines: Vec<String> = self.lines.iter().map(|call| format!("{indent}{call}")).collect();
        let reaped = format!("{indent}waitpid(-1, NULL, WNOHANG) = child");
        lines.extend(std::iter::repeat_n(reaped, self.reaped));
        lines
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arguments = [self.fd.as_str(), self.arguments.as_str()];
        let arguments: Vec<&str> = arguments.into_iter().filter(|text| !text.is_empty()).collect();
        write!(f, "{}({})", self.name, arguments.join(", "))?;
        if self.result.is_empty() { Ok(()) } else { write!(f, " = {}", self.result) }
    }
}
