//! What the documents show of a terminal, run as it stands: fenced `console` blocks of commands, each with
//! what it prints. There, `…` stands for what differs from run to run: any text in a line, any lines alone.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use regex::Regex;

use super::{Running, root, start};

/// What the shell prints after each command of a session: ASCII's record separator.
const SEPARATOR: char = '\x1e';

/// The fenced blocks of a kind in a document, in order.
pub fn blocks(document: &str, kind: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(document)).unwrap_or_else(|_| panic!("there is a {document}"));
    let fence = format!("```{kind}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_string()).collect()
}

/// The commands of a block, each with what it prints.
pub fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.into(), String::new())),
            (None, Some((_, printed))) => printed.push_str(&format!("{line}\n")),
            (None, None) => panic!("a console block begins with a command, not with {line:?}"),
        }
    }
    commands
}

/// A shell that finds `prise` where cargo has built it.
pub fn shell(prise: &str) -> Command {
    let programs = Path::new(prise).parent().expect("it is in a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.env("PATH", format!("{}:{path}", programs.display())).current_dir(root());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// Whether this is what a document shows.
pub fn looks_like(seen: &str, shown: &str) -> bool {
    // columns are as wide as what stands in them that day
    let columns = Regex::new(" {2,}").expect("a pattern");
    let line = |line: &str| match line {
        "…" => "(?:.*\n)*?".to_string(),
        text => format!("{}\n", columns.replace_all(&regex::escape(text), " {2,}").replace('…', ".*?")),
    };
    let pattern: String = shown.trim_end_matches('\n').lines().map(line).collect();
    let seen = seen.trim_end_matches('\n');
    // a last line without a newline looks the same, and no line at all is none
    let seen = if seen.is_empty() { String::new() } else { format!("{seen}\n") };
    Regex::new(&format!("^{pattern}$")).expect("a pattern").is_match(&seen)
}

/// A shell that is told one command after the other, as at a terminal. What it started and left ends with it.
pub struct Session {
    shell: Running,
    stdin: ChildStdin,
    told: usize,
}

impl Session {
    /// Begin.
    pub fn new(mut shell: Command) -> Session {
        let mut shell = start(shell.arg("-s").stdin(Stdio::piped()));
        let mut stdin = shell.stdin();
        writeln!(stdin, "exec 2>&1").expect("the shell reads");
        Session { shell, stdin, told: 0 }
    }

    /// What a command prints, on stdout and stderr, until the shell is ready for the next.
    #[track_caller]
    pub fn tell(&mut self, command: &str, patience: Duration) -> String {
        // the shell's own stdin holds the commands to come, which are not for this one
        write!(self.stdin, "{{ {command}\n}} </dev/null\nprintf '\\036'\n").expect("the shell reads");
        self.told += 1;
        let deadline = Instant::now() + patience;
        loop {
            let printed = self.shell.stdout();
            if printed.matches(SEPARATOR).count() >= self.told {
                return printed.split(SEPARATOR).nth(self.told - 1).unwrap_or_default().to_string();
            }
            assert!(Instant::now() < deadline, "not within {patience:?}: $ {command}\n{printed}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // an examiner that is told to end leaves no server behind
        let group = Pid::from_raw(self.shell.pid() as i32);
        let _ = killpg(group, Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.shell.try_wait().is_none() || (killpg(group, None).is_ok() && Instant::now() < deadline) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
