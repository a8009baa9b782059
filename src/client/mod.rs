//! `prise client …`: the tutorial's clients, in the order to read them.

pub mod socket; // 5.a   create a socket
pub mod connect; // 5.b   connect it to an address
pub mod send; // 5.c   send a request
pub mod recv; // 5.d-e receive the reply, close
pub mod resolve; // 6     from a name to an address
pub mod message; // the last "6": a client for server/fork

mod options; // their command line

use libc::c_int;

pub use self::options::Client;

impl Client {
    /// Run the program; gives what it exits with.
    pub fn run(self) -> c_int {
        match self {
            Client::Socket => socket::main(),
            Client::Connect { to } => connect::main(&to),
            Client::Send { to } => send::main(&to),
            Client::Recv { to, name } => recv::main(&to, name.as_deref()),
            Client::Resolve { name } => resolve::main(&name),
            Client::Message { host, port, reply } => {
                let argv: Vec<String> =
                    [Some("prise client message".into()), host, port].into_iter().flatten().collect();
                message::main(&argv, reply)
            }
        }
    }
}
