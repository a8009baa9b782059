//! Checks of what one client sees on the wire.

use std::time::{Duration, Instant};

use crate::check::experiment::Experiment;
use crate::check::verdict::{Cut, Outcome, fails, fails_since, fails_unless, holds, not_observable};
use crate::error::Error;
use crate::subject::peer::{Answer, End, Peer};
use crate::subject::system;
use crate::subject::{Subject, pass};
use crate::visible::visible_line;

/// A pause that is long for the network of one machine, and short for a server that waits for more.
const BETWEEN_PIECES: Duration = Duration::from_millis(100);

/// What a server has to do before it reads a piece takes no longer, but on a busy machine.
const BEFORE_READ: Duration = Duration::from_secs(2);

/// How long a server that closes by itself is given to do so.
const SOON: Duration = Duration::from_millis(300);

const TOO_EARLY: &str = "no answer before the whole message has come";

/// A client that says the message is answered.
pub fn answers(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    if server.port != server.asked {
        return fails(
            format!("it listens on port {}", server.asked),
            format!(
                "it listens on port {}, which is {} with its two bytes swapped",
                server.port, server.asked
            ),
        );
    }
    let answer = experiment.converse(&server);
    let right = answer.as_ref().is_some_and(|answer| experiment.is_answer(&answer.bytes));
    experiment.answered.set(Some(right));
    match answer {
        None => fails("the connection is accepted", "connect() failed"),
        Some(answer) if right => holds(answer.describe()),
        Some(answer) => {
            let expected =
                format!("an answer beginning \"{}\" (--expect)", visible_line(experiment.expected()));
            fails(expected, answer.describe())
        }
    }
}

/// Whether a client that says the message is answered, of which no more is said.
pub fn is_answered(experiment: &Experiment<'_>) -> Result<bool, Error> {
    let server = experiment.start()?;
    Ok(experiment.serves(&server))
}

/// After the answer, and once the client has half-closed, there is an end, be other clients there or not.
pub fn end_of_file(experiment: &Experiment<'_>) -> Outcome {
    let unended = format!(
        "neither data nor end of file for {:?}, though the client had half-closed",
        experiment.timeout()
    );
    let Ending { answered, rest, in_child } = ending(experiment, false)?;
    match rest.end {
        // one that has the first client's socket closed by the second may pass for right, if both are there
        End::Closed if ending(experiment, true)?.rest.end == End::Silence => fails_unless(
            "close(new_socket) in the parent right after fork(), before another child inherits it",
            "end of file after the answer, while another client is connected",
            format!("{unended}; without the other client it comes"),
        ),
        End::Closed if answered => holds("end of file after the answer"),
        End::Closed => holds("end of file, and no answer before it"),
        End::Reset => fails_unless(
            "shutdown(sock, SHUT_WR), then read() to the end, and only then close()",
            "end of file after the answer",
            "the connection is reset",
        ),
        End::Flood => fails("end of file after the answer", rest.describe()),
        End::Silence | End::Enough if answered && in_child => fails_since(
            "a client that reads to the end of file waits for the server, and the server for the client",
            "shutdown(sock, SHUT_WR) or close(sock) once the answer is written, before the client hangs up",
            "end of file after the answer",
            format!("{unended}: a child has the client's socket open"),
        ),
        End::Silence | End::Enough => fails("end of file after the answer", unended),
    }
}

/// How a client's conversation ends.
struct Ending {
    /// Whether an answer came.
    answered: bool,
    /// What came after the beginning of the answer.
    rest: Answer,
    /// Whether a child still has the client's socket, where there is no end.
    in_child: bool,
}

/// It says the message and waits for the end: perhaps while another is there, who came later and is silent.
fn ending(experiment: &Experiment<'_>, beside_another: bool) -> Result<Ending, Cut> {
    let server = experiment.start()?;
    let mut peer = experiment.dial(&server)?;
    let _other = if beside_another {
        server.wait_until(SOON, || !server.is_at_rest());
        let children = server.busy_children();
        // one that serves a single client takes no other
        let other = experiment.dial_patiently(&server).ok();
        server.wait_until(SOON, || server.busy_children() > children);
        other
    } else {
        None
    };
    peer.send(experiment.message());
    let answered = !experiment.read_answer(&server, &mut peer).bytes.is_empty();
    let mut rest = peer.read_until(SOON, |_| false);
    let mut in_child = false;
    if rest.end == End::Silence {
        // asked while it is connected, which a half-closed one is not
        let socket = system::connected_sockets(server.port, peer.port());
        // a server may wait for the client's own end
        peer.half_close();
        experiment.step("client: shutdown(SHUT_WR)");
        rest = experiment.read_answer_to_end(&server, &mut peer);
        in_child = a_child_has(&server, &socket);
    }
    Ok(Ending { answered, rest, in_child })
}

/// Whether a child has one of these sockets open. Where no socket can be seen, a child that is still there is taken to.
fn a_child_has(server: &Subject, sockets: &[String]) -> bool {
    if sockets.is_empty() {
        return !server.is_at_rest();
    }
    server.descendants().iter().any(|process| system::has_open(process.pid, sockets))
}

/// A message that TCP brings in three pieces is one message.
pub fn pieces(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    if experiment.greets(&server) {
        return not_observable("the server speaks before it is spoken to");
    }
    let message = experiment.message();
    if message.len() < 3 {
        return not_observable("the message is shorter than three bytes: --send a longer one");
    }
    let mut peer = dial_and_let_it_read(experiment, &server)?;
    let ends = [message.len().min(6) / 3, message.len().min(6) * 2 / 3, message.len()];
    let mut sent = 0;
    let mut came = Vec::new();
    let mut early = None;
    for end in ends {
        // what is there already when the server comes to read is no piece of its own
        server.wait_until(BEFORE_READ, || !server.has_work());
        if sent > 0 {
            let piece = peer.read_until(BETWEEN_PIECES, |_| false);
            came.extend_from_slice(&piece.bytes);
            let seen = || format!("{} after {sent} of {} bytes", piece.describe(), message.len());
            if piece.end != End::Silence {
                return fails(TOO_EARLY, seen());
            }
            if early.is_none() && experiment.is_answer(&came) {
                early = Some(seen());
            }
        }
        peer.send(&message[sent..end]);
        experiment.step(format!("client: write() of {} bytes", end - sent));
        sent = end;
    }
    if let Some(seen) = early {
        let until_then = came.len();
        server.wait_until(BEFORE_READ, || !server.has_work());
        peer.read_on(&mut came, SOON, |_| false);
        // a server may send back what it makes of each byte, as it comes: then the pieces make up the whole
        let streams = came.len() > until_then && came == answer_so_far(experiment, &server)?.1.bytes;
        return if streams {
            holds("each piece was answered as it came, by a piece of the answer to the whole message")
        } else {
            fails(TOO_EARLY, seen)
        };
    }
    let answer = experiment.read_answer_after(&server, &mut peer, came);
    if experiment.is_answer(&answer.bytes) {
        holds(format!("answered after all {sent} bytes, which came in three pieces"))
    } else {
        fails("an answer to a message in three pieces", answer.describe())
    }
}

/// A client whose server has done what it does before it reads, be it to sleep or to look a name up: that takes no
/// longer than a whole answer.
fn dial_and_let_it_read(experiment: &Experiment<'_>, server: &Subject) -> Result<Peer, Cut> {
    let begun = Instant::now();
    experiment.serves(server);
    let ready = begun.elapsed().min(BEFORE_READ);
    let peer = experiment.dial(server)?;
    pass(ready);
    Ok(peer)
}

/// What has come when no more comes for a while, and the client, which may ask for the rest.
fn answer_so_far(experiment: &Experiment<'_>, server: &Subject) -> Result<(Peer, Answer), Cut> {
    let mut peer = experiment.dial(server)?;
    peer.send(experiment.message());
    let mut answer = experiment.read_answer(server, &mut peer);
    answer.end = peer.read_on(&mut answer.bytes, SOON, |_| false);
    Ok((peer, answer))
}

/// A client that has half-closed still gets its answer.
pub fn half_close(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    // the message and its end are there together, when the server comes to look
    server.stop();
    let mut peer = experiment.dial(&server)?;
    peer.send(experiment.message());
    peer.half_close();
    server.go_on();
    experiment.step("client: write(); shutdown(SHUT_WR), while the server is stopped");
    let answer = experiment.read_answer(&server, &mut peer);
    if experiment.is_answer(&answer.bytes) {
        holds("answered after the half-close")
    } else {
        fails("an answer, since the client can still read", answer.describe())
    }
}

/// The answer to a client that half-closes only after it, and only where the server does not: one that does so before
/// may lose it.
fn whole_answer(experiment: &Experiment<'_>, server: &Subject) -> Result<Answer, Cut> {
    let (mut peer, mut answer) = answer_so_far(experiment, server)?;
    if answer.end == End::Silence {
        peer.half_close();
        let rest = experiment.read_answer_to_end(server, &mut peer);
        answer.bytes.extend(rest.bytes);
        answer.end = rest.end;
    }
    Ok(answer)
}

/// The whole answer arrives, though the client sent more than the server wanted to read.
pub fn delivers(experiment: &Experiment<'_>) -> Outcome {
    const SURPLUS: usize = 100_000;
    // less than this the kernel takes at once
    const ROOM: usize = 4096;
    let server = experiment.start()?;
    let whole = whole_answer(experiment, &server)?;
    if whole.bytes.is_empty() {
        return not_observable("no answer came");
    }
    if whole.end == End::Flood {
        return not_observable("the answer has no end");
    }
    let mut peer = experiment.dial(&server)?;
    peer.send(&[experiment.message(), &vec![b'x'; SURPLUS]].concat());
    peer.half_close();
    experiment.step(format!("client: write() of the message and {SURPLUS} bytes more; shutdown(SHUT_WR)"));
    // what a reset destroys is what has not been read when it comes
    pass(Duration::from_millis(200));
    let answer = experiment.read_answer_to_end(&server, &mut peer);
    experiment.step(format!("client: read() gives {}", answer.describe()));
    let hangs = answer.end == End::Silence && answer.bytes.is_empty();
    if answer.end == End::Reset || hangs {
        return fails(format!("{} bytes, then end of file", whole.bytes.len()), answer.describe());
    }
    let is_part = answer.bytes.len() < whole.bytes.len() && whole.bytes.starts_with(&answer.bytes);
    if is_part && answer.bytes.len() >= ROOM {
        return fails_since(
            "write() to a socket may take less than it is given, and returns how much it has taken",
            "write() again what is left, until all is written",
            format!(
                "{} bytes, as before, to a client that waits a moment before it reads",
                whole.bytes.len()
            ),
            answer.describe(),
        );
    }
    if !experiment.is_answer(&answer.bytes) {
        return not_observable(format!("to so much it answers otherwise: {}", answer.describe()));
    }
    holds(answer.describe())
}

/// What follows the answer's text is not the server's memory.
pub fn own_memory(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    let answer = whole_answer(experiment, &server)?;
    if answer.bytes.is_empty() {
        return not_observable("no answer came");
    }
    let text = answer.bytes.iter().position(|&byte| byte == 0).unwrap_or(answer.bytes.len());
    let after = &answer.bytes[text..];
    let begins = after.iter().position(|&byte| byte != 0);
    let came_from_client = |tail: &[u8]| experiment.message().windows(tail.len()).any(|part| part == tail);
    match begins {
        _ if experiment.expected().contains(&0) => {
            not_observable("a right answer has a NUL in it: it is no text")
        }
        Some(n) if came_from_client(&after[n..]) => {
            not_observable("what follows the NUL is what the client has sent")
        }
        None => holds(format!("nothing but NULs after the {text} bytes of text")),
        Some(n) if after[n..].len() < 3 => holds(format!("{} bytes in all", answer.bytes.len())),
        Some(n) => {
            let seen = visible_line(&after[n..after.len().min(n + 60)]);
            fails(
                "an answer that ends with its text, or in NULs",
                format!("after its text and a NUL the answer goes on: \"{seen}\""),
            )
        }
    }
}
