//! The state of processes and sockets, read from the system.
//!
//! The sources are /proc on Linux, and ps and netstat elsewhere. `None` means that the system does not show it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;

/// An entry of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its process ID.
    pub pid: i32,
    /// The process ID of its parent.
    pub ppid: i32,
    /// Its process group ID.
    pub pgid: i32,
    /// Its state, as ps shows it: R, S, T, Z …
    pub state: char,
}

impl Process {
    /// Whether it has ended and is not reaped yet.
    pub fn is_zombie(&self) -> bool {
        self.state == 'Z'
    }
}

/// The process table.
pub fn processes() -> Vec<Process> {
    if cfg!(target_os = "linux") { proc_table() } else { ps_table() }
}

fn proc_table() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| {
        let stat = Stat::of(pid)?;
        Some(Process {
            pid,
            ppid: stat.number(1)?,
            pgid: stat.number(2)?,
            state: stat.field(0)?.chars().next()?,
        })
    })
    .collect()
}

fn ps_table() -> Vec<Process> {
    let Ok(output) = Command::new("ps").args(["-axo", "pid=,ppid=,pgid=,state="]).output() else {
        return Vec::new();
    };
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let mut number = || fields.next()?.parse().ok();
        let (pid, ppid, pgid) = (number()?, number()?, number()?);
        Some(Process { pid, ppid, pgid, state: fields.next()?.chars().next()? })
    };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(line).collect()
}

/// The fields of /proc/PID/stat after the process name, which may contain any characters.
struct Stat {
    text: String,
    after_name: usize,
}

impl Stat {
    fn of(pid: i32) -> Option<Stat> {
        // the name may not be valid UTF-8: the kernel may cut it inside a character
        let text = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
        let after_name = text.rfind(')')? + 1;
        Some(Stat { text, after_name })
    }

    fn field(&self, n: usize) -> Option<&str> {
        self.text[self.after_name..].split_whitespace().nth(n)
    }

    fn number<T: std::str::FromStr>(&self, n: usize) -> Option<T> {
        self.field(n)?.parse().ok()
    }
}

/// The CPU time of a process, in clock ticks.
pub fn cpu_ticks(pid: i32) -> Option<u64> {
    let stat = Stat::of(pid)?;
    Some(stat.number::<u64>(11)? + stat.number::<u64>(12)?)
}

/// The CPU time of a process and of the children that it waited for, in clock ticks.
pub fn cpu_ticks_with_children(pid: i32) -> Option<u64> {
    let stat = Stat::of(pid)?;
    (11..=14).map(|field| stat.number::<u64>(field)).sum()
}

/// The state of a process, as ps shows it: R, S, T, Z …
pub fn state(pid: i32) -> Option<char> {
    Stat::of(pid)?.field(0)?.chars().next()
}

/// The thread IDs of a process. The first is the process ID; it is the only one if the system does not show the others.
pub fn threads(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let others =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|&one| one != pid);
    std::iter::once(pid).chain(others).collect()
}

/// Whether a thread of a process runs or waits for a CPU. False if the system does not show it.
pub fn is_runnable(pid: i32) -> bool {
    threads(pid).into_iter().any(|thread| state(thread) == Some('R'))
}

/// How many descriptors a process is waiting for in poll() or ppoll(), if it is in one of them.
#[cfg(target_os = "linux")]
pub fn polled_descriptors(pid: i32) -> Option<u64> {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut words = call.split_whitespace();
    let number = words.next()?.parse::<libc::c_long>().ok()?;
    #[cfg(target_arch = "x86_64")]
    let is_poll = number == libc::SYS_poll || number == libc::SYS_ppoll;
    #[cfg(not(target_arch = "x86_64"))]
    let is_poll = number == libc::SYS_ppoll;
    let count = words.nth(1)?.trim_start_matches("0x");
    is_poll.then(|| u64::from_str_radix(count, 16).ok()).flatten()
}

/// How many descriptors a process is waiting for in poll() or ppoll(): only Linux shows it.
#[cfg(not(target_os = "linux"))]
pub fn polled_descriptors(_pid: i32) -> Option<u64> {
    None
}

/// The limit on the number of processes of this user or this container, if there is one.
pub fn process_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max processes"));
    // the limit does not apply to root
    let of_user = soft.filter(|_| !geteuid().is_root());
    let of_user = of_user.and_then(|soft| soft.split_whitespace().next()?.parse().ok());
    cgroup_limits().into_iter().chain(of_user).min()
}

/// `pids.max` of the control groups of this process, version 2 or 1, and of their parent groups.
fn cgroup_limits() -> Vec<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let folders = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            "pids" => "/sys/fs/cgroup/pids",
            _ => return None,
        };
        Some((Path::new(root), Path::new(root).join(path)))
    });
    // a group's limit also applies to the groups below it
    let above = |(root, folder): (&Path, PathBuf)| {
        folder.ancestors().take_while(|one| one.starts_with(root)).map(PathBuf::from).collect::<Vec<_>>()
    };
    let limit = |folder: PathBuf| fs::read_to_string(folder.join("pids.max")).ok()?.trim().parse().ok();
    folders.flat_map(above).filter_map(limit).collect()
}

/// How many descriptors a process has open.
pub fn descriptors(pid: i32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// The next descriptor that a process would get: the lowest one that is not open.
pub fn next_descriptor(pid: i32) -> Option<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let open: Vec<u64> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    (0..).find(|fd| !open.contains(fd))
}

/// Whether a socket listens on a TCP port, at any address of this machine.
pub fn listens_anywhere(port: u16) -> bool {
    if cfg!(target_os = "linux") { !sockets(port, LISTEN).is_empty() } else { netstat_shows(port, "LISTEN") }
}

/// Whether a socket listens on a TCP port; on Linux, also whether 127.0.0.1 or ::1 reaches it. It reads the kernel's
/// socket table: a test connection would be a client for the server.
pub fn listens(port: u16) -> bool {
    if !cfg!(target_os = "linux") {
        return netstat_shows(port, "LISTEN");
    }
    // /proc prints each four bytes of an address as a hexadecimal number in host byte order
    let word = |bytes| format!("{:08X}", u32::from_ne_bytes(bytes));
    let (any, v4, mapped) = (word([0; 4]), word([127, 0, 0, 1]), word([0, 0, 0xFF, 0xFF]));
    let reachable = [
        any.clone(),
        v4.clone(),
        any.repeat(4),
        any.repeat(3) + &word([0, 0, 0, 1]),
        any.repeat(2) + &mapped + &any,
        any.repeat(2) + &mapped + &v4,
    ];
    sockets(port, LISTEN).iter().any(|socket| reachable.contains(&socket.address))
}

/// The sockets that listen on a TCP port, named as the links in /proc/PID/fd name them; empty without Linux's /proc.
pub fn listening_sockets(port: u16) -> Vec<String> {
    sockets(port, LISTEN).iter().map(|socket| format!("socket:[{}]", socket.inode)).collect()
}

/// The server's socket of a connection between two ports of this machine, named the same way.
pub fn connected_sockets(port: u16, client_port: u16) -> Vec<String> {
    let connected = sockets(port, ESTABLISHED).into_iter().filter(|socket| socket.peer == client_port);
    connected.map(|socket| format!("socket:[{}]", socket.inode)).collect()
}

/// Whether a process has one of these sockets open.
pub fn has_any_open(pid: i32, names: &[String]) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| names.iter().any(|name| link.as_os_str() == name.as_str()))
}

/// Whether a closed connection of this port is in TIME_WAIT.
pub fn in_time_wait(port: u16) -> bool {
    if cfg!(target_os = "linux") {
        !sockets(port, TIME_WAIT).is_empty()
    } else {
        netstat_shows(port, "TIME_WAIT")
    }
}

/// An entry of the kernel's table of TCP sockets.
struct Socket {
    /// Its local address, without the port, in the format of /proc/net/tcp.
    address: String,
    /// The port that it is connected to.
    peer: u16,
    /// Its inode; 0 if no process has it open.
    inode: String,
}

// The states of TCP sockets in /proc/net/tcp.
const ESTABLISHED: &str = "01";
const TIME_WAIT: &str = "06";
const LISTEN: &str = "0A";

/// The sockets with this local port and state.
fn sockets(port: u16, state: &str) -> Vec<Socket> {
    let ours = format!(":{port:04X}");
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| fs::read_to_string(table).ok());
    let socket = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let address = fields.next()?.strip_suffix(&ours)?.to_string();
        let peer = u16::from_str_radix(fields.next()?.rsplit_once(':')?.1, 16).ok()?;
        let is_in_state = fields.next()? == state;
        let inode = fields.nth(5)?.to_string();
        is_in_state.then_some(Socket { address, peer, inode })
    };
    tables.flat_map(|table| table.lines().filter_map(socket).collect::<Vec<_>>()).collect()
}

fn netstat_shows(port: u16, state: &str) -> bool {
    let Ok(output) = Command::new("netstat").args(["-an", "-p", "tcp"]).output() else { return false };
    let ours = format!(".{port}");
    String::from_utf8_lossy(&output.stdout).lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.last() == Some(&state) && fields.get(3).is_some_and(|local| local.ends_with(&ours))
    })
}

/// Whether strace or a debugger traces a process.
pub fn is_traced(pid: i32) -> bool {
    let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    String::from_utf8_lossy(&status)
        .lines()
        .any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}
