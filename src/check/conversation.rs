//! Checks of what one client receives from the server.

use std::time::{Duration, Instant};

use crate::check::experiment::Experiment;
use crate::check::verdict::{
    EarlyExit, Outcome, Verdict, fails, fails_because, fails_mended_by, holds, not_observable,
};
use crate::error::Error;
use crate::subject::peer::{Answer, End, Peer};
use crate::subject::system;
use crate::subject::{Subject, sleep};
use crate::visible::visible_line;

/// The pause between two pieces of a message. It is long for a local connection, so the pieces arrive separately, and
/// short for a server that waits for more.
const BETWEEN_PIECES: Duration = Duration::from_millis(100);

/// The longest wait for a server to be ready to read. It is extended on a busy machine.
const BEFORE_READ: Duration = Duration::from_secs(2);

/// How long to wait for a server that closes, or answers, on its own.
const UNPROMPTED: Duration = Duration::from_millis(300);

/// The longest pause between two pieces that a server must bear: it may take a longer one for the end of the message.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// How often the pieces are sent at most, if this machine, busy with other work, has paused too long between them.
const ATTEMPTS: u32 = 5;

const TOO_EARLY: &str = "no answer before the whole message has arrived";

/// A client that sends the message is answered.
pub fn answers(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    if server.port != server.requested_port {
        return fails(
            format!("it listens on port {}", server.requested_port),
            format!(
                "it listens on port {}, which is {} with its two bytes swapped",
                server.port, server.requested_port
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

/// Whether a client that sends the message is answered. This is for other checks, and reports nothing.
pub fn is_answered(experiment: &Experiment<'_>) -> Result<bool, Error> {
    let server = experiment.start()?;
    Ok(experiment.serves(&server))
}

/// After the answer, and at the latest after the client's half-close, the client gets end of file, even while another
/// client is connected.
pub fn end_of_file(experiment: &Experiment<'_>) -> Outcome {
    let no_end = format!(
        "neither data nor end of file for {:?}, though the client had half-closed",
        experiment.timeout()
    );
    let Ending { answered, rest, in_child } = ending(experiment, false)?;
    match rest.end {
        // with one client this server passes: only a second child inherits the first client's socket and keeps it open
        End::Closed if ending(experiment, true)?.rest.end == End::Silence => fails_mended_by(
            "close(new_socket) in the parent right after fork(), before another child inherits it",
            "end of file after the answer, while another client is connected",
            format!("{no_end}; without the other client, end of file comes"),
        ),
        End::Closed if answered => holds("end of file after the answer"),
        End::Closed => holds("end of file, and no answer before it"),
        End::Reset => fails_mended_by(
            "shutdown(sock, SHUT_WR), then read() to the end, and only then close()",
            "end of file after the answer",
            "the connection is reset",
        ),
        End::Flood => fails("end of file after the answer", rest.describe()),
        End::Silence | End::Enough if answered && in_child => fails_because(
            "a client that reads to the end of file waits for the server, and the server waits for the client",
            "shutdown(sock, SHUT_WR) or close(sock) once the answer is written, before the client hangs up",
            "end of file after the answer",
            format!("{no_end}: a child has the client's socket open"),
        ),
        End::Silence | End::Enough => fails("end of file after the answer", no_end),
    }
}

/// How a client's conversation ends.
struct Ending {
    /// Whether an answer came.
    answered: bool,
    /// What came after the beginning of the answer.
    rest: Answer,
    /// If no end of file came: whether a child still has the client's socket open.
    in_child: bool,
}

/// A client sends the message and waits for end of file; with `beside_another`, while a second, silent client is
/// connected.
fn ending(experiment: &Experiment<'_>, beside_another: bool) -> Result<Ending, EarlyExit> {
    let server = experiment.start()?;
    let mut peer = experiment.dial(&server)?;
    let _other = if beside_another {
        server.wait_until(UNPROMPTED, || !server.is_idle());
        let children = server.live_descendants();
        // this may fail: the server may serve only one client at a time
        let other = experiment.dial_quietly(&server).ok();
        server.wait_until(UNPROMPTED, || server.live_descendants() > children);
        other
    } else {
        None
    };
    peer.send(experiment.message());
    let answered = !experiment.read_answer(&server, &mut peer).bytes.is_empty();
    let mut rest = peer.read_until(UNPROMPTED, |_| false);
    let mut in_child = false;
    if rest.end == End::Silence {
        // find the socket before the half-close: after it, the connection is no longer ESTABLISHED
        let socket = system::connected_sockets(server.port, peer.port());
        // a server may wait for the client to half-close first
        peer.half_close();
        experiment.step("client: shutdown(SHUT_WR)");
        rest = experiment.read_answer_to_end(&server, &mut peer);
        in_child = a_child_has(&server, &socket);
    }
    Ok(Ending { answered, rest, in_child })
}

/// Whether a child has one of these sockets open. If the system does not show sockets, any child still running counts.
fn a_child_has(server: &Subject, sockets: &[String]) -> bool {
    if sockets.is_empty() {
        return !server.is_idle();
    }
    server.descendants().iter().any(|process| system::has_any_open(process.pid, sockets))
}

/// A message that arrives in three pieces gets one answer, after the last piece.
pub fn pieces(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    if experiment.greets(&server) {
        return not_observable("the server sends something before the client does");
    }
    let message = experiment.message();
    if message.len() < 3 {
        return not_observable("the message is shorter than three bytes: give a longer one with --send");
    }
    let mut attempt = 1;
    loop {
        let mut pause = Duration::ZERO;
        let verdict = in_three_pieces(experiment, &server, &mut pause)?;
        if pause < LONGEST_PAUSE || attempt == ATTEMPTS || matches!(verdict, Verdict::Holds(_)) {
            return Ok(verdict);
        }
        attempt += 1;
        experiment.step(format!("the pieces were {} ms apart: once more", pause.as_millis()));
    }
}

/// What the server makes of a message in three pieces. `pause` becomes the longest time from a piece to what followed.
fn in_three_pieces(experiment: &Experiment<'_>, server: &Subject, pause: &mut Duration) -> Outcome {
    let message = experiment.message();
    let mut peer = dial_and_wait_for_read(experiment, server)?;
    let ends = [message.len().min(6) / 3, message.len().min(6) * 2 / 3, message.len()];
    let mut sent = 0;
    let mut sent_at = None;
    let mut received = Vec::new();
    let mut early = None;
    let mut note_pause = |since: Option<Instant>| {
        if let Some(since) = since {
            *pause = since.elapsed().max(*pause);
        }
    };
    for end in ends {
        // wait until the server has read the previous piece: otherwise one read() would return both
        server.wait_until(BEFORE_READ, || !server.has_work());
        if sent > 0 {
            let piece = peer.read_until(BETWEEN_PIECES, |_| false);
            note_pause(sent_at);
            received.extend_from_slice(&piece.bytes);
            let seen = || format!("{} after {sent} of {} bytes", piece.describe(), message.len());
            if piece.end != End::Silence {
                return fails(TOO_EARLY, seen());
            }
            if early.is_none() && experiment.is_answer(&received) {
                early = Some(seen());
            }
        }
        // the machine may pause the examiner just before or after the send: count both
        let before = Instant::now();
        peer.send(&message[sent..end]);
        note_pause(sent_at.replace(before));
        experiment.step(format!("client: write() of {} bytes", end - sent));
        sent = end;
    }
    if let Some(seen) = early {
        let len_before = received.len();
        server.wait_until(BEFORE_READ, || !server.has_work());
        peer.read_on(&mut received, UNPROMPTED, |_| false);
        // a server may answer each byte as it arrives: then the pieces together are the answer to the whole message
        let streams = received.len() > len_before && received == answer_so_far(experiment, server)?.1.bytes;
        return if streams {
            holds(
                "each piece was answered on arrival, and together these are the answer to the whole message",
            )
        } else {
            fails(TOO_EARLY, seen)
        };
    }
    let answer = experiment.read_answer_after(server, &mut peer, received);
    if experiment.is_answer(&answer.bytes) {
        holds(format!("answered after all {sent} bytes, which were sent in three pieces"))
    } else {
        fails("an answer to a message in three pieces", answer.describe())
    }
}

/// Connect a client, and wait until the server is ready to read. A server may first sleep or look up a name. That takes
/// no longer than a whole answer, which is measured with another client.
fn dial_and_wait_for_read(experiment: &Experiment<'_>, server: &Subject) -> Result<Peer, EarlyExit> {
    let begun = Instant::now();
    experiment.serves(server);
    let ready = begun.elapsed().min(BEFORE_READ);
    let peer = experiment.dial(server)?;
    sleep(ready);
    Ok(peer)
}

/// The answer until nothing more arrives for a while, and the client, which can read the rest later.
fn answer_so_far(experiment: &Experiment<'_>, server: &Subject) -> Result<(Peer, Answer), EarlyExit> {
    let mut peer = experiment.dial(server)?;
    peer.send(experiment.message());
    let mut answer = experiment.read_answer(server, &mut peer);
    answer.end = peer.read_on(&mut answer.bytes, UNPROMPTED, |_| false);
    Ok((peer, answer))
}

/// A client that has half-closed still gets its answer.
pub fn half_close(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    // suspend the server, so that it finds the message and end of file together
    server.suspend();
    let mut peer = experiment.dial(&server)?;
    peer.send(experiment.message());
    peer.half_close();
    server.resume();
    experiment.step("client: write(); shutdown(SHUT_WR), while the server is stopped");
    let answer = experiment.read_answer(&server, &mut peer);
    if experiment.is_answer(&answer.bytes) {
        holds("answered after the half-close")
    } else {
        fails("an answer, since the client can still read", answer.describe())
    }
}

/// The whole answer to a client that half-closes only after the answer, and only if the server has not closed: some
/// servers do not answer a client that half-closes earlier.
fn whole_answer(experiment: &Experiment<'_>, server: &Subject) -> Result<Answer, EarlyExit> {
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
    // the kernel accepts at least this many bytes in one write()
    const ONE_WRITE: usize = 4096;
    let server = experiment.start()?;
    let whole = whole_answer(experiment, &server)?;
    if whole.bytes.is_empty() {
        return not_observable("no answer came");
    }
    if whole.end == End::Flood {
        return not_observable("the answer never ends");
    }
    let mut peer = experiment.dial(&server)?;
    peer.send(&[experiment.message(), &vec![b'x'; SURPLUS]].concat());
    peer.half_close();
    experiment.step(format!("client: write() of the message and {SURPLUS} bytes more; shutdown(SHUT_WR)"));
    // read late: a reset destroys only what the client has not read yet
    sleep(Duration::from_millis(200));
    let answer = experiment.read_answer_to_end(&server, &mut peer);
    experiment.step(format!("client: read() gives {}", answer.describe()));
    let hangs = answer.end == End::Silence && answer.bytes.is_empty();
    if answer.end == End::Reset || hangs {
        return fails(format!("{} bytes, then end of file", whole.bytes.len()), answer.describe());
    }
    let is_part = answer.bytes.len() < whole.bytes.len() && whole.bytes.starts_with(&answer.bytes);
    if is_part && answer.bytes.len() >= ONE_WRITE {
        return fails_because(
            "write() to a socket may accept only a part of the bytes, and returns how many it accepted",
            "call write() again for the rest, until everything is written",
            format!(
                "{} bytes, as before, to a client that waits a moment before it reads",
                whole.bytes.len()
            ),
            answer.describe(),
        );
    }
    if !experiment.is_answer(&answer.bytes) {
        return not_observable(format!("its answer to so many bytes is different: {}", answer.describe()));
    }
    holds(answer.describe())
}

/// The bytes after the text of the answer are not data from the server's memory.
pub fn own_memory(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    let answer = whole_answer(experiment, &server)?;
    if answer.bytes.is_empty() {
        return not_observable("no answer came");
    }
    let text = answer.bytes.iter().position(|&byte| byte == 0).unwrap_or(answer.bytes.len());
    let after = &answer.bytes[text..];
    let first_data = after.iter().position(|&byte| byte != 0);
    let came_from_client = |tail: &[u8]| experiment.message().windows(tail.len()).any(|part| part == tail);
    match first_data {
        _ if experiment.expected().contains(&0) => {
            not_observable("--expect has a NUL in it, so the answer is not text")
        }
        Some(n) if came_from_client(&after[n..]) => {
            not_observable("the bytes after the NUL are bytes that the client sent")
        }
        None => holds(format!("only NULs after the {text} bytes of text")),
        Some(n) if after[n..].len() < 3 => holds(format!("{} bytes in all", answer.bytes.len())),
        Some(n) => {
            let seen = visible_line(&after[n..after.len().min(n + 60)]);
            fails(
                "an answer that ends after its text, or has only NULs after it",
                format!("after its text and a NUL the answer goes on: \"{seen}\""),
            )
        }
    }
}
