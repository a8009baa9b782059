//! Full examinations by `prise check`: of the tutorial's servers in each of their forms, of `server robust`, and of
//! other servers with typical mistakes. Every check runs on each server, so that false accusations are noticed, too.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use support::examiner::check;
use support::listings::Listings;
use support::{has, root, skipped, twin};

const PRISE: &str = env!("CARGO_BIN_EXE_prise");

/// The column of `server robust`, in Rust and in C.
const ROBUST: &str = "`robust`";

/// A server, and the checks that it must fail.
struct Case {
    name: String,
    options: Vec<String>,
    server: Vec<String>,
    fails: Vec<String>,
    /// The checks that must be skipped: not observable.
    unseen: Vec<String>,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // an examination mostly waits, so run several at a time
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let listings = match Listings::from_environment() {
        Ok(listings) => listings,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    if listings.is_none() {
        skipped("the tutorial's listings are not examined without TUTORIAL=FILE");
    }
    let tables = Tables::read();
    let mut cases = others(folder.path());
    // without strace, the check of a failing fork() is not observable
    if has("strace", "strace") {
        let forms = forms(listings.as_ref());
        if listings.is_some() {
            tables.are_examined(&forms);
        }
        cases.extend(forms.into_iter().map(|form| form.examined(&tables)));
        cases.extend(robust(&tables));
        cases.push(no_reap(&tables));
    }
    let mut trials: Vec<Trial> =
        cases.into_iter().map(|case| Trial::test(case.name.clone(), move || case.examine())).collect();
    trials.push(Trial::test("every_check_that_fails_has_a_lab_or_a_reason", move || tables.name_labs()));
    libtest_mimic::run(&arguments, trials).exit_code()
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

/// The tables of docs/differences.md that list the mistakes of each form of a server.
struct Tables {
    rows: Vec<Row>,
}

/// A check: its verdict for each form, and links to the labs about it, or the reason why there is none.
struct Row {
    check: String,
    verdicts: Vec<(String, String)>,
    lab: String,
}

impl Tables {
    fn read() -> Tables {
        let document =
            fs::read_to_string(root().join("docs/differences.md")).expect("there is docs/differences.md");
        let (_, section) = document
            .split_once("\n## What each form does wrong\n")
            .expect("docs/differences.md says what each form does wrong");
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut rows = Vec::new();
        let mut titles: Vec<String> = Vec::new();
        for line in section.lines() {
            let Some(line) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
                continue;
            };
            let cells: Vec<String> = line.split(" | ").map(String::from).collect();
            if cells[0] == "check" {
                titles = cells;
                continue;
            }
            assert_eq!(cells.len(), titles.len(), "docs/differences.md: | {line} |");
            let forms = 2..cells.len() - 1;
            for verdict in &cells[forms.clone()] {
                let known = ["fails", "holds", "unseen"].contains(&verdict.as_str());
                assert!(known, "docs/differences.md: {verdict:?} in | {line} |");
            }
            rows.push(Row {
                check: cells[0].trim_matches('`').into(),
                verdicts: forms.map(|form| (titles[form].clone(), cells[form].clone())).collect(),
                lab: cells[cells.len() - 1].clone(),
            });
        }
        Tables { rows }
    }

    /// The checks for which a form's column has this verdict, in their order.
    fn checks(&self, form: &str, verdict: &str) -> Vec<&str> {
        let says = |row: &&Row| row.verdicts.iter().any(|(title, said)| title == form && said == verdict);
        self.rows.iter().filter(says).map(|row| row.check.as_str()).collect()
    }

    /// Every column has a form that is examined.
    fn are_examined(&self, forms: &[Form]) {
        let titles = self.rows.iter().flat_map(|row| &row.verdicts).map(|(title, _)| title.as_str());
        for title in titles.filter(|title| *title != ROBUST) {
            let examined = forms.iter().any(|form| form.column == title);
            assert!(examined, "docs/differences.md has a column {title}, of which no form is examined");
        }
    }

    /// The labs linked in a check's row are about that check; a row without a lab gives a reason.
    fn name_labs(&self) -> Result<(), Failed> {
        for Row { check, lab, .. } in &self.rows {
            if lab.strip_prefix("- ").is_some_and(|why| !why.is_empty()) {
                continue;
            }
            let labs: Vec<&str> =
                lab.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect();
            assert!(!labs.is_empty(), "{check} names no lab, and does not say why: {lab}");
            for link in labs {
                let readme = fs::read_to_string(root().join("docs").join(link))
                    .map_err(|error| format!("{check}: {link}: {error}"))?;
                let about = readme.lines().any(|line| line == format!("Fails: `{check}`"));
                assert!(about, "{link} is not about {check}");
            }
        }
        Ok(())
    }
}

/// A server in one of its forms: the column with its verdicts, and its command.
struct Form {
    name: &'static str,
    column: &'static str,
    server: Vec<String>,
}

impl Form {
    fn new(name: &'static str, column: &'static str, server: &[&str]) -> Form {
        Form { name, column, server: words(server) }
    }

    fn examined(self, tables: &Tables) -> Case {
        let known = tables.rows.iter().any(|row| row.verdicts.iter().any(|(title, _)| title == self.column));
        assert!(known, "docs/differences.md has no column {}", self.column);
        let case = Case::new(self.name, &as_str(&self.server), &tables.checks(self.column, "fails"));
        // `loop` greets its clients, the other servers answer "ok"
        let options: &[&str] = if self.column.contains("loop") { &["--expect", "Salut"] } else { &[] };
        case.with(options).unseen(&tables.checks(self.column, "unseen"))
    }
}

/// The tutorial's servers in C and in Rust, and the listings if TUTORIAL is set. Their backlog is the listing's.
fn forms(listings: Option<&Listings>) -> Vec<Form> {
    let [fork, r#loop] = ["server/fork", "server/loop"].map(|program| twin(program).display().to_string());
    let mut forms = vec![
        Form::new("c_fork_fails_what_its_column_says", "C `fork`", &[&fork, "{port}"]),
        Form::new(
            "rust_fork_fails_what_its_column_says",
            "Rust `fork`",
            &[PRISE, "server", "fork", "--port", "{port}"],
        ),
        Form::new("c_loop_fails_what_its_column_says", "C `loop`", &[&r#loop, "{port}"]),
        Form::new(
            "rust_loop_fails_what_its_column_says",
            "Rust `loop`",
            &[PRISE, "server", "loop", "--port", "{port}"],
        ),
    ];
    if let Some(listings) = listings {
        let [fork, r#loop] =
            ["server/fork", "server/loop"].map(|program| listings.file(program).display().to_string());
        let listed = |name, column, file: &str| Form::new(name, column, &["env", "PRISE_PORT={port}", file]);
        forms.push(listed("listing_of_fork_fails_what_its_column_says", "listing `fork`", &fork));
        forms.push(listed("listing_of_loop_fails_what_its_column_says", "listing `loop`", &r#loop));
    }
    forms
}

/// `server robust`, which holds every check and survives every fault.
fn robust(tables: &Tables) -> Vec<Case> {
    let twin = twin("server/robust").display().to_string();
    // these faults cannot occur: the parent waits only in accept(), and never reads
    let never = ["parent:poll=EINTR", "parent:poll=ENOMEM", "parent:read=EINTR", "parent:read=EIO"];
    let robust = |name, server: &[&str]| {
        Form::new(name, ROBUST, server).examined(tables).with(&["--faults"]).unseen(&never)
    };
    vec![
        robust("server_robust_holds_all", &[PRISE, "server", "robust", "--port", "{port}"]),
        robust("the_twin_of_server_robust_holds_all", &[&twin, "--port", "{port}"]),
        // a script starts a helper, then becomes the server by exec: the helper is the server's child
        robust(
            "server_robust_with_a_helper_holds_all",
            &["sh", "-c", "sleep 600 & exec \"$0\" \"$@\"", PRISE, "server", "robust", "--port", "{port}"],
        ),
    ]
}

/// `server fork --no-reap` fails `no-zombies`, as the listing does, and all checks that `server fork` fails.
fn no_reap(tables: &Tables) -> Case {
    let form = Form::new(
        "server_fork_that_does_not_reap",
        "Rust `fork`",
        &[PRISE, "server", "fork", "--no-reap", "--port", "{port}"],
    );
    let mut case = form.examined(tables);
    case.fails.insert(0, "no-zombies".into());
    case
}

/// Echo servers with a process for each client.
fn echoes() -> Vec<Case> {
    let echo = |name: &str, server: &[&str], fails: &[&str]| {
        Case::new(name, server, fails)
            .with(&["--send", "hello\\n", "--expect", "hello"])
            .unseen(&["log-once"])
    };
    // a shell starts the server and waits for it
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

/// Other kinds of servers, each with the mistakes that are typical of its kind.
fn others(folder: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    if has("python3", "python3") {
        cases.extend(echoes());
        cases.push(
            Case::new(
                "threads_of_socketserver",
                &["python3", "-c", THREADS, "{port}"],
                // after a failed accept() it calls accept() again at once
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

/// A select() server as taught in many courses: at most fifty clients, and each read() counts as a whole message.
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
