//! Checks of what the server does with its processes and descriptors.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::check::experiment::Experiment;
use crate::check::peer::Peer;
use crate::check::subject::{Subject, wait_until};
use crate::check::system;
use crate::check::verdict::{Outcome, fails, holds, not_observable};

/// No zombie should be there for longer.
const ZOMBIE_PATIENCE: Duration = Duration::from_millis(1500);

/// While one client says nothing, the next is served; and then the first.
pub fn concurrent(lab: &Experiment<'_>) -> Outcome {
    let server = lab.start()?;
    let mut silent = lab.dial(&server)?;
    if lab.greets(&server) {
        return if lab.serves(&server) {
            holds("greeted, while another client was silent")
        } else {
            stuck(lab)
        };
    }
    if !lab.serves(&server) {
        return stuck(lab);
    }
    silent.send(lab.message());
    let answer = lab.hear(&mut silent);
    if lab.is_answer(&answer.bytes) {
        holds("the second client was answered while the first was silent, and then the first")
    } else {
        fails("the silent client is answered when it speaks", answer.describe())
    }
}

fn stuck(lab: &Experiment<'_>) -> Outcome {
    fails(
        "a second client is served while the first is silent",
        format!("the second client got no answer in {:?}", lab.timeout()),
    )
}

/// Clients held by the server, each of which has a child, where there are children.
fn hold(lab: &Experiment<'_>, server: &Subject, clients: usize) -> Vec<Peer> {
    let held: Vec<Peer> = (0..clients).map_while(|_| Peer::dial(server.port, lab.timeout()).ok()).collect();
    lab.step(format!("{} clients connect", held.len()));
    wait_until(Duration::from_millis(500), || server.descendants().len() >= held.len());
    held
}

/// Many children that end at once leave no zombie.
pub fn no_zombies(lab: &Experiment<'_>) -> Outcome {
    const CLIENTS: usize = 40;
    let server = lab.start()?;
    let mut clients = hold(lab, &server, CLIENTS);
    let children = server.descendants().len();
    if children == 0 {
        return holds("it has no child for any client, hence nothing to wait for");
    }
    // all end while the parent is stopped: their SIGCHLD coalesce into one
    server.signal(Signal::SIGSTOP);
    for client in &mut clients {
        client.send(lab.message());
    }
    // a server whose parent speaks for its children answers nobody meanwhile
    let _ = clients.iter_mut().all(|client| lab.is_answer(&lab.hear(client).bytes));
    drop(clients);
    wait_until(lab.timeout(), || server.zombies() >= children);
    server.signal(Signal::SIGCONT);
    lab.step(format!("{children} children end while the server is stopped; the server is continued"));
    if wait_until(ZOMBIE_PATIENCE, || server.zombies() == 0) {
        return holds(format!("0 zombies after {children} children ended together"));
    }
    let zombies = server.zombies();
    // some servers reap when the next client comes, which keeps no more than the last ones
    lab.serves(&server);
    if wait_until(ZOMBIE_PATIENCE, || server.zombies() <= 1) {
        return holds(format!("{zombies} zombies until the next client came, then at most 1"));
    }
    let zombies_now = server.zombies();
    let which = if zombies >= children { "none was waited for" } else { "only some were waited for" };
    fails(
        format!("0 zombies {ZOMBIE_PATIENCE:?} after {children} children ended together"),
        format!("{zombies_now} zombies: {which}"),
    )
}

/// Serving clients costs no descriptor.
pub fn descriptors(lab: &Experiment<'_>) -> Outcome {
    const CLIENTS: usize = 30;
    let server = lab.start()?;
    (0..3).for_each(|_| drop(lab.converse(&server)));
    let Some(before) = settled_descriptors(&server) else {
        return not_observable("the descriptors of a process cannot be listed on this system");
    };
    (0..CLIENTS).for_each(|_| drop(lab.converse(&server)));
    let after = settled_descriptors(&server).unwrap_or(before);
    if after >= before + CLIENTS / 2 {
        return fails(
            format!("as many descriptors after {CLIENTS} clients as before"),
            format!("{before} before, {after} after: {} for each client", (after - before).div_ceil(CLIENTS)),
        );
    }
    holds(format!("{before} descriptors before, {after} after {CLIENTS} clients"))
}

/// The count, once the last client's socket has had time to be closed.
fn settled_descriptors(server: &Subject) -> Option<usize> {
    let idle = || server.descendants().iter().all(|process| process.is_zombie());
    wait_until(Duration::from_secs(3), idle);
    wait_until(Duration::from_millis(300), || false);
    system::descriptors(server.pid)
}

/// Told to end while a child is at work, it ends, and so does the child with its client.
pub fn stops(lab: &Experiment<'_>) -> Outcome {
    let mut server = lab.start()?;
    let mut client = lab.dial(&server)?;
    wait_until(Duration::from_millis(300), || !server.descendants().is_empty());
    lab.step("server: kill(SIGTERM), while a client is connected");
    server.signal(Signal::SIGTERM);
    wait_until(Duration::from_millis(200), || server.ended().is_some());
    client.send(lab.message());
    client.half_close();
    lab.hear(&mut client);
    drop(client);
    if !wait_until(lab.timeout(), || server.ended().is_some()) {
        return fails("SIGTERM ends the server", format!("it is still there after {:?}", lab.timeout()));
    }
    let gone = wait_until(lab.timeout(), || server.descendants().iter().all(|process| process.is_zombie()));
    if !gone {
        let left = server.descendants().len();
        return fails(
            "its children end once their clients are gone",
            format!("{left} of its processes are there after {:?}", lab.timeout()),
        );
    }
    if system::listens(server.port) {
        return fails("its port is free", "something still listens on it");
    }
    holds("the server and its child are gone, and the port is free")
}

/// A thousand clients that say nothing keep nobody from being served.
pub fn thousand_idle(lab: &Experiment<'_>) -> Outcome {
    const IDLE: usize = 1000;
    let server = lab.start()?;
    let mut clients = Vec::with_capacity(IDLE);
    // a short backlog overflows when clients come faster than accept(), and that costs each a second
    let mut pause = Duration::from_micros(300);
    let all = wait_until(lab.timeout() * 6, || {
        for _ in 0..20 {
            let begun = Instant::now();
            match Peer::dial(server.port, lab.timeout()) {
                Ok(client) => clients.push(client),
                Err(_) => return true,
            }
            if begun.elapsed() > Duration::from_millis(500) {
                pause = (pause * 2).min(Duration::from_millis(5));
            }
            std::thread::sleep(pause);
        }
        clients.len() >= IDLE
    });
    lab.step(format!("{} clients connect and say nothing", clients.len()));
    if !all || clients.len() < IDLE {
        let open = system::descriptors(std::process::id() as i32).unwrap_or(0);
        if open + 20 > clients.len() + IDLE {
            return not_observable("this user may not open a thousand descriptors: ulimit -n 2000");
        }
        return fails(format!("{IDLE} clients are connected"), format!("{} are", clients.len()));
    }
    if lab.serves(&server) {
        holds(format!("the next client is served while {} are held", clients.len()))
    } else {
        fails(
            format!("the next client is served while {IDLE} are held"),
            format!("it got no answer in {:?}", lab.timeout()),
        )
    }
}
