//! Checks of what the server does with its processes and descriptors.

use std::time::{Duration, Instant};

use crate::check::experiment::Experiment;
use crate::check::verdict::{Outcome, fails, fails_since, fails_unless, holds, not_observable};
use crate::subject::peer::Peer;
use crate::subject::system;
use crate::subject::{Subject, wait_until};

/// No zombie should be there for longer.
const ZOMBIE_PATIENCE: Duration = Duration::from_millis(1500);

/// While one client says nothing, the next is served; and then the first.
pub fn concurrent(experiment: &Experiment<'_>) -> Outcome {
    let server = experiment.start()?;
    let mut silent = experiment.dial(&server)?;
    if experiment.greets(&server) {
        return greeted_at_the_same_time(experiment, &server);
    }
    if !experiment.serves(&server) {
        return stuck(experiment, &server);
    }
    // a server that speaks first may take its time for that
    if silent.has_received() {
        return greeted_at_the_same_time(experiment, &server);
    }
    silent.send(experiment.message());
    let answer = experiment.read_answer(&server, &mut silent);
    if experiment.is_answer(&answer.bytes) {
        holds("the second client was answered while the first was silent, and then the first")
    } else {
        fails("the silent client is answered when it speaks", answer.describe())
    }
}

/// A server that speaks first shows nothing with one silent client: but it shows whether all of some are greeted
/// while they are silent, or one after the other. They are few, since one that accepts slowly has a backlog.
fn greeted_at_the_same_time(experiment: &Experiment<'_>, server: &Subject) -> Outcome {
    const SILENT: u32 = 5;
    let mut best = (0, Duration::ZERO);
    // a SYN that was dropped, on a busy machine, is sent again a second later
    for _ in 0..5 {
        // the first comes behind those who were there before, the second alone
        let mut alone = Duration::ZERO;
        for _ in 0..2 {
            let begun = Instant::now();
            if experiment.read_answer(server, &mut experiment.dial(server)?).bytes.is_empty() {
                return stuck(experiment, server);
            }
            alone = begun.elapsed();
        }
        let patience = (alone * 3).max(Duration::from_millis(150));
        let begun = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..SILENT {
            silent.push(experiment.dial(server)?);
            // a short backlog overflows where the server has no CPU to accept
            wait_until(patience / SILENT, || !server.has_work());
        }
        let left = patience.saturating_sub(begun.elapsed());
        let greeted = if left.is_zero() { 0 } else { greeted(server, &mut silent, left) };
        best = best.max((greeted, begun.elapsed()));
        if greeted == silent.len() {
            return holds(format!("{SILENT} clients were greeted at the same time"));
        }
    }
    let (greeted, took) = best;
    fails(
        format!("{SILENT} clients that say nothing are all greeted"),
        format!("{greeted} were, in {took:.1?}"),
    )
}

/// How many of some clients have heard something when a time is over, or all have.
fn greeted(server: &Subject, clients: &mut [Peer], patience: Duration) -> usize {
    let mut greeted = vec![false; clients.len()];
    server.wait_until(patience, || {
        let waiting = clients.iter_mut().zip(&mut greeted).filter(|(_, greeted)| !**greeted);
        waiting.for_each(|(client, greeted)| *greeted = client.has_received());
        greeted.iter().all(|greeted| *greeted)
    });
    greeted.iter().filter(|greeted| **greeted).count()
}

fn stuck(experiment: &Experiment<'_>, server: &Subject) -> Outcome {
    let expected = "a second client is served while the first is silent";
    let seen = format!("the second client got no answer in {:?}", experiment.timeout());
    if server.is_at_rest() {
        return fails(expected, seen);
    }
    fails_unless(
        "wait for a child in the SIGCHLD handler alone, and with WNOHANG: waitpid() without it waits",
        expected,
        format!("{seen}, though the first has a process of its own"),
    )
}

/// Clients held by the server, each of which has a child, where there are children.
fn hold(experiment: &Experiment<'_>, server: &Subject, clients: usize) -> Vec<Peer> {
    let held: Vec<Peer> = (0..clients).map_while(|_| experiment.dial_patiently(server).ok()).collect();
    experiment.step(format!("{} clients connect", held.len()));
    server.wait_until(Duration::from_millis(500), || server.descendants().len() >= held.len());
    held
}

/// Many children that end at once leave no zombie.
pub fn no_zombies(experiment: &Experiment<'_>) -> Outcome {
    const CLIENTS: usize = 40;
    let server = experiment.start_in_sight()?;
    let in_reserve = server.children();
    let mut clients = hold(experiment, &server, CLIENTS);
    if server.is_at_rest() {
        return holds("it has no child for any client, hence nothing to wait for");
    }
    let own = server.children().saturating_sub(in_reserve);
    // all end while the parent is stopped: their SIGCHLD coalesce into one
    server.stop();
    for client in &mut clients {
        client.send(experiment.message());
    }
    // a server whose parent speaks for its children answers nobody meanwhile
    let _ =
        clients.iter_mut().all(|client| experiment.is_answer(&experiment.read_answer(&server, client).bytes));
    drop(clients);
    server
        .wait_until(experiment.timeout(), || server.descendants().iter().all(|process| process.is_zombie()));
    // a child that relays has a child of its own, which is not the server's to wait for
    let children = server.zombies();
    server.go_on();
    if children == 0 && own > 0 && server.children() <= in_reserve {
        return holds(format!(
            "{own} children ended together, and the system reaped them: SIGCHLD is ignored, or SA_NOCLDWAIT set"
        ));
    }
    if children == 0 {
        return not_observable("it has no child of its own that ended, though its clients had gone");
    }
    experiment.step(format!("{children} children end while the server is stopped; the server is continued"));
    if server.wait_until(ZOMBIE_PATIENCE, || server.zombies() == 0) {
        return counts_them(experiment, &server, children, own);
    }
    let until_then = server.zombies();
    let expected = format!("0 zombies {ZOMBIE_PATIENCE:?} after {children} children ended together");
    match left_zombies(experiment, &server) {
        None => holds(format!("{until_then} zombies until the next client came, then at most 1")),
        Some(left) if left >= children => fails_unless(
            "sigaction(SIGCHLD, …), with a handler in which while (waitpid(-1, NULL, WNOHANG) > 0);",
            expected,
            format!("{until_then} zombies, and {left} after the next client: none was waited for"),
        ),
        Some(left) => fails(
            expected,
            format!("{until_then} zombies, and {left} after the next client: only some were waited for"),
        ),
    }
}

/// Whether a server that waits for each child has also counted each: it has as many again, if as many come again.
fn counts_them(experiment: &Experiment<'_>, server: &Subject, children: usize, before: usize) -> Outcome {
    const FEW: usize = 5;
    let waited_for = format!("0 zombies after {children} children ended together");
    if before < FEW {
        return holds(waited_for);
    }
    let mut held = hold(experiment, server, before);
    let as_many = server.wait_until(experiment.timeout(), || server.children() > before / 2);
    // one that turns clients away has a limit of another kind
    let let_in = held.len() == before && !held.iter_mut().any(Peer::is_closed);
    if as_many || !let_in {
        return holds(waited_for);
    }
    fails_since(
        "signals coalesce: who counts SIGCHLDs counts too few children that have ended, until no slot is free",
        "count one child less for each that waitpid() gives, and not for each SIGCHLD",
        format!("as many children as before, when as many clients come again: {before}"),
        format!("{}, and nobody else is served; {waited_for}", server.children()),
    )
}

/// How many zombies there are that stay, if any do. Some servers reap when the next client comes, which
/// keeps no more than the last one.
pub fn left_zombies(experiment: &Experiment<'_>, server: &Subject) -> Option<usize> {
    if server.wait_until(ZOMBIE_PATIENCE, || server.zombies() == 0) {
        return None;
    }
    experiment.serves(server);
    server.wait_until(ZOMBIE_PATIENCE, || server.is_at_rest());
    let few = server.wait_until(experiment.timeout(), || server.zombies() <= 1);
    (!few).then(|| server.zombies())
}

/// Serving clients costs no descriptor.
pub fn descriptors(experiment: &Experiment<'_>) -> Outcome {
    const CLIENTS: usize = 30;
    let server = experiment.start_in_sight()?;
    (0..3).for_each(|_| drop(experiment.converse(&server)));
    let Some(before) = settled_descriptors(&server, None) else {
        return not_observable("the descriptors of a process cannot be listed on this system");
    };
    let after_more = |before: usize| {
        (0..CLIENTS).for_each(|_| drop(experiment.converse(&server)));
        settled_descriptors(&server, Some(before)).unwrap_or(before)
    };
    let after = after_more(before);
    // a pool grows, too, but not for ever
    if after >= before + CLIENTS / 2 && after_more(after) >= after + CLIENTS / 2 {
        return fails(
            format!("as many descriptors after {CLIENTS} clients as before"),
            format!("{before} before, {after} after: {} for each client", (after - before).div_ceil(CLIENTS)),
        );
    }
    holds(format!("{before} descriptors before, {after} after {CLIENTS} clients"))
}

/// The count, once the last client's socket has had time to be closed. Where few enough are known, there is
/// no need to wait for fewer.
pub fn settled_descriptors(server: &Subject, enough: Option<usize>) -> Option<usize> {
    server.wait_until(Duration::from_secs(3), || server.is_at_rest());
    let settled = || enough.is_some() && system::descriptors(server.pid) <= enough;
    server.wait_until(Duration::from_millis(300), settled);
    system::descriptors(server.pid)
}

/// A thousand clients that say nothing keep nobody from being served.
pub fn thousand_idle(experiment: &Experiment<'_>) -> Outcome {
    const IDLE: usize = 1000;
    let server = experiment.start()?;
    let deadline = Instant::now() + experiment.timeout() * 12;
    let mut clients = Vec::with_capacity(IDLE);
    // a short backlog overflows when clients come faster than accept(), and that costs each a second
    let mut between = Duration::from_micros(300);
    while clients.len() < IDLE && Instant::now() < deadline {
        let begun = Instant::now();
        match experiment.dial_patiently(&server) {
            Ok(client) => clients.push(client),
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                return not_observable("this user may not open a thousand descriptors: ulimit -n 2000");
            }
            Err(_) => break,
        }
        if begun.elapsed() > Duration::from_millis(500) {
            between = (between * 2).min(Duration::from_millis(20));
        }
        std::thread::sleep(between);
    }
    experiment.interrupted().map_or(Ok(()), Err)?;
    experiment.step(format!("{} clients connect and say nothing", clients.len()));
    if clients.len() < IDLE {
        if server.has_work() {
            return not_observable(format!("this machine is too busy: {} clients connected", clients.len()));
        }
        let seen = format!("{} are", clients.len());
        drop((clients, server));
        return crowded(experiment, format!("{IDLE} clients are connected"), seen);
    }
    // a thousand processes may still be starting
    wait_until(experiment.timeout() * 6, || !server.has_work());
    let served = experiment.serves(&server);
    let few = system::process_limit().is_some_and(|limit| limit < IDLE as u64 + 100);
    if few && !served {
        return not_observable(
            "there may not be a thousand processes here: ulimit -u, or a container's pids.max",
        );
    }
    if served {
        holds(format!("the next client is served while {} are held", clients.len()))
    } else {
        drop((clients, server));
        let seen = format!("it got no answer in {:?}", experiment.timeout());
        crowded(experiment, format!("the next client is served while {IDLE} are held"), seen)
    }
}

/// It fails with a thousand; perhaps with one.
fn crowded(experiment: &Experiment<'_>, expected: String, seen: String) -> Outcome {
    let server = experiment.start()?;
    let _silent = experiment.dial(&server)?;
    if experiment.serves(&server) {
        return fails(expected, seen);
    }
    fails_unless(
        "let one silent client keep nobody waiting, and see then: the check named concurrent says how",
        expected,
        format!("{seen}; and none while 1 is"),
    )
}

/// As many clients as come, one after another, and none is one too many.
pub fn keeps_serving(experiment: &Experiment<'_>) -> Outcome {
    const CLIENTS: usize = 1200;
    /// So many tell how long all will take.
    const FEW: usize = 40;
    // on a busy machine; a server that has no room has none for the next either
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
            let seen = format!("number {} got no answer", served + 1);
            return if open > served / 2 {
                fails_unless(
                    "close(new_socket) in the parent after fork()",
                    expected,
                    format!("{seen}: {open} descriptors more are open than before the first"),
                )
            } else {
                fails(expected, seen)
            };
        }
        // who is no child of the server's any more is ours to reap
        server.ended();
        // one that takes its time for each does not come to an end
        if served >= FEW && took * CLIENTS as u32 / served as u32 > longest * 2 {
            break;
        }
    }
    experiment.step(format!(
        "{served} clients: connect(), write(), read(), each when the one before has its answer"
    ));
    if served < CLIENTS {
        return not_observable(format!(
            "{served} clients of {CLIENTS} were served in {:.0?}",
            begun.elapsed()
        ));
    }
    let but = if lost > 0 { format!(", and lost {lost}") } else { String::new() };
    holds(format!("served {served} clients, one after another{but}"))
}

/// A client that leaves no steps: there are many.
fn quietly_serves(experiment: &Experiment<'_>, server: &Subject) -> bool {
    let Ok(mut peer) = experiment.dial_patiently(server) else { return false };
    peer.send(experiment.message());
    experiment.is_answer(&experiment.read_answer_quietly(server, &mut peer).bytes)
}
