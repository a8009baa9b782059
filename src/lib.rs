//! *prise*: Unix servers that fork one process per client.
//!
//! The module list is the map:

#![cfg(unix)]

// the commands, one folder each
pub mod client; // prise client …: six programs of the tutorial, a file each
pub mod server; // prise server …: four programs of the tutorial, a file each

// the command line, for main alone
pub mod cli;

// what the programs stand on
pub mod error; // `what: strerror`, h_errno, exit codes
pub mod ffi; // the only unsafe: what nix does not give
pub mod stdio; // printf!, puts, fgets
pub mod stream; // what several programs do with a TCP stream: c/stream.h
pub mod visible; // text from the network, made safe to print: c/visible.h
