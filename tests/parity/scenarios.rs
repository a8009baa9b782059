//! The scenarios. To add one, write a function and a line in the table.

use crate::stage::{Outcome, Peer, Sink, Stage};

/// A scenario's subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// What a program does. The listings are compared, too.
    Behaviour,
    /// The command line and the options, which the listings do not have.
    CommandLine,
}

/// A scenario: a sequence of actions on a program.
pub struct Scenario {
    pub name: &'static str,
    pub about: About,
    pub programs: &'static [&'static str],
    pub sink: Sink,
    pub act: fn(Stage) -> Outcome,
    /// Whether it needs the test's own name server.
    pub resolver: bool,
    /// A fault that strace injects, in strace's syntax.
    pub inject: Option<&'static str>,
}

const ALL: &[&str] = &crate::subject::ALL;
const SERVERS: &[&str] = &["server/accept", "server/reply", "server/loop", "server/fork", "server/robust"];
/// The tutorial's servers.
const TUTORIAL_SERVERS: &[&str] = &["server/accept", "server/reply", "server/loop", "server/fork"];
/// The servers that serve more than one client.
const LOOPING: &[&str] = &["server/loop", "server/fork", "server/robust"];
/// The servers that fork, which are also those that read from their clients.
const FORKING: &[&str] = &["server/fork", "server/robust"];
const FORK: &[&str] = &["server/fork"];
const CONNECTING: &[&str] = &["client/connect", "client/send", "client/recv"];
const RECV: &[&str] = &["client/recv"];
const RESOLVE: &[&str] = &["client/resolve"];
const MESSAGE: &[&str] = &["client/message"];

/// A scenario about the program's behaviour.
const fn on(
    name: &'static str,
    programs: &'static [&'static str],
    sink: Sink,
    act: fn(Stage) -> Outcome,
) -> Scenario {
    Scenario { name, about: About::Behaviour, programs, sink, act, resolver: false, inject: None }
}

/// A scenario about the command line and the options.
const fn command_line(
    name: &'static str,
    programs: &'static [&'static str],
    sink: Sink,
    act: fn(Stage) -> Outcome,
) -> Scenario {
    Scenario { about: About::CommandLine, ..on(name, programs, sink, act) }
}

/// A scenario with the test's own name server.
const fn resolving(
    name: &'static str,
    programs: &'static [&'static str],
    act: fn(Stage) -> Outcome,
) -> Scenario {
    Scenario { resolver: true, ..on(name, programs, Sink::Terminal, act) }
}

/// A scenario in which strace makes a call fail.
const fn failing(
    name: &'static str,
    programs: &'static [&'static str],
    fault: &'static str,
    act: fn(Stage) -> Outcome,
) -> Scenario {
    Scenario { inject: Some(fault), ..on(name, programs, Sink::Terminal, act) }
}

use Sink::{Broken, Full, Pipe, Terminal};

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    on("creates_a_socket", &["client/socket"], Terminal, |stage| run(stage, &[])),
    // clients
    on("server_absent", CONNECTING, Terminal, server_absent),
    on("server_closes_at_once", &["client/connect", "client/recv"], Terminal, |stage| answers(stage, b"")),
    on("server_answers_1_byte", CONNECTING, Terminal, |stage| answers(stage, b"x")),
    on("server_answers_254", RECV, Terminal, |stage| answers(stage, &line(254))),
    on("server_answers_1999", RECV, Terminal, |stage| answers(stage, &line(1999))),
    on("server_answers_2000", RECV, Terminal, |stage| answers(stage, &line(2000))),
    on("server_answers_2001", RECV, Terminal, |stage| answers(stage, &line(2001))),
    on("server_answers_5000", RECV, Terminal, |stage| answers(stage, &line(5000))),
    on("server_answers_a_page", RECV, Terminal, |stage| answers(stage, PAGE)),
    on("server_answers_binary", RECV, Terminal, |stage| answers(stage, &binary())),
    on("server_answers_escapes", RECV, Terminal, |stage| {
        answers(stage, b"\x1b]0;owned\x07\x1b[2J\xc2\x9b1m\r\n")
    }),
    on("server_resets", RECV, Terminal, server_resets),
    on("bad_address", CONNECTING, Terminal, |stage| with_port(stage, "localhost")),
    on("to_a_pipe", CONNECTING, Pipe, |stage| answers(stage, PAGE)),
    on("to_a_full_disk", CONNECTING, Full, |stage| answers(stage, PAGE)),
    on("to_a_broken_pipe", CONNECTING, Broken, |stage| answers(stage, PAGE)),
    // names
    on("dotted_quad", RESOLVE, Terminal, |stage| run(stage, &["127.0.0.1"])),
    on("resolve_to_a_pipe", RESOLVE, Pipe, |stage| run(stage, &["127.0.0.1"])),
    on("resolve_to_a_full_disk", RESOLVE, Full, |stage| run(stage, &["127.0.0.1"])),
    on("resolve_to_a_broken_pipe", RESOLVE, Broken, |stage| run(stage, &["127.0.0.1"])),
    resolving("one_address", RESOLVE, |stage| named(stage, "one.test")),
    resolving("several_addresses", RESOLVE, |stage| named(stage, "several.test")),
    resolving("unknown_name", RESOLVE, |stage| named(stage, "unknown.test")),
    resolving("name_without_address", RESOLVE, |stage| named(stage, "no-data.test")),
    resolving("name_server_fails", RESOLVE, |stage| named(stage, "try-again.test")),
    resolving("name_server_reports_a_format_error", RESOLVE, |stage| named(stage, "no-recovery.test")),
    // the message client
    on("no_arguments", MESSAGE, Pipe, |stage| run(stage, &[])),
    on("no_port", MESSAGE, Pipe, |stage| run(stage, &["127.0.0.1"])),
    on("port_of_17_bits", MESSAGE, Terminal, |stage| {
        to_port(stage, |port| (65536 + u32::from(port)).to_string())
    }),
    on("port_with_letters", MESSAGE, Terminal, |stage| to_port(stage, |port| format!(" {port}x"))),
    on("port_of_letters", MESSAGE, Terminal, |stage| run(stage, &["127.0.0.1", "http"])),
    on("message_server_absent", MESSAGE, Terminal, message_server_absent),
    on("message", MESSAGE, Terminal, |stage| typed(stage, b"hello\n")),
    on("message_empty_line", MESSAGE, Terminal, |stage| typed(stage, b"\n")),
    on("message_without_input", MESSAGE, Terminal, |stage| typed(stage, b"")),
    on("message_without_newline", MESSAGE, Terminal, |stage| typed(stage, b"hello")),
    on("message_of_254", MESSAGE, Terminal, |stage| typed(stage, &line(254))),
    on("message_of_255", MESSAGE, Terminal, |stage| typed(stage, &line(255))),
    on("message_of_5000", MESSAGE, Terminal, |stage| typed(stage, &line(5000))),
    on("message_of_utf8", MESSAGE, Terminal, |stage| typed(stage, "prise électrique ⚡\n".as_bytes())),
    on("message_binary", MESSAGE, Terminal, |stage| typed(stage, &binary())),
    on("message_to_a_pipe", MESSAGE, Pipe, |stage| typed(stage, b"hello\n")),
    on("message_to_a_full_disk", MESSAGE, Full, |stage| typed(stage, b"hello\n")),
    on("message_to_a_broken_pipe", MESSAGE, Broken, |stage| typed(stage, b"hello\n")),
    on("message_to_a_reset", MESSAGE, Terminal, message_to_a_reset),
    on("message_with_a_folder_as_stdin", MESSAGE, Terminal, message_with_a_folder_as_stdin),
    resolving("message_to_several_addresses", MESSAGE, |stage| message_to(stage, "several.test")),
    resolving("message_to_an_unknown_name", MESSAGE, |stage| named_with_port(stage, "unknown.test")),
    resolving("message_where_the_first_refuses", MESSAGE, |stage| {
        named_with_port(stage, "first-refuses.test")
    }),
    // servers
    on("port_in_use", SERVERS, Terminal, port_in_use),
    on("client_closes_at_once", SERVERS, Terminal, |stage| sends(stage, b"")),
    on(
        "client_half_closes",
        &["server/reply", "server/loop", "server/fork", "server/robust"],
        Terminal,
        half_closes,
    ),
    on("client_sends_a_line", SERVERS, Terminal, |stage| sends(stage, b"hello\n")),
    on("client_sends_a_telnet_line", SERVERS, Terminal, |stage| sends(stage, b"hello\r\n")),
    on("client_sends_1_byte", FORKING, Terminal, |stage| sends(stage, b"x")),
    on("client_sends_254", FORKING, Terminal, |stage| sends(stage, &line(254))),
    on("client_sends_255", FORKING, Terminal, |stage| sends(stage, &line(255))),
    on("client_sends_256", FORKING, Terminal, |stage| sends(stage, &line(256))),
    on("client_sends_5000", FORKING, Terminal, |stage| sends(stage, &line(5000))),
    on("client_sends_the_clients_255", FORKING, Terminal, |stage| sends(stage, &padded(b"hello\n"))),
    on("client_sends_utf8", FORKING, Terminal, |stage| sends(stage, "prise électrique ⚡\n".as_bytes())),
    on("client_sends_binary", FORKING, Terminal, |stage| sends(stage, &binary())),
    on("client_sends_nuls", FORKING, Terminal, |stage| sends(stage, b"be\0hind\n")),
    on("client_forges_a_line", FORKING, Terminal, |stage| {
        sends(stage, b"x\nConnection from 6.6.6.6:6 accepted\n\x1b[2J\n")
    }),
    on("client_sends_pieces", FORKING, Terminal, sends_pieces),
    on("client_resets", FORKING, Terminal, resets),
    on("client_resets_before_accept", SERVERS, Terminal, resets_before_accept),
    on("three_clients_in_turn", LOOPING, Terminal, three_in_turn),
    on("three_clients_to_a_pipe", LOOPING, Pipe, three_in_turn),
    on("ten_clients_at_once", LOOPING, Terminal, ten_at_once),
    on("three_clients_without_reaping", FORK, Terminal, |mut stage| {
        stage.serve_without_reaping();
        three_clients(stage)
    }),
    failing("socket_fails", CONNECTING, "socket:error=EMFILE", server_absent),
    failing("socket_fails_in_socket", &["client/socket"], "socket:error=EMFILE", |stage| run(stage, &[])),
    failing("socket_fails_in_message", MESSAGE, "socket:error=EMFILE", server_absent),
    failing("socket_fails_in_a_server", SERVERS, "socket:error=EMFILE", |stage| {
        start_on_port(stage).kill_when_settled()
    }),
    failing("listen_fails", SERVERS, "listen:error=EADDRINUSE", |stage| {
        start_on_port(stage).kill_when_settled()
    }),
    failing("accept_is_interrupted", SERVERS, "accept:error=EINTR:when=1", accept_fails),
    failing("accept_is_aborted", SERVERS, "accept:error=ECONNABORTED:when=1", accept_fails),
    failing("accept_lacks_descriptors", SERVERS, "accept:error=EMFILE:when=1..2", accept_fails),
    failing("accept_fails_for_ever", TUTORIAL_SERVERS, "accept:error=EMFILE", |stage| {
        start_on_port(stage).kill_when_settled()
    }),
    failing("send_fails", &["client/send", "client/recv"], "sendto:error=ENOBUFS", |stage| {
        answers(stage, PAGE)
    }),
    failing("recv_fails", RECV, "recvfrom:error=EIO", |stage| answers(stage, PAGE)),
    failing("write_fails_in_message", MESSAGE, "write:error=EIO:when=1", |stage| typed(stage, b"hello\n")),
    failing("fork_fails_once", FORKING, "clone,fork:error=EAGAIN:when=1", fork_fails),
    on("server_to_a_pipe", SERVERS, Pipe, |stage| sends(stage, b"hello\n")),
    on("server_to_a_full_disk", SERVERS, Full, |stage| sends(stage, b"hello\n")),
    on("server_to_a_broken_pipe", SERVERS, Broken, |stage| sends(stage, b"hello\n")),
    // the command line and the options
    command_line("too_many_arguments", ALL, Terminal, too_many_arguments),
    command_line("abbreviated_option", MESSAGE, Pipe, |stage| run(stage, &["127.0.0.1", "1", "--rep"])),
    command_line("option_given_twice", MESSAGE, Pipe, |stage| {
        run(stage, &["127.0.0.1", "1", "--reply", "--reply"])
    }),
    command_line("help", &["client/socket"], Pipe, |stage| run(stage, &["--help"])),
    command_line("invalid_port", CONNECTING, Pipe, |stage| run(stage, &["127.0.0.1", "1x"])),
    command_line("host_header", RECV, Terminal, host_header),
    command_line("host_header_to_a_reset", RECV, Terminal, host_header_to_a_reset),
    command_line("message_with_reply", MESSAGE, Terminal, message_with_reply),
];

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\tun caf\xc3\xa9\r\n";

/// A line of n bytes, including its newline.
fn line(n: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (b'a'..=b'z').cycle().take(n - 1).collect();
    bytes.push(b'\n');
    bytes
}

/// Every byte except NUL, at which C strings end.
fn binary() -> Vec<u8> {
    (1..=255).collect()
}

/// A message padded with NULs to 255 bytes, as the message client sends it.
fn padded(message: &[u8]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    bytes.resize(255, 0);
    bytes
}

/// Start the program with more arguments than it takes.
fn too_many_arguments(mut stage: Stage) -> Outcome {
    let port = stage.port.to_string();
    if stage.subject.program.starts_with("server/") {
        stage.start(&[&port, "3", "--no-reap", "surplus"]);
        return stage.kill_when_settled();
    }
    stage.start(&["127.0.0.1", &port, "localhost", "surplus"]);
    stage.end()
}

// ---- clients ----

fn run(mut stage: Stage, arguments: &[&str]) -> Outcome {
    stage.start(arguments);
    stage.end()
}

fn server_absent(mut stage: Stage) -> Outcome {
    stage.connect_with(&[]);
    stage.end()
}

/// Be a server: read the request, if the client sends one, and answer.
fn answers(mut stage: Stage, reply: &[u8]) -> Outcome {
    let listener = stage.listen();
    stage.connect_with(&[]);
    let mut peer = Peer::accept(&listener);
    if stage.subject.program == "client/connect" {
        // this client reads nothing: depending on timing, bytes sent to it could cause a reset
        let nothing = peer.read_to_end();
        stage.record("peer", nothing);
        return stage.end();
    }
    let request = peer.receive(18);
    stage.record("request", request);
    peer.send(reply);
    peer.half_close();
    stage.end()
}

fn server_resets(mut stage: Stage) -> Outcome {
    let listener = stage.listen();
    stage.connect_with(&[]);
    let mut peer = Peer::accept(&listener);
    peer.receive(18);
    peer.reset();
    stage.end()
}

fn host_header(mut stage: Stage) -> Outcome {
    let listener = stage.listen();
    stage.connect_with(&["--host", "localhost"]);
    let mut peer = Peer::accept(&listener);
    let request = peer.receive(18);
    stage.record("request", request);
    let rest = peer.receive(36);
    stage.record("headers", rest);
    // send each piece after the one before was printed; together they are longer than one recv takes
    for piece in ["one", "two", "three"] {
        peer.send(format!("{}{piece}\n", "é".repeat(500)).as_bytes());
        stage.wait_printed(&format!("{piece}\n"));
    }
    peer.half_close();
    stage.end()
}

fn host_header_to_a_reset(mut stage: Stage) -> Outcome {
    let listener = stage.listen();
    stage.connect_with(&["--host", "localhost"]);
    let mut peer = Peer::accept(&listener);
    peer.receive(54);
    peer.reset();
    stage.end()
}

fn named(mut stage: Stage, name: &str) -> Outcome {
    stage.with_our_names();
    stage.start(&[name]);
    stage.end()
}

fn named_with_port(mut stage: Stage, name: &str) -> Outcome {
    stage.with_our_names();
    with_port(stage, name)
}

fn with_port(mut stage: Stage, name: &str) -> Outcome {
    let port = stage.port.to_string();
    stage.start(&[name, &port]);
    stage.end()
}

// ---- the message client ----

fn message_server_absent(mut stage: Stage) -> Outcome {
    stage.connect_with(&[]);
    stage.end()
}

/// Give the program its port in another form, made by `words`.
fn to_port(mut stage: Stage, words: impl Fn(u16) -> String) -> Outcome {
    let listener = stage.listen();
    let port = words(stage.port);
    stage.start(&["127.0.0.1", &port]);
    let peer = Peer::accept(&listener);
    stage.type_in(b"hello\n");
    receives_message(stage, peer)
}

fn message_to(mut stage: Stage, name: &str) -> Outcome {
    let listener = stage.listen();
    stage.with_our_names();
    let port = stage.port.to_string();
    stage.start(&[name, &port]);
    let peer = Peer::accept(&listener);
    stage.type_in(b"hello\n");
    receives_message(stage, peer)
}

fn typed(mut stage: Stage, bytes: &[u8]) -> Outcome {
    let listener = stage.listen();
    stage.connect_with(&[]);
    let peer = Peer::accept(&listener);
    stage.type_in(bytes);
    receives_message(stage, peer)
}

fn receives_message(mut stage: Stage, mut peer: Peer) -> Outcome {
    let message = peer.read_to_end();
    stage.record("server", message);
    stage.end()
}

fn message_to_a_reset(mut stage: Stage) -> Outcome {
    let listener = stage.listen();
    stage.connect_with(&[]);
    // the program now waits for input on its stdin
    Peer::accept(&listener).reset();
    stage.type_in(b"hello\n");
    stage.end()
}

fn message_with_a_folder_as_stdin(mut stage: Stage) -> Outcome {
    stage.stdin_from("/");
    let listener = stage.listen();
    stage.connect_with(&[]);
    let peer = Peer::accept(&listener);
    receives_message(stage, peer)
}

fn message_with_reply(mut stage: Stage) -> Outcome {
    let listener = stage.listen();
    stage.connect_with(&["--reply"]);
    let mut peer = Peer::accept(&listener);
    stage.type_in(b"hello\n");
    let message = peer.read_to_end();
    stage.record("server", message);
    peer.send(b"ok\x1b[2J\0\0\0");
    peer.half_close();
    stage.end()
}

// ---- servers ----

/// Start a server that may fail before it listens.
fn start_on_port(mut stage: Stage) -> Stage {
    let port = stage.port.to_string();
    stage.start(&["--port", &port]);
    stage
}

/// The server's first accept() fails; then two clients connect. If the failure makes the server end, wait for its end
/// first.
fn accept_fails(mut stage: Stage) -> Outcome {
    stage.serve();
    if !["server/loop", "server/robust"].contains(&stage.subject.program) {
        stage.wait_ended();
    }
    two_clients(stage)
}

/// Two clients connect; the server's fork() fails for the first.
fn fork_fails(mut stage: Stage) -> Outcome {
    stage.serve();
    silent_client(&mut stage, "first");
    if stage.subject.program == "server/fork" {
        stage.wait_ended();
    }
    silent_client(&mut stage, "second");
    finish(stage)
}

fn two_clients(mut stage: Stage) -> Outcome {
    silent_client(&mut stage, "first");
    silent_client(&mut stage, "second");
    finish(stage)
}

/// Connect to a server, which may have ended, half-close without a message, and read the answer.
fn silent_client(stage: &mut Stage, name: &str) {
    let seen = match stage.try_client() {
        None => "connection refused".into(),
        Some(mut client) => {
            client.half_close();
            client.read_to_end()
        }
    };
    stage.record(name, seen);
}

/// Read the server's answer, close, and let the server finish.
fn read_answer_and_finish(mut stage: Stage, name: &str, mut client: Peer) -> Outcome {
    let reply = client.read_to_end();
    stage.record(name, reply);
    drop(client);
    finish(stage)
}

/// Stop a server that loops; the servers for one client end by themselves.
fn finish(stage: Stage) -> Outcome {
    let looping = LOOPING.contains(&stage.subject.program);
    if looping { stage.stop() } else { stage.end() }
}

fn port_in_use(mut stage: Stage) -> Outcome {
    // a server that goes on without its port gets no client
    let _taken = stage.listen();
    start_on_port(stage).kill_when_settled()
}

/// A client that sends a message; if the message is empty, it half-closes.
fn sends(mut stage: Stage, bytes: &[u8]) -> Outcome {
    stage.serve();
    let seen = stage.while_stopped(|stage| {
        let mut client = stage.try_client()?;
        client.send(bytes);
        if bytes.is_empty() {
            client.half_close();
        }
        Some(client)
    });
    match seen {
        Some(client) => read_answer_and_finish(stage, "client", client),
        None => {
            stage.record("client", "connection refused".into());
            finish(stage)
        }
    }
}

fn half_closes(mut stage: Stage) -> Outcome {
    stage.serve();
    let client = stage.while_stopped(|stage| {
        let mut client = stage.client();
        client.send(b"no newline");
        client.half_close();
        client
    });
    read_answer_and_finish(stage, "client", client)
}

fn sends_pieces(mut stage: Stage) -> Outcome {
    stage.serve();
    let mut client = stage.client();
    client.send(b"hel");
    if stage.subject.program == "server/fork" {
        // this server takes the first piece for the whole message: send the rest after its answer
        let answer = client.receive(18);
        stage.record("client, of the first piece", answer);
        return read_answer_and_finish(stage, "client", client);
    }
    for piece in ["lo, ", "world\n"] {
        // the pause is part of the scenario
        std::thread::sleep(std::time::Duration::from_millis(150));
        client.send(piece.as_bytes());
    }
    read_answer_and_finish(stage, "client", client)
}

fn resets(mut stage: Stage) -> Outcome {
    stage.serve();
    stage.client().reset();
    let mut client = stage.client();
    client.send(b"hello\n");
    read_answer_and_finish(stage, "second client", client)
}

/// One client resets before the server accepts it, then another client is served.
fn resets_before_accept(mut stage: Stage) -> Outcome {
    stage.serve();
    stage.while_stopped(|stage| stage.client().reset());
    if !LOOPING.contains(&stage.subject.program) {
        return stage.end();
    }
    let mut client = stage.client();
    client.send(b"hello\n");
    read_answer_and_finish(stage, "second client", client)
}

fn three_in_turn(mut stage: Stage) -> Outcome {
    stage.serve();
    three_clients(stage)
}

fn three_clients(mut stage: Stage) -> Outcome {
    for name in ["first", "second", "third"] {
        let mut client = stage.client();
        client.send(b"hello\n");
        let reply = client.read_to_end();
        stage.record(name, reply);
    }
    finish(stage)
}

fn ten_at_once(mut stage: Stage) -> Outcome {
    stage.serve();
    let dial = stage.dialer();
    let talk = move || {
        let mut client = dial().expect("the server listens");
        client.send(b"hello\n");
        client.read_to_end()
    };
    let replies: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..10).map(|_| scope.spawn(talk)).collect();
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect()
    });
    for reply in replies {
        stage.record("client", reply);
    }
    finish(stage).in_any_order()
}
