//! The editions of a program that are compared: the Rust, its C twin (also with sanitizers), and the listing of the
//! tutorial.

use std::path::PathBuf;
use std::process::Command;

use crate::support;
pub use crate::support::listings::{Listings, PROGRAMS};

/// The tutorial's programs, and the one with its mistakes mended.
pub const ALL: [&str; 11] = {
    let mut all = ["server/robust"; 11];
    let mut i = 0;
    while i < PROGRAMS.len() {
        all[i] = PROGRAMS[i];
        i += 1;
    }
    all
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edition {
    Rust,
    Twin,
    Sanitized,
    Listing,
}

impl Edition {
    /// What a column is called.
    pub fn title(self) -> &'static str {
        match self {
            Edition::Rust => "Rust",
            Edition::Twin => "C twin",
            Edition::Sanitized => "C twin with sanitizers",
            Edition::Listing => "listing",
        }
    }
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

    /// None: the tutorial has no such program.
    pub fn listing(listings: &Listings, program: &'static str) -> Option<Subject> {
        let file = PROGRAMS.contains(&program).then(|| listings.file(program))?;
        Some(Subject { edition: Edition::Listing, program, file })
    }

    pub fn sanitized(program: &'static str) -> Subject {
        Subject { edition: Edition::Sanitized, program, file: support::sanitized_twin(program) }
    }

    /// Whether it is C, with C's buffering.
    pub fn is_c(&self) -> bool {
        self.edition != Edition::Rust
    }

    /// How its messages call it.
    pub fn name(&self) -> String {
        match self.edition {
            Edition::Rust => format!("prise {}", self.program.replace('/', " ")),
            _ => self.file.display().to_string(),
        }
    }

    /// The command to run, given what the Rust would be given, behind `tracer` if that is not empty.
    pub fn command(&self, arguments: &[String], port: u16, tracer: &[String]) -> Command {
        let mut words = tracer.to_vec();
        words.push(self.file.display().to_string());
        if self.edition == Edition::Rust {
            words.extend(self.program.split('/').map(String::from));
        }
        words.extend(self.arguments(arguments));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        // a listing takes none of them; what it connects to is in its environment
        command.env("PRISE_HOST", arguments.first().map_or("www.google.com", String::as_str));
        command.env("PRISE_PORT", port.to_string());
        command
    }

    /// What this edition takes of them: the C twins by their place, a listing nothing, but for message.
    fn arguments(&self, arguments: &[String]) -> Vec<String> {
        let named = |word: &&String| !["--port", "--backlog", "--host"].contains(&word.as_str());
        let arguments = arguments.iter();
        match self.edition {
            _ if self.program == "server/robust" => arguments.cloned().collect(),
            Edition::Rust => arguments.cloned().collect(),
            Edition::Twin | Edition::Sanitized => arguments.filter(named).cloned().collect(),
            Edition::Listing if self.program == "client/message" => {
                arguments.filter(|word| !word.starts_with("--")).cloned().collect()
            }
            Edition::Listing => Vec::new(),
        }
    }
}
