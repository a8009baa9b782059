//! The three editions of a program that are compared: the Rust, its C twin (also with sanitizers), and
//! the listing of the tutorial.

use std::path::PathBuf;
use std::process::Command;

use crate::support;
pub use crate::support::listings::{Listings, PROGRAMS};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edition {
    Rust,
    Twin,
    Sanitized,
    Listing,
}

/// A program in one edition.
#[derive(Clone)]
pub struct Subject {
    pub edition: Edition,
    pub program: &'static str,
    file: PathBuf,
}

impl Subject {
    pub fn rust(program: &'static str) -> Subject {
        Subject { edition: Edition::Rust, program, file: env!("CARGO_BIN_EXE_prise").into() }
    }

    pub fn twin(program: &'static str) -> Subject {
        Subject { edition: Edition::Twin, program, file: support::twin(program) }
    }

    pub fn listing(listings: &Listings, program: &'static str) -> Subject {
        Subject { edition: Edition::Listing, program, file: listings.file(program) }
    }

    pub fn sanitized(program: &'static str) -> Subject {
        Subject { edition: Edition::Sanitized, program, file: support::sanitized_twin(program) }
    }

    /// The command to run, behind `tracer` if that is not empty.
    pub fn command(&self, arguments: &[String], port: u16, tracer: &[String]) -> Command {
        let mut words = tracer.to_vec();
        words.push(self.file.display().to_string());
        if self.edition == Edition::Rust {
            words.extend(self.program.split('/').map(String::from));
        }
        // a listing takes no arguments, but for the last; what it connects to is in its environment
        if self.edition != Edition::Listing || self.program == "client/message" {
            words.extend_from_slice(arguments);
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.env("PRISE_HOST", arguments.first().map_or("www.google.com", String::as_str));
        command.env("PRISE_PORT", port.to_string());
        command
    }
}
