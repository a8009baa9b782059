//! The environment that a program finds: UCSPI's variables, and those of CGI.

use std::ffi::{CString, OsStr, OsString};
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

/// Those that tell of the connection; where one is not known, it is unset.
const UCSPI: [&str; 10] = [
    "PROTO",
    "TCPLOCALIP",
    "TCPLOCALPORT",
    "TCPLOCALHOST",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "TCPREMOTEHOST",
    "TCPREMOTEINFO",
    "REMOTE_ADDR",
    "REMOTE_PORT",
];

/// Those that were meant for this server alone.
const OURS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"];

/// What every program finds, whoever its client.
pub fn base(clear: bool) -> Vec<CString> {
    let kept = |name: &OsStr| {
        let ours = UCSPI.iter().chain(&OURS).any(|ours| name == *ours);
        // without PATH, a shell script finds nothing
        !ours && (!clear || name == "PATH")
    };
    std::env::vars_os()
        .filter(|(name, _)| kept(name))
        .filter_map(|(name, value)| entry(&name, &value))
        .collect()
}

/// What is known of a connection: entries, each with its NUL.
pub fn of_connection(entries: &mut String, client: SocketAddr, local: Option<SocketAddr>) {
    let (ip, port) = (client.ip(), client.port());
    // a String takes everything
    let _ = write!(entries, "PROTO=TCP\0TCPREMOTEIP={ip}\0TCPREMOTEPORT={port}\0");
    let _ = write!(entries, "REMOTE_ADDR={ip}\0REMOTE_PORT={port}\0");
    if let Some(local) = local {
        let _ = write!(entries, "TCPLOCALIP={}\0TCPLOCALPORT={}\0", local.ip(), local.port());
    }
}

fn entry(name: &OsStr, value: &OsStr) -> Option<CString> {
    let mut text = OsString::from(name);
    text.push("=");
    text.push(value);
    // an environment holds no NUL
    CString::new(text.as_bytes()).ok()
}
