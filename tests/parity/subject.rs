//! The editions of a program that are compared: the Rust, its C twin (with and without sanitizers), and the tutorial's
//! listing.

use std::path::PathBuf;
use std::process::Command;

use crate::support;
pub use crate::support::listings::{ALL, Listings, PROGRAMS};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edition {
    Rust,
    Twin,
    Sanitized,
    Listing,
}

impl Edition {
    /// The title of its column.
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

    /// The listing, or `None` if the tutorial has no such program.
    pub fn listing(listings: &Listings, program: &'static str) -> Option<Subject> {
        let file = PROGRAMS.contains(&program).then(|| listings.file(program))?;
        Some(Subject { edition: Edition::Listing, program, file })
    }

    pub fn sanitized(program: &'static str) -> Subject {
        Subject { edition: Edition::Sanitized, program, file: support::sanitized_twin(program) }
    }

    /// Whether the program is C, with stdio's buffering.
    pub fn is_c(&self) -> bool {
        self.edition != Edition::Rust
    }

    /// Its name in its own messages.
    pub fn name(&self) -> String {
        match self.edition {
            Edition::Rust => format!("prise {}", self.program.replace('/', " ")),
            _ => self.file.display().to_string(),
        }
    }

    /// The command that runs it. `arguments` are the Rust's arguments; `tracer` comes before the program.
    pub fn command(&self, arguments: &[String], port: u16, tracer: &[String]) -> Command {
        let mut words = tracer.to_vec();
        words.push(self.file.display().to_string());
        if self.edition == Edition::Rust {
            words.extend(self.program.split('/').map(String::from));
        }
        words.extend(self.arguments(arguments));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        // a compiled listing takes no arguments: it reads its host and port from the environment
        command.env("PRISE_HOST", arguments.first().map_or("www.google.com", String::as_str));
        command.env("PRISE_PORT", port.to_string());
        command
    }

    /// The arguments that this edition takes. The C twins have positional arguments, so option names are removed. A
    /// listing takes none, except message.
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
