//! The test's own name server, which gives each kind of answer that the resolver can get. The programs run in a mount
//! namespace, with an /etc/resolv.conf that names this server.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, RCODE, ResourceRecord};

use crate::support;

/// A shell script that mounts the test's files over those in /etc, then execs a command.
const MOUNT: &str = r#"set -e; folder=$1; shift
for file in resolv.conf nsswitch.conf hosts; do mount --bind "$folder/$file" "$(realpath "/etc/$file")"; done
exec "$@""#;

/// Start the name server, if this is possible here: port 53 and the mounts need root.
pub fn available() -> Result<(), String> {
    started().clone().map(drop)
}

/// The name server's address; the first call starts it.
fn started() -> &'static Result<Ipv4Addr, String> {
    static STARTED: OnceLock<Result<Ipv4Addr, String>> = OnceLock::new();
    STARTED.get_or_init(start)
}

fn start() -> Result<Ipv4Addr, String> {
    // another run of this test may use the first addresses
    let addresses = (1..=254).map(|n| Ipv4Addr::new(127, 53, 53, n));
    let mut bound = addresses.map(|address| UdpSocket::bind((address, 53)).map(|socket| (socket, address)));
    let bound = bound.find(|bound| !matches!(bound, Err(error) if error.kind() == ErrorKind::AddrInUse));
    let bound = bound.ok_or("port 53 of 127.53.53.1 to .254 is taken")?;
    let (socket, address) = bound.map_err(|error| format!("port 53: {error} (run as root)"))?;
    let unshare = Command::new("unshare").args(["--mount", "true"]).status();
    if !unshare.is_ok_and(|status| status.success()) {
        return Err("unshare --mount is refused here, or not installed (Debian's package util-linux)".into());
    }
    std::thread::spawn(move || serve(&socket));
    Ok(address)
}

fn serve(socket: &UdpSocket) {
    let mut query = [0; 512];
    while let Ok((n, from)) = socket.recv_from(&mut query) {
        if let Some(answer) = answer(&query[..n]) {
            // if the answer is lost, the resolver asks again
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The answer to a query.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let query = Packet::parse(query).ok()?;
    let question = query.questions.first()?.clone();
    let (rcode, addresses): (RCODE, &[[u8; 4]]) = match question.qname.to_string().as_str() {
        "one.test" => (RCODE::NoError, &[[127, 0, 0, 1]]),
        "several.test" => (RCODE::NoError, &[[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]]),
        "first-refuses.test" => (RCODE::NoError, &[[127, 0, 0, 2], [127, 0, 0, 1]]),
        "no-data.test" => (RCODE::NoError, &[]),
        "try-again.test" => (RCODE::ServerFailure, &[]),
        "no-recovery.test" => (RCODE::FormatError, &[]),
        _ => (RCODE::NameError, &[]),
    };
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    *reply.rcode_mut() = rcode;
    for address in addresses {
        let data = RData::A(A { address: u32::from_be_bytes(*address) });
        reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data));
    }
    reply.questions.push(question);
    reply.build_bytes_vec().ok()
}

/// Wrap a command so that it resolves names with the test's name server only.
pub fn with_our_names(command: &Command) -> Command {
    let folder = files();
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "sh", "-c", MOUNT, "sh"]).arg(folder);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped
}

/// The folder with the resolver's configuration; the first call creates it.
fn files() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let address = started().as_ref().expect("the name server runs");
        let folder = support::root().join(format!("target/resolver/{address}"));
        std::fs::create_dir_all(&folder).expect("target/ can be written");
        let files = [
            ("resolv.conf", format!("nameserver {address}\noptions timeout:2 attempts:2\n")),
            ("nsswitch.conf", "hosts: files dns\n".into()),
            ("hosts", "127.0.0.1 localhost\n".into()),
        ];
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("target/ can be written");
        }
        folder
    })
}
