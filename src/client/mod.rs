//! `prise client …`: the tutorial's clients, in the order to read them.

pub mod socket; // 5.a   create a socket
pub mod connect; // 5.b   connect it to an address
pub mod send; // 5.c   send a request
pub mod recv; // 5.d-e receive the reply, close
pub mod resolve; // 6     from a name to an address
pub mod message; // the last "6": a client for server/fork
