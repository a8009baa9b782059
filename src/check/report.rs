//! Prints the findings: for people, as TAP, or as JSON.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use crate::check::list::Check;
use crate::check::options::{Format, Options};
use crate::check::verdict::Verdict;
use crate::error::Error;
use crate::stdio::{say, say_on_stderr};

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

/// Prints each finding when its check ends (JSON: all at the end).
pub struct Report<'a> {
    options: &'a Options,
    checks: usize,
    /// The width of the column with the names.
    width: usize,
    /// Whether to show the running check: only on a terminal.
    terminal: bool,
    /// Whether to print colours: only on a terminal, unless NO_COLOR is set.
    colours: bool,
    held: usize,
    failed: usize,
    not_observable: usize,
    json: Vec<String>,
}

impl<'a> Report<'a> {
    /// Start a report: print its header.
    pub fn new(options: &'a Options, checks: &[&Check]) -> Report<'a> {
        let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0) + 2;
        let checks = checks.len();
        let terminal = stdout().is_terminal() && options.format == Format::Human && !options.verbose;
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colours =
            terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let report = Report {
            options,
            checks,
            width,
            terminal,
            colours,
            held: 0,
            failed: 0,
            not_observable: 0,
            json: Vec::new(),
        };
        match options.format {
            Format::Human => say!("{}\n\n", report.server()),
            Format::Tap => say!("TAP version 13\n1..{checks}\n"),
            Format::Json => {}
        }
        report
    }

    fn server(&self) -> String {
        self.options.server.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Show, on a terminal or with --verbose, which check starts now.
    pub fn begins(&self, check: &Check) {
        if self.terminal {
            say!("  …       {}", check.name);
        } else if self.options.verbose {
            match self.options.format {
                Format::Human => say!("# {}\n", check.name),
                Format::Tap | Format::Json => say_on_stderr(format_args!("# {}", check.name)),
            }
        }
    }

    /// The word in an ECMA-48 colour, if colours are enabled.
    fn coloured(&self, colour: u8, word: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{word}\x1b[m") } else { word.into() }
    }

    /// Report the verdict of a check.
    pub fn found(&mut self, check: &Check, verdict: &Verdict, took: Duration, steps: &[String]) {
        match verdict {
            Verdict::Holds(_) => self.held += 1,
            Verdict::Fails(_) => self.failed += 1,
            Verdict::NotObservable(_) => self.not_observable += 1,
        }
        match self.options.format {
            Format::Human => self.human(check, verdict),
            Format::Tap => self.tap(check, verdict),
            Format::Json => self.json.push(json(check, verdict, took, steps)),
        }
    }

    fn human(&self, check: &Check, verdict: &Verdict) {
        let name = format!("{:<1$}", check.name, self.width);
        if self.terminal {
            say!("\r\x1b[K");
        }
        match verdict {
            Verdict::Holds(seen) => say!("  {}   {name}{seen}\n", self.coloured(GREEN, "holds")),
            Verdict::NotObservable(why) => {
                say!("  {}  {name}not observable here: {why}\n", self.coloured(YELLOW, "unseen"))
            }
            Verdict::Fails(failure) => {
                say!("  {}   {name}{}\n", self.coloured(RED, "FAILS"), check.claim);
                say!("            expected  {}\n", failure.expected);
                say!("            seen      {}\n", failure.seen);
                say!("            why       {}\n", failure.why.unwrap_or(check.why));
                say!("            mend      {}\n", failure.mend.unwrap_or(check.mend));
                say!("            read      {}\n", check.page);
            }
        }
    }

    fn tap(&self, check: &Check, verdict: &Verdict) {
        let number = self.completed();
        match verdict {
            Verdict::Holds(_) => say!("ok {number} - {}\n", check.name),
            Verdict::NotObservable(why) => say!("ok {number} - {} # SKIP {why}\n", check.name),
            Verdict::Fails(failure) => {
                say!("not ok {number} - {}\n  ---\n", check.name);
                for (key, text) in [
                    ("claim", check.claim),
                    ("expected", &failure.expected),
                    ("seen", &failure.seen),
                    ("why", failure.why.unwrap_or(check.why)),
                    ("mend", failure.mend.unwrap_or(check.mend)),
                    ("read", check.page),
                ] {
                    say!("  {key}: {}\n", quoted(text));
                }
                say!("  ...\n");
            }
        }
    }

    fn completed(&self) -> usize {
        self.held + self.failed + self.not_observable
    }

    /// End the report early, for this reason; it sums up the checks that were completed.
    pub fn cut_short(&self, why: &Error) {
        if self.terminal {
            say!("\r\x1b[K");
        }
        match self.options.format {
            Format::Human if self.completed() == 0 => {}
            Format::Tap => say!("Bail out! {why}\n"),
            Format::Human | Format::Json => self.sum_up(Some(why)),
        }
    }

    /// End the report after all checks; returns whether any failed.
    pub fn end(&self) -> bool {
        self.sum_up(None);
        self.failed > 0
    }

    fn sum_up(&self, cut_short: Option<&Error>) {
        let summary =
            format!("{} hold, {} fail, {} not observable here", self.held, self.failed, self.not_observable);
        match self.options.format {
            Format::Human if cut_short.is_some() => {
                say!("\n{} of {} checks: {summary}\n", self.completed(), self.checks)
            }
            Format::Human if self.checks == 1 => say!("\n1 check: {summary}\n"),
            Format::Human => say!("\n{} checks: {summary}\n", self.checks),
            Format::Tap => say!("# {summary}\n"),
            Format::Json => {
                say!(
                    "{{\"server\":{},\"holds\":{},\"fails\":{},",
                    quoted(&self.server()),
                    self.held,
                    self.failed
                );
                if let Some(why) = cut_short {
                    say!("\"cut_short\":{},", quoted(&why.to_string()));
                }
                say!(
                    "\"not_observable\":{},\"checks\":[\n{}\n]}}\n",
                    self.not_observable,
                    self.json.join(",\n")
                );
            }
        }
    }
}

fn json(check: &Check, verdict: &Verdict, took: Duration, steps: &[String]) -> String {
    let mut fields = vec![
        ("name", quoted(check.name)),
        ("claim", quoted(check.claim)),
        ("verdict", quoted(&verdict.to_string())),
        ("seconds", format!("{:.3}", took.as_secs_f64())),
    ];
    match verdict {
        Verdict::Holds(seen) => fields.push(("seen", quoted(seen))),
        Verdict::NotObservable(why) => fields.push(("reason", quoted(why))),
        Verdict::Fails(_) => {}
    }
    if let Some(failure) = verdict.failure() {
        fields.push(("expected", quoted(&failure.expected)));
        fields.push(("seen", quoted(&failure.seen)));
        fields.extend([
            ("why", quoted(failure.why.unwrap_or(check.why))),
            ("mend", quoted(failure.mend.unwrap_or(check.mend))),
            ("read", quoted(check.page)),
        ]);
    }
    let steps: Vec<String> = steps.iter().map(|step| quoted(step)).collect();
    fields.push(("steps", format!("[{}]", steps.join(","))));
    let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// A JSON string, which is also valid YAML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c < ' ' || c == '\x7f' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
