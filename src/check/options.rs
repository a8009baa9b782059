//! The command line of `prise check`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use crate::check::text::Text;
use crate::options::{number, seconds_up_to};

/// `prise check`
#[derive(Args)]
pub struct Options {
    /// List the checks, and with --faults the faults
    #[arg(long)]
    pub list: bool,
    /// Run only these checks
    ///
    /// Several names are separated by commas. --list prints the names.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Also make calls of the server fail, with strace
    ///
    /// One call of the parent or of a child fails at a time, with one errno:
    /// once, three times in a row, and for a second.
    #[arg(long, verbatim_doc_comment)]
    pub faults: bool,
    /// What a client sends
    ///
    /// \n, \r, \t, \0, \\ and \xNN mean what they mean in C. The default is
    /// the tutorial's message: a line, padded with NULs to 255 bytes.
    #[arg(long, value_name = "TEXT", value_parser = Text::unescaped, verbatim_doc_comment)]
    send: Option<Text>,
    /// How a right answer begins
    ///
    /// It has the same escapes as --send.
    #[arg(long, value_name = "PREFIX", value_parser = Text::unescaped, default_value = "ok")]
    expect: Text,
    /// The server's port, for a server without {port}
    #[arg(long, value_parser = number(1, u16::MAX))]
    pub port: Option<u16>,
    /// Wait SECONDS for each answer
    ///
    /// After that the check counts the answer as missing. At most 600.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds_up_to(600))]
    pub timeout: Duration,
    /// How to print the findings
    ///
    /// human: for people; tap: Test Anything Protocol, version 13; json: one
    /// JSON object.
    #[arg(long, value_enum, default_value_t = Format::Human, verbatim_doc_comment)]
    #[arg(value_name = "human|tap|json", hide_possible_values = true)]
    pub format: Format,
    /// Print what each check does, step by step
    #[arg(long)]
    pub verbose: bool,
    /// The server and its arguments, with {port} for the port
    #[arg(last = true, value_name = "SERVER", required_unless_present = "list")]
    pub server: Vec<OsString>,
}

/// How to print the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Human,
    /// Test Anything Protocol, version 13
    Tap,
    /// One JSON object
    Json,
}

impl Options {
    /// What a client sends.
    pub fn send(&self) -> &[u8] {
        self.send.as_ref().map_or(Text::OF_THE_TUTORIAL, |text| &text.0)
    }

    /// How a right answer begins.
    pub fn expect(&self) -> &[u8] {
        &self.expect.0
    }

    /// A mistake in the command line that clap does not find.
    pub fn usage_error(&self) -> Option<&'static str> {
        let has_placeholder = self.server.iter().any(|word| word.to_string_lossy().contains("{port}"));
        let why =
            "put {port} where the server's arguments have its port, or tell its fixed port with --port N";
        (!self.list && self.port.is_none() && !has_placeholder).then_some(why)
    }
}
