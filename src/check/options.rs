//! The command line of `prise check`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use crate::check::text::Text;
use crate::options::{number, seconds_up_to};

/// `prise check`
#[derive(Args)]
pub struct Options {
    /// List the checks, with --faults the faults too, and do nothing
    #[arg(long)]
    pub list: bool,
    /// Make these checks only: a name, or several with commas between them; --list has the names
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Make calls of the server and of its children fail too, one at a time, by strace
    #[arg(long)]
    pub faults: bool,
    /// What a client says; \n, \r, \t, \0, \\ and \xNN stand for what they do in C. [default: the
    /// tutorial's message, a line padded with NULs to 255 bytes]
    #[arg(long, value_name = "TEXT", value_parser = Text::unescaped)]
    send: Option<Text>,
    /// How a right answer begins, written the same way
    #[arg(long, value_name = "PREFIX", value_parser = Text::unescaped, default_value = "ok")]
    expect: Text,
    /// The port that the server always listens on, if {port} cannot tell it another
    #[arg(long, value_parser = number(1, u16::MAX))]
    pub port: Option<u16>,
    /// How long the server is given for each answer
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds_up_to(600))]
    pub timeout: Duration,
    /// How the findings are printed
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// Print what is done, step by step
    #[arg(long)]
    pub verbose: bool,
    /// The server, and its arguments; {port} in one becomes the port
    #[arg(last = true, value_name = "SERVER", required_unless_present = "list")]
    pub server: Vec<OsString>,
}

/// How findings are printed.
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
    /// What a client says.
    pub fn send(&self) -> &[u8] {
        self.send.as_ref().map_or(Text::OF_THE_TUTORIAL, |text| &text.0)
    }

    /// How a right answer begins.
    pub fn expect(&self) -> &[u8] {
        &self.expect.0
    }

    /// Why this cannot be meant, if clap does not see it.
    pub fn fault(&self) -> Option<&'static str> {
        let told = self.server.iter().any(|word| word.to_string_lossy().contains("{port}"));
        let why = "no word of the server's has {port} in it, and no --port N says where it always listens";
        (!self.list && self.port.is_none() && !told).then_some(why)
    }
}
