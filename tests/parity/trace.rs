//! System calls, as strace tells them, in a form that can be compared: what was done to which socket.
//!
//! Kept: calls on TCP sockets, fork, the end. Dropped: what the C library and Rust's runtime do for
//! themselves, writes to stdout and stderr (their bytes are compared elsewhere), and what depends on
//! time alone: how a SIGCHLD cuts calls short, in how many pieces bytes come. Rust closes a socket when
//! its owner goes out of scope, C leaves that to the end of the process: the two are told alike.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use regex::Regex;

/// What stands before a command to trace it into the files that begin with `trace`, and to make a call fail.
pub fn strace(trace: &Path, inject: Option<&str>) -> Vec<String> {
    let calls = "socket,setsockopt,bind,listen,accept,accept4,connect,getsockname,sendto,recvfrom,read,write,\
                 shutdown,close,clone,clone3,fork,vfork,wait4,waitid,poll,exit_group";
    let trace = trace.display().to_string();
    let mut words = vec!["strace", "-ff", "-qq", "-s", "400", "-e", "signal=none", "-o", &trace];
    let calls = format!("trace={calls}");
    words.extend(["-e", &calls]);
    let inject = inject.map(|fault| format!("inject={fault}"));
    words.extend(inject.iter().flat_map(|fault| ["-e", fault]));
    words.into_iter().map(String::from).collect()
}

/// The calls of a program and of its children, in order, in C notation.
pub fn read(trace: &Path, port: u16) -> Vec<String> {
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
    // the program forks, its children do not: the one that forked has the lowest number, but for a wrap
    let root =
        processes.iter().max_by_key(|(pid, text)| (text.contains("SIGCHLD"), std::cmp::Reverse(**pid)));
    let root = *root.expect("something was traced").0;
    let mut program = Process { names: Names::new(), port, lines: Vec::new(), reaped: 0, drains: false };
    let forked: HashMap<u32, Names> =
        program.read(&processes.remove(&root).expect("it is there")).into_iter().collect();
    let mut parent = program.finish("");
    let mut children = Vec::new();
    for (pid, text) in processes {
        let names = forked.get(&pid).cloned().unwrap_or_default();
        let mut child = Process { names, port, lines: Vec::new(), reaped: 0, drains: false };
        child.read(&text);
        children.push(child.finish("    "));
    }
    // which of two children at once ends first is nobody's doing
    children.sort();
    for child in children {
        parent.push("child:".into());
        parent.extend(child);
    }
    parent
}

/// What a process calls its descriptors.
type Names = HashMap<String, &'static str>;

struct Process {
    names: Names,
    port: u16,
    lines: Vec<Call>,
    reaped: usize,
    /// Whether the socket is half-closed: what is read from then on is thrown away.
    drains: bool,
}

#[derive(PartialEq)]
struct Call {
    name: &'static str,
    fd: &'static str,
    arguments: String,
    result: String,
}

impl Process {
    /// Take in a trace; gives the children, and the descriptors that they start with.
    fn read(&mut self, text: &str) -> Vec<(u32, Names)> {
        let call = Regex::new(r"^(\w+)\((.*)\)\s+= (\S+)(?: (E[A-Z]+))?").expect("a pattern");
        let mut forked = Vec::new();
        for line in text.lines() {
            let Some(parts) = call.captures(line) else { continue };
            let (name, arguments, value) = (&parts[1], &parts[2], &parts[3]);
            let error = parts.get(4).map(|error| error.as_str());
            match name {
                // restarted after a SIGCHLD
                _ if value == "?" && name != "exit_group" => {}
                "clone" | "clone3" | "fork" | "vfork" => {
                    self.push("fork", "", "", error.unwrap_or("child"));
                    forked.extend(value.parse().map(|pid| (pid, self.names.clone())));
                }
                "wait4" | "waitid" => self.reaped += usize::from(error.is_none() && value != "0"),
                "exit_group" => self.push("_exit", "", arguments, ""),
                "socket" if arguments.starts_with("AF_INET, SOCK_STREAM, ") => {
                    self.push("socket", "", arguments, error.unwrap_or("socket_desc"));
                    self.names.insert(value.into(), "socket_desc");
                }
                "poll" if arguments.starts_with("[]") || arguments.starts_with("NULL") => {
                    self.push("poll", "", "nothing", "");
                }
                _ => self.on_descriptor(name, arguments, value, error),
            }
        }
        forked
    }

    /// A call whose first argument is a descriptor, if that is a socket of the program's.
    fn on_descriptor(&mut self, name: &str, arguments: &str, value: &str, error: Option<&str>) {
        let number = arguments.trim_start_matches("[{fd=").split([',', '}']).next().unwrap_or_default();
        let Some(&fd) = self.names.get(number) else { return };
        let rest = arguments.split_once(", ").map_or("", |(_, rest)| rest);
        let result = error.unwrap_or(value);
        match name {
            "accept" | "accept4" => {
                let client = error.map_or_else(|| self.addresses(rest), |_| String::new());
                self.push("accept", fd, &client, error.unwrap_or("new_socket"));
                if error.is_none() {
                    self.names.insert(value.into(), "new_socket");
                }
            }
            "close" => {
                self.drains = false;
                self.push("close", fd, "", result);
                self.names.remove(number);
            }
            "bind" | "connect" => {
                self.push(if name == "bind" { "bind" } else { "connect" }, fd, &self.addresses(rest), result)
            }
            "getsockname" => self.push("getsockname", fd, "", ""),
            "setsockopt" => self.push("setsockopt", fd, rest, result),
            "listen" => self.push("listen", fd, rest, result),
            "shutdown" => {
                self.drains = true;
                self.push("shutdown", fd, rest, result);
            }
            "read" | "poll" if self.drains => self.push("drain", fd, "", ""),
            "sendto" => self.push("send", fd, rest.split(", 0, NULL").next().unwrap_or(rest), result),
            "write" => self.push("write", fd, rest, result),
            "poll" => self.push("poll", fd, "", result),
            "read" => self.push("read", fd, "", result),
            "recvfrom" => self.push("recv", fd, "", result),
            _ => {}
        }
    }

    /// `{sa_family=AF_INET, sin_port=htons(40000), sin_addr=inet_addr("127.0.0.1")}, 16` in short, with
    /// the port by its role.
    fn addresses(&self, text: &str) -> String {
        let address = r#"\{sa_family=(\w+), sin_port=htons\((\d+)\), sin_addr=inet_addr\("([\d.]+)"\)\}"#;
        let role = |parts: &regex::Captures| {
            let port = if parts[2] == self.port.to_string() { "PORT" } else { "EPHEMERAL" };
            format!("{{{} {}:{port}}}", &parts[1], &parts[3])
        };
        Regex::new(address).expect("a pattern").replace_all(text, role).into_owned()
    }

    fn push(&mut self, name: &'static str, fd: &'static str, arguments: &str, result: &str) {
        let call = Call { name, fd, arguments: arguments.into(), result: result.into() };
        if !self.joins(&call) {
            self.lines.push(call);
        }
    }

    /// Bytes come in as many pieces as they please: what waits for and reads them is one reading.
    fn joins(&mut self, call: &Call) -> bool {
        let Some(last) = self.lines.last_mut() else { return false };
        if call.name == "drain" {
            return *last == *call;
        }
        let reading = |name| matches!(name, "read" | "recv");
        let waiting = last.name == "poll" && !last.fd.is_empty();
        if call.fd != last.fd || !(waiting || reading(last.name)) {
            return false;
        }
        match (last.result.parse::<u64>(), call.result.parse::<u64>()) {
            // a wait for more, which came
            (Ok(_), Ok(1..)) if call.name == "poll" => true,
            (Ok(1..), Ok(n @ 1..)) if reading(call.name) && reading(last.name) => {
                last.result = (last.result.parse::<u64>().unwrap_or(0) + n).to_string();
                true
            }
            // a wait, and what it brought
            (Ok(1), _) if last.name == "poll" && reading(call.name) => {
                last.name = call.name;
                last.result = call.result.clone();
                true
            }
            _ => false,
        }
    }

    fn finish(mut self, indent: &str) -> Vec<String> {
        // the end of a process closes what it has open: to close it just before is to do the same
        if let Some(end) = self.lines.pop_if(|call| call.name == "_exit") {
            while self.lines.pop_if(|call| call.name == "close").is_some() {}
            self.lines.push(end);
        }
        let mut lines: Vec<String> = self.lines.iter().map(|call| format!("{indent}{call}")).collect();
        if self.reaped > 0 {
            lines.push(format!("{indent}waitpid(-1, NULL, WNOHANG): {} reaped", self.reaped));
        }
        lines
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arguments = [self.fd, self.arguments.as_str()];
        let arguments: Vec<&str> = arguments.into_iter().filter(|text| !text.is_empty()).collect();
        write!(f, "{}({})", self.name, arguments.join(", "))?;
        if self.result.is_empty() { Ok(()) } else { write!(f, " = {}", self.result) }
    }
}
