//! The environment of a program: the server's own variables, and those of UCSPI and CGI that describe the connection.

use std::ffi::{CString, OsStr, OsString};
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

/// The variables that describe the connection. A program never inherits them: those that are not known are unset.
const CONNECTION_VARIABLES: [&str; 10] = [
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

/// The variables that are meant for this server alone.
const SERVER_VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"];

/// The variables that every program inherits from the server; with `clear`, only PATH.
pub fn inherited(clear: bool) -> Vec<CString> {
    let kept = |name: &OsStr| {
        let reserved = CONNECTION_VARIABLES.iter().chain(&SERVER_VARIABLES).any(|reserved| name == *reserved);
        // without PATH, a shell script finds no commands
        !reserved && (!clear || name == "PATH")
    };
    std::env::vars_os()
        .filter(|(name, _)| kept(name))
        .filter_map(|(name, value)| entry(&name, &value))
        .collect()
}

/// Write the variables of a connection, each with its NUL.
pub fn write_connection(entries: &mut String, client: SocketAddr, local: Option<SocketAddr>) {
    let (ip, port) = (client.ip(), client.port());
    // writing to a String cannot fail
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
    // cannot fail: environment variables contain no NUL
    CString::new(text.as_bytes()).ok()
}
