//! A name server of the test's own, so that every answer of the resolver can be had: the programs run
//! with an /etc/resolv.conf that names it, in a mount namespace.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, RCODE, ResourceRecord};

use crate::support;

/// Mounts the files over the system's, then becomes the command.
const MOUNT: &str = r#"set -e; folder=$1; shift
for file in resolv.conf nsswitch.conf hosts; do mount --bind "$folder/$file" "$(realpath "/etc/$file")"; done
exec "$@""#;

/// Whether the name server can be had here: it takes root, for port 53 and for the mounts.
pub fn available() -> Result<(), String> {
    started().clone().map(drop)
}

/// The name server's address, once it is started.
fn started() -> &'static Result<Ipv4Addr, String> {
    static STARTED: OnceLock<Result<Ipv4Addr, String>> = OnceLock::new();
    STARTED.get_or_init(start)
}

fn start() -> Result<Ipv4Addr, String> {
    // another run of this test may have taken the first
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
            // the resolver asks again if this is lost
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// What is said of a name.
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

/// The same command, where names are resolved by our server alone.
pub fn with_our_names(command: &Command) -> Command {
    let folder = files();
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "sh", "-c", MOUNT, "sh"]).arg(folder);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped
}

/// A folder with the resolver's configuration, made once.
fn files() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let address = started().as_ref().expect("the name server is there");
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
