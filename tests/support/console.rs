//! Runs the commands that the documents show in fenced `console` blocks, and compares their output with the output
//! shown. `…` in the document matches any text within a line; alone on a line, it matches any number of lines.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use regex::Regex;

use super::{Running, holds_within, read_file, root, start};

/// The shell prints this after each command of a session: ASCII's record separator.
const SEPARATOR: char = '\x1e';

/// The fenced blocks of one kind in a document, in order.
pub fn blocks(document: &str, kind: &str) -> Vec<String> {
    let text = read_file(document);
    let fence = format!("```{kind}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_string()).collect()
}

/// The commands of a block, each with its output.
pub fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.into(), String::new())),
            (None, Some((_, printed))) => printed.push_str(&format!("{line}\n")),
            (None, None) => panic!("a console block must begin with a command, not with {line:?}"),
        }
    }
    commands
}

/// A shell with `prise`, as cargo built it, first in its PATH.
pub fn shell(prise: &str) -> Command {
    let programs = Path::new(prise).parent().expect("the program is in a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.env("PATH", format!("{}:{path}", programs.display())).current_dir(root());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// Whether a command's output matches the output that a document shows.
pub fn matches_shown(seen: &str, shown: &str) -> bool {
    // the width of columns depends on their content
    let columns = Regex::new(" {2,}").expect("a pattern");
    let line = |line: &str| match line {
        "…" => "(?:.*\n)*?".to_string(),
        text => format!("{}\n", columns.replace_all(&regex::escape(text), " {2,}").replace('…', ".*?")),
    };
    let pattern: String = shown.trim_end_matches('\n').lines().map(line).collect();
    let seen = seen.trim_end_matches('\n');
    // the last line may lack its newline; empty output has no line
    let seen = if seen.is_empty() { String::new() } else { format!("{seen}\n") };
    Regex::new(&format!("^{pattern}$")).expect("a pattern").is_match(&seen)
}

/// A shell that runs one command after the other, as at a terminal. Dropping it ends the processes that it left behind.
pub struct Session {
    shell: Running,
    stdin: ChildStdin,
    commands: usize,
}

impl Session {
    /// Start the shell.
    pub fn new(mut shell: Command) -> Session {
        let mut shell = start(shell.arg("-s").stdin(Stdio::piped()));
        let mut stdin = shell.stdin();
        writeln!(stdin, "exec 2>&1").expect("the shell reads");
        Session { shell, stdin, commands: 0 }
    }

    /// Run a command, and give its stdout and stderr once the shell is ready for the next command.
    #[track_caller]
    pub fn run(&mut self, command: &str, patience: Duration) -> String {
        // the command must not read the shell's stdin, which carries the next commands
        write!(self.stdin, "{{ {command}\n}} </dev/null\nprintf '\\036'\n").expect("the shell reads");
        self.commands += 1;
        let deadline = Instant::now() + patience;
        loop {
            let printed = self.shell.stdout();
            if printed.matches(SEPARATOR).count() >= self.commands {
                return printed.split(SEPARATOR).nth(self.commands - 1).unwrap_or_default().to_string();
            }
            assert!(Instant::now() < deadline, "not within {patience:?}: $ {command}\n{printed}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SIGTERM first: `prise check` then ends the server that it examines
        let group = Pid::from_raw(self.shell.pid() as i32);
        let _ = killpg(group, Signal::SIGTERM);
        // the shell may end before the other processes of its group; what is left then is killed with `shell`
        holds_within(Duration::from_secs(5), || {
            self.shell.try_wait().is_some() && killpg(group, None).is_err()
        });
    }
}
