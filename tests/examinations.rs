//! What `prise check` says of whole servers: of ours, of the tutorial's, and of others that are wrong in ways
//! of their own. Every check is made of each, so that a check that blames the innocent is seen too.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use support::examiner::check;
use support::listings::Listings;
use support::{has, root, skipped, twin};

/// A server, and the checks that it must fail.
struct Case {
    name: String,
    options: Vec<String>,
    server: Vec<String>,
    fails: Vec<String>,
    /// What cannot be seen of it.
    unseen: Vec<String>,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // an examination waits more than it works
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let listings = match Listings::from_environment() {
        Ok(listings) => listings,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let mut cases = ours();
    cases.extend(others(folder.path()));
    match &listings {
        Some(listings) => cases.extend(tutorial(listings)),
        None => skipped("the tutorial's listings are not examined without TUTORIAL=FILE"),
    }
    let trials = cases.into_iter().map(|case| Trial::test(case.name.clone(), move || case.examine()));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

impl Case {
    fn new(name: &str, server: &[&str], fails: &[&str]) -> Case {
        Case {
            name: name.into(),
            options: vec!["--format".into(), "tap".into()],
            server: words(server),
            fails: words(fails),
            unseen: Vec::new(),
        }
    }

    fn with(mut self, options: &[&str]) -> Case {
        self.options.extend(words(options));
        self
    }

    fn unseen(mut self, unseen: &[&str]) -> Case {
        self.unseen = words(unseen);
        self
    }

    fn examine(&self) -> Result<(), Failed> {
        let findings = check(&as_str(&self.options), &as_str(&self.server));
        let code = if self.fails.is_empty() { 0 } else { 1 };
        let alike = findings.failed() == self.fails && findings.unseen() == self.unseen;
        if alike && findings.code == Some(code) {
            return Ok(());
        }
        let expected = format!("expected to fail {:?}, not to be seen {:?}", self.fails, self.unseen);
        Err(format!("{expected}, {code}\n{:?}\n{}{}", findings.code, findings.stdout, findings.stderr).into())
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).into()).collect()
}

fn as_str(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Our own servers: the one that forks is right in every respect, the one that does not fails what it must.
fn ours() -> Vec<Case> {
    const PRISE: &str = env!("CARGO_BIN_EXE_prise");
    let twin = twin("server/fork").display().to_string();
    if !has("strace", "strace") {
        return Vec::new();
    }
    // it waits in accept() and nowhere else, and prints without reading
    let never = ["parent:poll=EINTR", "parent:poll=ENOMEM", "parent:read=EINTR", "parent:read=EIO"];
    vec![
        Case::new("server_fork_holds_all", &[PRISE, "server", "fork", "--port", "{port}"], &[])
            .with(&["--faults"])
            .unseen(&never),
        Case::new("the_twin_of_server_fork_holds_all", &[&twin, "--port", "{port}"], &[])
            .with(&["--faults"])
            .unseen(&never),
        // started by a script that has left it a child
        Case::new(
            "server_fork_with_a_helper_holds_all",
            &["sh", "-c", "sleep 600 & exec \"$0\" \"$@\"", PRISE, "server", "fork", "--port", "{port}"],
            &[],
        )
        .with(&["--faults"])
        .unseen(&never),
        Case::new(
            "server_fork_that_does_not_reap",
            &[PRISE, "server", "fork", "--no-reap", "--port", "{port}"],
            &["no-zombies"],
        ),
        Case::new(
            "server_loop_serves_one_after_the_other",
            &[PRISE, "server", "loop", "--port", "{port}"],
            &["concurrent", "idle-clients"],
        )
        .with(&["--expect", "Salut"])
        .unseen(&["pieces", "fork-fails"]),
    ]
}

/// The tutorial's own servers fail what docs/differences.md says.
fn tutorial(listings: &Listings) -> Vec<Case> {
    let document =
        fs::read_to_string(root().join("docs/differences.md")).expect("there is docs/differences.md");
    let fails_of = |program: &str| -> Vec<String> {
        let begins = format!("| `{program}` | ");
        let row = document.lines().find_map(|line| line.strip_prefix(&begins));
        let cell = row.and_then(|row| row.split(" | ").next()).unwrap_or_default();
        cell.split_whitespace().map(|word| word.trim_matches('`').into()).collect()
    };
    let case = |program, options: &[&str], unseen: &[&str]| {
        let file = listings.file(program).display().to_string();
        let mut case =
            Case::new(&format!("the_listing_of_{program}"), &["env", "PRISE_PORT={port}", &file], &[]);
        case.fails = fails_of(program);
        assert!(!case.fails.is_empty(), "docs/differences.md does not say what {program} fails");
        case.with(options).unseen(unseen)
    };
    vec![
        case("server/fork", &[], &[]),
        case("server/loop", &["--expect", "Salut"], &["pieces", "fork-fails"]),
    ]
}

/// Servers that send back what they read, by a process for each client.
fn echoes() -> Vec<Case> {
    let echo = |name: &str, server: &[&str], fails: &[&str]| {
        Case::new(name, server, fails)
            .with(&["--send", "hello\\n", "--expect", "hello"])
            .unseen(&["log-once"])
    };
    // a shell that waits for the server is not the server
    let behind_a_script =
        |extra: &'static str| ["sh", "-c", "python3 -c \"$0\" \"$@\"; exit $?", ECHO, "{port}", extra];
    vec![
        echo("an_echo_by_ipv6_alone", &["python3", "-c", ECHO, "{port}", "v6"], &[]),
        echo("an_echo_without_so_reuseaddr", &["python3", "-c", ECHO, "{port}", "first"], &["restarts"]),
        echo("an_echo_behind_a_script", &behind_a_script(""), &[]),
        echo("an_echo_behind_a_script_that_leaks", &behind_a_script("leaks"), &["descriptors"]),
        echo(
            "an_echo_behind_a_script_that_gives_up",
            &behind_a_script("gives-up"),
            &["fork-fails", "out-of-descriptors"],
        ),
    ]
}

/// Servers of other makes, each with the mistakes that its kind invites.
fn others(folder: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    if has("python3", "python3") {
        cases.extend(echoes());
        cases.push(
            Case::new(
                "threads_of_socketserver",
                &["python3", "-c", THREADS, "{port}"],
                // it goes back to accept() at once, whatever that says
                &["out-of-descriptors"],
            )
            .unseen(&["log-once"]),
        );
        cases.push(
            Case::new("asyncio", &["python3", "-W", "ignore", "-c", ASYNCIO, "{port}"], &[])
                .unseen(&["log-once", "fork-fails"]),
        );
        cases.push(
            Case::new(
                "one_client_after_the_other",
                &["python3", "-c", ITERATIVE, "{port}"],
                &["concurrent", "idle-clients"],
            )
            .unseen(&["log-once", "fork-fails"]),
        );
    }
    cases.push(
        Case::new(
            "select_and_a_table_of_clients",
            &[&compiled(folder, "select.c", SELECT), "{port}"],
            &["pieces", "out-of-descriptors", "idle-clients"],
        )
        .unseen(&["log-once", "fork-fails"]),
    );
    cases
}

fn compiled(folder: &Path, name: &str, source: &str) -> String {
    let file: PathBuf = folder.join(name);
    fs::write(&file, source).expect("a temporary file can be written");
    let program = file.with_extension("");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(compiler).arg("-o").args([&program, &file]).status().expect("a C compiler runs");
    assert!(built.success(), "{name} does not compile");
    program.display().to_string()
}

const ECHO: &str = "import os, signal, socket, sys, time
how = sys.argv[2]
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
def failed():
    if how == 'gives-up': sys.exit(1)
    time.sleep(0.1)
s = socket.socket(socket.AF_INET6 if how == 'v6' else socket.AF_INET)
if how == 'v6': s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
if how != 'first': s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try: s.bind(('', int(sys.argv[1])))
except OSError: sys.exit(1)
s.listen(1000)
signal.signal(signal.SIGCHLD, reap)
while True:
    try: c, _ = s.accept()
    except OSError:
        failed()
        continue
    try: child = os.fork()
    except OSError: failed()
    else:
        if child == 0:
            s.close()
            try:
                while piece := c.recv(1000): c.sendall(piece)
            except OSError: pass
            os._exit(0)
    if how == 'leaks':
        try: os.open('/dev/null', os.O_RDONLY)
        except OSError: pass
    c.close()
";

const THREADS: &str = "import socket, socketserver, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        got = b''
        while len(got) < 255:
            piece = self.request.recv(255 - len(got))
            if not piece: break
            got += piece
        self.request.sendall(b'ok' + bytes(16))
        self.request.shutdown(socket.SHUT_WR)
        while self.request.recv(1000): pass
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1000
    def handle_error(self, *_): pass
Server(('', int(sys.argv[1])), Handler).serve_forever()
";

const ASYNCIO: &str = "import asyncio, sys
async def serve(reader, writer):
    try:
        try: await reader.readexactly(255)
        except asyncio.IncompleteReadError: pass
        writer.write(b'ok' + bytes(16))
        await writer.drain()
        writer.write_eof()
        while await reader.read(1000): pass
    except OSError: pass
    finally: writer.close()
async def main():
    server = await asyncio.start_server(serve, '0.0.0.0', int(sys.argv[1]), backlog=100)
    await server.serve_forever()
asyncio.run(main())
";

const ITERATIVE: &str = "import socket, sys
s = socket.create_server(('', int(sys.argv[1])), backlog=2000)
while True:
    try:
        c, _ = s.accept()
    except OSError:
        import time; time.sleep(0.1); continue
    try:
        got = b''
        while len(got) < 255:
            piece = c.recv(255 - len(got))
            if not piece: break
            got += piece
        c.sendall(b'ok')
        c.shutdown(socket.SHUT_WR)
        while c.recv(1000): pass
    except OSError: pass
    c.close()
";

/// The select() server of many a course: fifty clients, and whatever read() gives is a message.
const SELECT: &str = r#"#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    int on = 1, clients[50] = {0}, s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[argc - 1]))};
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(s, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(s, 128) < 0)
        return 1;
    for (;;) {
        fd_set set;
        int most = s;
        FD_ZERO(&set);
        FD_SET(s, &set);
        for (int i = 0; i < 50; i++)
            if (clients[i]) {
                FD_SET(clients[i], &set);
                most = clients[i] > most ? clients[i] : most;
            }
        if (select(most + 1, &set, NULL, NULL, NULL) < 0)
            return 1;
        if (FD_ISSET(s, &set)) {
            int c = accept(s, NULL, NULL), i = 0;
            while (i < 50 && clients[i])
                i++;
            if (c >= 0 && i < 50)
                clients[i] = c;
            else if (c >= 0)
                close(c);
        }
        for (int i = 0; i < 50; i++)
            if (clients[i] && FD_ISSET(clients[i], &set)) {
                char message[256], rest[4096];
                if (read(clients[i], message, 255) > 0) {
                    send(clients[i], "ok", 2, MSG_NOSIGNAL);
                    shutdown(clients[i], SHUT_WR);
                    while (read(clients[i], rest, sizeof(rest)) > 0)
                        ;
                }
                close(clients[i]);
                clients[i] = 0;
            }
    }
}
"#;
