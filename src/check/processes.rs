//! Checks of the server's processes and descriptors.

use std::time::{Duration, Instant};

use crate::check::experiment::Experiment;
use crate::check::verdict::{Outcome, fails, fails_because, fails_mended_by, holds, not_observable};
use crate::subject::peer::Peer;
use crate::subject::system;
use crate::subject::{Subject, wait_until};

/// The longest time that a zombie may stay.
const ZOMBIE_PATIENCE: Duration = Duration::from_millis(1500);

/// While one client is silent, the next is served; then the first is served too.
pub fn concurrent(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    let mut silent = experiment.dial(&server)?;
    if experiment.greets(&server) {
        return greeted_at_the_same_time(experiment, &server);
    }
    if !experiment.serves(&server) {
        return second_client_unserved(experiment, &server);
    }
    // a server that sends first may take some time to do so
    if silent.has_received() {
        return greeted_at_the_same_time(experiment, &server);
    }
    silent.send(experiment.message());
    let answer = experiment.read_answer(&server, &mut silent);
    if experiment.is_answer(&answer.bytes) {
        holds("the second client was answered while the first was silent, then the first was answered")
    } else {
        fails("the silent client is answered when it sends its message", answer.describe())
    }
}

/// Check a server that sends first: several silent clients must all be greeted, each without waiting for the others.
/// There are only a few of them, because a server that accepts slowly may have a short backlog.
fn greeted_at_the_same_time(experiment: &Experiment<'_>, server: &Subject) -> Outcome {
    const SILENT: u32 = 5;
    let mut best = (0, Duration::ZERO);
    // several tries: on a busy machine a SYN may be dropped, and it is retransmitted only a second later
    for _ in 0..5 {
        // the first client may wait behind earlier ones, the second is alone
        let mut alone = Duration::ZERO;
        for _ in 0..2 {
            let begun = Instant::now();
            if experiment.read_answer(server, &mut experiment.dial(server)?).bytes.is_empty() {
                return second_client_unserved(experiment, server);
            }
            alone = begun.elapsed();
        }
        let patience = (alone * 3).max(Duration::from_millis(150));
        let begun = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..SILENT {
            silent.push(experiment.dial(server)?);
            // connect slowly: a short backlog overflows when the server gets no CPU to accept
            wait_until(patience / SILENT, || !server.has_work());
        }
        let left = patience.saturating_sub(begun.elapsed());
        let greeted = if left.is_zero() { 0 } else { count_greeted(server, &mut silent, left) };
        best = best.max((greeted, begun.elapsed()));
        if greeted == silent.len() {
            return holds(format!("{SILENT} clients were greeted at the same time"));
        }
    }
    let (greeted, took) = best;
    fails(
        format!("{SILENT} clients that send nothing are all greeted"),
        format!("{greeted} were greeted in {took:.1?}"),
    )
}

/// How many of these clients receive something within the timeout.
fn count_greeted(server: &Subject, clients: &mut [Peer], timeout: Duration) -> usize {
    let mut greeted = vec![false; clients.len()];
    server.wait_until(timeout, || {
        let waiting = clients.iter_mut().zip(&mut greeted).filter(|(_, greeted)| !**greeted);
        waiting.for_each(|(client, greeted)| *greeted = client.has_received());
        greeted.iter().all(|greeted| *greeted)
    });
    greeted.iter().filter(|greeted| **greeted).count()
}

/// The verdict on a server that does not serve a second client while the first is silent.
fn second_client_unserved(experiment: &Experiment<'_>, server: &Subject) -> Outcome {
    let expected = "a second client is served while the first is silent";
    let seen = format!("the second client got no answer in {:?}", experiment.timeout());
    if server.is_idle() {
        return fails(expected, seen);
    }
    fails_mended_by(
        "call waitpid() only in the SIGCHLD handler, with WNOHANG: without it, waitpid() blocks the parent",
        expected,
        format!("{seen}, although the first has its own process"),
    )
}

/// Connect clients and wait until each has a child, if the server starts children.
fn hold_clients(experiment: &Experiment<'_>, server: &Subject, clients: usize) -> Vec<Peer> {
    let held: Vec<Peer> = (0..clients).map_while(|_| experiment.dial_quietly(server).ok()).collect();
    experiment.step(format!("{} clients connect", held.len()));
    server.wait_until(Duration::from_millis(500), || server.descendants().len() >= held.len());
    held
}

/// Many children that end at once leave no zombie.
pub fn no_zombies(experiment: &Experiment<'_>) -> Outcome {
    const CLIENTS: usize = 40;
    let server = experiment.start_visible()?;
    let idle_children = server.live_children();
    let mut clients = hold_clients(experiment, &server, CLIENTS);
    if server.is_idle() {
        return holds("it starts no child for a client, so there is none to wait for");
    }
    let own = server.live_children().saturating_sub(idle_children);
    // all children end while the parent is stopped, so that their SIGCHLDs coalesce into one
    server.suspend();
    for client in &mut clients {
        client.send(experiment.message());
    }
    // stop at the first client without an answer: if the parent relays for its children, no client gets one now
    let _ =
        clients.iter_mut().all(|client| experiment.is_answer(&experiment.read_answer(&server, client).bytes));
    drop(clients);
    server
        .wait_until(experiment.timeout(), || server.descendants().iter().all(|process| process.is_zombie()));
    // a relaying child has a child of its own: that one is an adopted orphan now, and zombies() does not count it
    let children = server.zombies();
    server.resume();
    if children == 0 && own > 0 && server.live_children() <= idle_children {
        return holds(format!(
            "{own} children ended together, and the system reaped them: SIGCHLD is ignored, or SA_NOCLDWAIT is set"
        ));
    }
    if children == 0 {
        return not_observable("no child of its own ended, although its clients had gone");
    }
    experiment.step(format!("{children} children end while the server is stopped; the server is continued"));
    if server.wait_until(ZOMBIE_PATIENCE, || server.zombies() == 0) {
        return counts_children(experiment, &server, children, own);
    }
    let before_next = server.zombies();
    let expected = format!("0 zombies {ZOMBIE_PATIENCE:?} after {children} children ended together");
    match left_zombies(experiment, &server) {
        None => holds(format!("{before_next} zombies until the next client came, then at most 1")),
        Some(left) if left >= children => fails_mended_by(
            "sigaction(SIGCHLD, …) with a handler that runs while (waitpid(-1, NULL, WNOHANG) > 0);",
            expected,
            format!("{before_next} zombies, and {left} after the next client: none was waited for"),
        ),
        Some(left) => fails(
            expected,
            format!("{before_next} zombies, and {left} after the next client: only some were waited for"),
        ),
    }
}

/// Whether a server that has reaped all its children has also counted them all: if the same number of clients connects
/// again, it must have that many children again.
fn counts_children(experiment: &Experiment<'_>, server: &Subject, children: usize, before: usize) -> Outcome {
    const FEW: usize = 5;
    let waited_for = format!("0 zombies after {children} children ended together");
    if before < FEW {
        return holds(waited_for);
    }
    let mut held = hold_clients(experiment, server, before);
    let as_many = server.wait_until(experiment.timeout(), || server.live_children() > before / 2);
    // if the server rejects clients, it has another limit
    let accepted = held.len() == before && !held.iter_mut().any(Peer::is_closed);
    if as_many || !accepted {
        return holds(waited_for);
    }
    fails_because(
        "signals coalesce: a server that counts SIGCHLDs misses children that ended, until no slot is free",
        "count one child less for each one that waitpid() returns, not for each SIGCHLD",
        format!("{before} children as before, when as many clients connect again"),
        format!("{} children, and no other client is served; {waited_for}", server.live_children()),
    )
}

/// The number of zombies that stay, if any do. Some servers reap only when the next client connects: then the zombie
/// of that client may stay.
pub fn left_zombies(experiment: &Experiment<'_>, server: &Subject) -> Option<usize> {
    if server.wait_until(ZOMBIE_PATIENCE, || server.zombies() == 0) {
        return None;
    }
    experiment.serves(server);
    server.wait_until(ZOMBIE_PATIENCE, || server.is_idle());
    let few = server.wait_until(experiment.timeout(), || server.zombies() <= 1);
    (!few).then(|| server.zombies())
}

/// Serving clients costs no descriptor.
pub fn descriptors(experiment: &Experiment<'_>) -> Outcome {
    const CLIENTS: usize = 30;
    let server = experiment.start_visible()?;
    (0..3).for_each(|_| drop(experiment.converse(&server)));
    let Some(before) = settled_descriptors(&server, None) else {
        return not_observable("the descriptors of a process cannot be listed on this system");
    };
    let after_more = |before: usize| {
        (0..CLIENTS).for_each(|_| drop(experiment.converse(&server)));
        settled_descriptors(&server, Some(before)).unwrap_or(before)
    };
    let after = after_more(before);
    // a pool of descriptors also grows, but not forever
    if after >= before + CLIENTS / 2 && after_more(after) >= after + CLIENTS / 2 {
        return fails(
            format!("as many descriptors after {CLIENTS} clients as before"),
            format!("{before} before, {after} after: {} for each client", (after - before).div_ceil(CLIENTS)),
        );
    }
    holds(format!("{before} descriptors before, {after} after {CLIENTS} clients"))
}

/// The number of open descriptors, after a wait in which the server can close the last client's socket. The wait ends
/// early when the number is down to `enough`.
pub fn settled_descriptors(server: &Subject, enough: Option<usize>) -> Option<usize> {
    server.wait_until(Duration::from_secs(3), || server.is_idle());
    let settled = || enough.is_some() && system::descriptors(server.pid) <= enough;
    server.wait_until(Duration::from_millis(300), settled);
    system::descriptors(server.pid)
}

/// While a thousand silent clients are connected, the next client is served.
pub fn thousand_idle(experiment: &Experiment<'_>) -> Outcome {
    const IDLE: usize = 1000;
    let server = experiment.start()?;
    let deadline = Instant::now() + experiment.timeout() * 12;
    let mut clients = Vec::with_capacity(IDLE);
    // if clients connect faster than the server accepts, a short backlog overflows, and each lost SYN costs a second
    let mut pause = Duration::from_micros(300);
    while clients.len() < IDLE && Instant::now() < deadline {
        let begun = Instant::now();
        match experiment.dial_quietly(&server) {
            Ok(client) => clients.push(client),
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                return not_observable("this user may not open a thousand descriptors: ulimit -n 2000");
            }
            Err(_) => break,
        }
        if begun.elapsed() > Duration::from_millis(500) {
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        std::thread::sleep(pause);
    }
    experiment.interrupted().map_or(Ok(()), Err)?;
    experiment.step(format!("{} clients connect and send nothing", clients.len()));
    if clients.len() < IDLE {
        if server.has_work() {
            return not_observable(format!("this machine is too busy: {} clients connected", clients.len()));
        }
        let seen = format!("{} are connected", clients.len());
        drop((clients, server));
        return fails_with_many_clients(experiment, format!("{IDLE} clients are connected"), seen);
    }
    // a thousand processes may still be starting
    wait_until(experiment.timeout() * 6, || !server.has_work());
    let served = experiment.serves(&server);
    let few = system::process_limit().is_some_and(|limit| limit < IDLE as u64 + 100);
    if few && !served {
        return not_observable(
            "a thousand processes are not allowed here: see ulimit -u, or the container's pids.max",
        );
    }
    if served {
        holds(format!("the next client is served while {} are connected", clients.len()))
    } else {
        drop((clients, server));
        let seen = format!("it got no answer in {:?}", experiment.timeout());
        let expected = format!("the next client is served while {IDLE} are connected");
        fails_with_many_clients(experiment, expected, seen)
    }
}

/// The verdict on a server that fails with a thousand silent clients. It may already fail with one.
fn fails_with_many_clients(experiment: &Experiment<'_>, expected: String, seen: String) -> Outcome {
    let server = experiment.start()?;
    let _silent = experiment.dial(&server)?;
    if experiment.serves(&server) {
        return fails(expected, seen);
    }
    fails_mended_by(
        "first do not let one silent client block the others: see the check concurrent",
        expected,
        format!("{seen}; no client is served even while only 1 is connected and silent"),
    )
}

/// A large number of clients are all served, one after another.
pub fn keeps_serving(experiment: &Experiment<'_>) -> Outcome {
    const CLIENTS: usize = 1200;
    /// After this many clients, their average time shows how long all of them will take.
    const FEW: usize = 40;
    /// A busy machine may lose this many clients. A server that has no more room loses all the next ones too.
    const MAY_BE_LOST: usize = 3;
    let server = experiment.start()?;
    let before = system::descriptors(server.pid).unwrap_or(0);
    let (begun, longest) = (Instant::now(), experiment.timeout() * 12);
    let (mut served, mut lost, mut took) = (0, 0, Duration::ZERO);
    while served < CLIENTS && begun.elapsed() < longest && experiment.interrupted().is_none() {
        let one = Instant::now();
        if quietly_serves(experiment, &server) {
            served += 1;
            took += one.elapsed();
        } else if lost < MAY_BE_LOST {
            lost += 1;
        } else {
            let open = system::descriptors(server.pid).unwrap_or(0).saturating_sub(before);
            let expected = format!("{CLIENTS} clients are served, one after another");
            let seen = format!("client number {} got no answer", served + 1);
            return if open > served / 2 {
                fails_mended_by(
                    "close(new_socket) in the parent after fork()",
                    expected,
                    format!("{seen}: {open} more descriptors are open than before the first"),
                )
            } else {
                fails(expected, seen)
            };
        }
        // reap adopted orphans
        server.ended();
        // give up if the server takes too long for each client
        if served >= FEW && took * CLIENTS as u32 / served as u32 > longest * 2 {
            break;
        }
    }
    experiment.step(format!("{served} clients, one after another: connect(), write(), read()"));
    if served < CLIENTS {
        return not_observable(format!(
            "only {served} of {CLIENTS} clients were served in {:.0?}",
            begun.elapsed()
        ));
    }
    let but = if lost > 0 { format!(", and lost {lost}") } else { String::new() };
    holds(format!("served {served} clients, one after another{but}"))
}

/// Whether a new client gets the expected answer. No step is recorded, because there are many such clients.
fn quietly_serves(experiment: &Experiment<'_>, server: &Subject) -> bool {
    let Ok(mut peer) = experiment.dial_quietly(server) else { return false };
    peer.send(experiment.message());
    experiment.is_answer(&experiment.read_answer_quietly(server, &mut peer).bytes)
}
