//! *prise*: Unix servers that fork one process per client.
//!
//! The module list is the map. Nothing here starts a thread, and nothing may: `fork` copies one.

#[cfg(not(unix))]
compile_error!("prise is about Unix processes and sockets");

// the commands, one folder each
pub mod client; // prise client …: six programs of the tutorial, a file each
pub mod check; // prise check: an examiner of any server that forks per client
pub mod serve; // prise serve: a server to deploy
pub mod server; // prise server …: four programs of the tutorial and robust, a file each

// for main alone
pub mod cli; // the command line
pub mod error; // `what: strerror`, h_errno, exit codes
pub mod runtime; // what happens before a program's first step: c/runtime.h
pub mod stdio; // printf!, puts, fgets, perror, exit

// what the commands stand on
mod ffi; // the only unsafe: what nix does not give
mod options; // what the options of several commands have in common
mod stream; // what robust and serve do with a TCP stream: c/stream.h
mod visible; // text from the network, made safe to print: c/visible.h
