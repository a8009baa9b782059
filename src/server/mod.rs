//! `prise server …`: the tutorial's servers, in the order to read them, and the one with its mistakes mended.

pub mod accept; // 7.b   accept one client
pub mod reply; // 7.c-d who it is, and a greeting
pub mod r#loop; // "4. Serveur live": one client after the other
pub mod fork; // "5. fork()": a process per client
pub mod robust; // the same without its mistakes

mod options; // their command line

use libc::c_int;

pub use self::options::{Server, Tutorial};

impl Tutorial {
    /// Run the program; gives what it exits with.
    pub fn run(self) -> c_int {
        match self {
            Tutorial::Accept { on } => accept::main(&on),
            Tutorial::Reply { on } => reply::main(&on),
            Tutorial::Loop { on } => r#loop::main(&on),
            Tutorial::Fork { on, no_reap } => fork::main(&on, no_reap),
        }
    }
}
