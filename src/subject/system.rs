//! What the system says of processes and sockets, without asking the server itself.
//!
//! On Linux /proc tells; elsewhere ps and netstat do, and what they cannot tell is `None`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;

/// A line of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's number.
    pub ppid: i32,
    /// Its process group.
    pub pgid: i32,
    /// R, S, T, Z …, as ps shows it.
    pub state: char,
}

impl Process {
    /// Whether it has ended, and waits to be waited for.
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

/// The fields of /proc/PID/stat that follow the name, which may hold anything.
struct Stat {
    text: String,
    after_name: usize,
}

impl Stat {
    fn of(pid: i32) -> Option<Stat> {
        // a name is bytes, and may be cut within a character
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

/// The clock ticks that a process has had of the CPU, if that can be seen.
pub fn cpu_ticks(pid: i32) -> Option<u64> {
    let stat = Stat::of(pid)?;
    Some(stat.number::<u64>(11)? + stat.number::<u64>(12)?)
}

/// The same, with those of its children that it has waited for.
pub fn cpu_ticks_with_children(pid: i32) -> Option<u64> {
    let stat = Stat::of(pid)?;
    (11..=14).map(|field| stat.number::<u64>(field)).sum()
}

/// R, S, T, Z …, as ps shows it, if that can be seen.
pub fn state(pid: i32) -> Option<char> {
    Stat::of(pid)?.field(0)?.chars().next()
}

/// The threads of a process, of which the first has its number; that alone where they cannot be seen.
pub fn threads(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let others =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|&one| one != pid);
    std::iter::once(pid).chain(others).collect()
}

/// Whether a thread of a process runs, or would if it had a CPU, as far as that can be seen.
pub fn runs(pid: i32) -> bool {
    threads(pid).into_iter().any(|thread| state(thread) == Some('R'))
}

/// How many descriptors a process waits for in poll() or ppoll(), if it does and that can be seen.
#[cfg(target_os = "linux")]
pub fn polls(pid: i32) -> Option<u64> {
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

/// The same.
#[cfg(not(target_os = "linux"))]
pub fn polls(_pid: i32) -> Option<u64> {
    None
}

/// How many processes there may be of this user, or of this container, if that is limited and can be seen.
pub fn process_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max processes"));
    // root may have more
    let of_user = soft.filter(|_| !geteuid().is_root());
    let of_user = of_user.and_then(|soft| soft.split_whitespace().next()?.parse().ok());
    cgroup_limits().into_iter().chain(of_user).min()
}

/// `pids.max` of the control groups that this process is in, version 2 or 1.
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
    // a limit holds for all groups below
    let above = |(root, folder): (&Path, PathBuf)| {
        folder.ancestors().take_while(|one| one.starts_with(root)).map(PathBuf::from).collect::<Vec<_>>()
    };
    let limit = |folder: PathBuf| fs::read_to_string(folder.join("pids.max")).ok()?.trim().parse().ok();
    folders.flat_map(above).filter_map(limit).collect()
}

/// How many descriptors a process has open, if that can be seen.
pub fn descriptors(pid: i32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// The descriptor that a process would get next, the lowest that it has not open, if that can be seen.
pub fn next_descriptor(pid: i32) -> Option<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let open: Vec<u64> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    (0..).find(|fd| !open.contains(fd))
}

/// Whether something listens on a TCP port anywhere on this machine.
pub fn listens_anywhere(port: u16) -> bool {
    if cfg!(target_os = "linux") { !sockets(port, "0A").is_empty() } else { netstat_shows(port, "LISTEN") }
}

/// Whether something listens on a TCP port where (on Linux) a client of 127.0.0.1 or ::1 reaches it: the kernel's table
/// is asked, since to connect would be to be a client.
pub fn listens(port: u16) -> bool {
    if !cfg!(target_os = "linux") {
        return netstat_shows(port, "LISTEN");
    }
    // as /proc has them: each four bytes as a number of this machine
    let word = |bytes| format!("{:08X}", u32::from_ne_bytes(bytes));
    let (none, v4, mapped) = (word([0; 4]), word([127, 0, 0, 1]), word([0, 0, 0xFF, 0xFF]));
    let here = [
        none.clone(),
        v4.clone(),
        none.repeat(4),
        none.repeat(3) + &word([0, 0, 0, 1]),
        none.repeat(2) + &mapped + &none,
        none.repeat(2) + &mapped + &v4,
    ];
    sockets(port, "0A").iter().any(|socket| here.contains(&socket.address))
}

/// The sockets that listen on a TCP port, as links in /proc/PID/fd name them; none where that cannot be seen.
pub fn listening_sockets(port: u16) -> Vec<String> {
    sockets(port, "0A").iter().map(|socket| format!("socket:[{}]", socket.inode)).collect()
}

/// The server's end of a connection between two ports of this machine, likewise.
pub fn connected_sockets(port: u16, of_client: u16) -> Vec<String> {
    let connected = sockets(port, "01").into_iter().filter(|socket| socket.peer == of_client);
    connected.map(|socket| format!("socket:[{}]", socket.inode)).collect()
}

/// Whether a process has one of these open.
pub fn has_open(pid: i32, names: &[String]) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| names.iter().any(|name| link.as_os_str() == name.as_str()))
}

/// Whether a connection that was closed on this port is kept in TIME_WAIT.
pub fn in_time_wait(port: u16) -> bool {
    if cfg!(target_os = "linux") { !sockets(port, "06").is_empty() } else { netstat_shows(port, "TIME_WAIT") }
}

/// A line of the kernel's tables of TCP sockets.
struct Socket {
    /// Its local address, without the port, as /proc has it.
    address: String,
    /// The port that it is connected to.
    peer: u16,
    /// Its inode; 0 where no process has it.
    inode: String,
}

/// The sockets of a local port in a state, which /proc gives as two digits.
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

/// Whether a process is traced, by strace or a debugger.
pub fn is_traced(pid: i32) -> bool {
    let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    String::from_utf8_lossy(&status)
        .lines()
        .any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}
