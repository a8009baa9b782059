//! The servers, and how each is started: no look-ups, no limit that the clients could reach, a long backlog.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::resource::UsageWho;
use nix::sys::signal::Signal;

use crate::load::converse;
use crate::support::{Running, children, free_port, root, start, twin, wait_until};
use crate::usage::Usage;

/// A server, and how it is started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Its name in the tables.
    pub name: &'static str,
    /// The command, in words separated by spaces. `PORT`, `HANDLER`, `CONF` and `PIDFILE` are replaced.
    pub command: &'static str,
    /// Its Debian package, if it is not ours.
    pub package: Option<&'static str>,
}

/// Servers whose children are copies of the parent.
pub const FORKED: [Server; 6] = [
    // the tutorial's server, with its mistakes
    Server { name: "C fork", command: "server/fork PORT 4096", package: None },
    Server {
        name: "prise server fork",
        command: "prise server fork --port PORT --backlog 4096",
        package: None,
    },
    // the same without its mistakes; its child is also that of prise serve
    C_ROBUST,
    Server {
        name: "C robust, linked statically",
        command: "static-robust --port PORT --backlog 4096",
        package: None,
    },
    Server {
        name: "prise server robust",
        command: "prise server robust --port PORT --backlog 4096",
        package: None,
    },
    SERVE,
];
/// Servers whose children execute a program.
pub const EXEC: [Server; 7] = [
    SERVE_EXEC,
    TCPSERVER,
    Server {
        name: "tcpsvd",
        command: "tcpsvd -l 0 -c 20000 -b 4096 127.0.0.1 PORT HANDLER",
        package: Some("ipsvd"),
    },
    Server {
        name: "socat nofork",
        command: "socat TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr,fork,backlog=4096 EXEC:HANDLER,nofork",
        package: Some("socat"),
    },
    Server {
        name: "socat",
        command: "socat TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr,fork,backlog=4096 EXEC:HANDLER",
        package: Some("socat"),
    },
    Server {
        name: "ncat",
        command: "ncat -l -k -m 20000 --exec HANDLER 127.0.0.1 PORT",
        package: Some("ncat"),
    },
    Server { name: "xinetd", command: "xinetd -dontfork -pidfile PIDFILE -f CONF", package: Some("xinetd") },
];
/// The servers that are measured with idle clients.
pub const CURVES: [Server; 5] = [
    Server { name: "prise serve", ..SERVE },
    Server {
        name: "prise serve --reaper sigchld",
        command: "prise serve --reaper sigchld --max-children 20000 127.0.0.1:PORT",
        package: None,
    },
    C_ROBUST,
    Server { name: "prise serve, exec", ..SERVE_EXEC },
    Server { name: "tcpserver, exec", ..TCPSERVER },
];

const C_ROBUST: Server =
    Server { name: "C robust", command: "server/robust --port PORT --backlog 4096", package: None };
const SERVE: Server =
    Server { name: "prise serve", command: "prise serve --max-children 20000 127.0.0.1:PORT", package: None };
const SERVE_EXEC: Server = Server {
    name: "prise serve",
    command: "prise serve --max-children 20000 127.0.0.1:PORT -- HANDLER",
    package: None,
};
const TCPSERVER: Server = Server {
    name: "tcpserver",
    command: "tcpserver -H -R -l 0 -c 20000 -b 4096 127.0.0.1 PORT HANDLER",
    package: Some("ucspi-tcp"),
};

/// Another build of prise, to compare with.
pub const OTHER_BUILD: [Server; 2] = [
    Server {
        name: "prise serve, other build",
        command: "beside serve --max-children 20000 127.0.0.1:PORT",
        package: None,
    },
    Server {
        name: "prise serve, other build",
        command: "beside serve --max-children 20000 127.0.0.1:PORT -- HANDLER",
        package: None,
    },
];

/// The path of that build, if there is one.
pub fn other_build() -> Option<PathBuf> {
    std::env::var_os("PRISE_BENCH_BESIDE").map(PathBuf::from)
}

/// The configuration of xinetd.
const XINETD: &str = "service handler
{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    wait = no
    bind = 127.0.0.1
    port = PORT
    user = root
    server = HANDLER
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 1000000 1
}
";

impl Server {
    fn program(self) -> &'static str {
        self.command.split(' ').next().expect("a command has at least one word")
    }

    /// Whether its program is installed.
    pub fn is_installed(self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        self.package.is_none()
            || std::env::split_paths(&path).any(|folder| folder.join(self.program()).is_file())
    }

    /// The name and version of its package.
    pub fn version(self) -> Option<String> {
        let query = ["-W", "-f=${Package} ${Version}", self.package?];
        let output = Command::new("dpkg-query").args(query).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Start it, and wait until it answers.
    pub fn start(self) -> RunningServer {
        let port = free_port();
        let folder = root().join("target/performance");
        fs::create_dir_all(&folder).expect("target/ can be written");
        let [conf, pidfile] = ["conf", "pid"].map(|ending| folder.join(format!("xinetd-{port}.{ending}")));
        let replaced = |text: &str| {
            text.replace("PORT", &port.to_string())
                .replace("HANDLER", &handler().to_string_lossy())
                .replace("PIDFILE", &pidfile.to_string_lossy())
                .replace("CONF", &conf.to_string_lossy())
        };
        if self.command.contains("CONF") {
            fs::write(&conf, replaced(XINETD)).expect("target/ can be written");
        }
        let program: PathBuf = match self.program() {
            "prise" => env!("CARGO_BIN_EXE_prise").into(),
            "beside" => other_build().expect("it is measured only if there is one"),
            "static-robust" => static_twin(),
            program if self.package.is_none() => twin(program),
            program => program.into(),
        };
        let mut command = Command::new(program);
        command.args(self.command.split(' ').skip(1).map(replaced));
        let used = Usage::of(UsageWho::RUSAGE_CHILDREN);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let running = start(&mut command);
        wait_until(self.name, || converse(port));
        RunningServer { running, port, used }
    }
}

/// The program that all of [`EXEC`] run.
pub fn handler() -> PathBuf {
    root().join("target/performance/handler")
}

/// The C twin of robust, linked statically, as prise is.
fn static_twin() -> PathBuf {
    root().join("target/performance/static-robust")
}

/// Build the handler and the static twin.
pub fn build_programs() {
    build("benches/performance/handler.c", &handler());
    build("c/server/robust.c", &static_twin());
}

fn build(source: &str, to: &Path) {
    fs::create_dir_all(root().join("target/performance")).expect("target/ can be written");
    let built = Command::new("cc")
        .args(["-std=c11", "-D_DEFAULT_SOURCE", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(to)
        .arg(root().join(source))
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cc cannot build {source} without shared libraries");
}

/// A server that runs.
pub struct RunningServer {
    running: Running,
    /// The port it listens on.
    pub port: u16,
    /// The usage of this process's earlier children.
    used: Usage,
}

impl RunningServer {
    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Stop it after all its children have ended. Returns what it and they have used.
    pub fn stop(mut self) -> Usage {
        wait_until("every child is reaped", || children(self.pid()).is_empty());
        self.running.signal(Signal::SIGTERM);
        self.running.wait();
        Usage::of(UsageWho::RUSAGE_CHILDREN).since(self.used)
    }
}
