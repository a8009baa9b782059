//! The machine and the versions of the servers.

use std::fs;
use std::process::Command;

use crate::servers::EXEC;
use crate::usage::processors;

/// A paragraph that describes them.
pub fn describe() -> String {
    let mut packages: Vec<String> = EXEC.iter().filter_map(|server| server.version()).collect();
    packages.dedup();
    format!(
        "{}, {} processors ({}), {}, {}; {}.\nLoad average at the start: {}.\n",
        first_line("date", &["-u", "+%Y-%m-%d"]),
        processors(),
        after_colon("/proc/cpuinfo", "model name").unwrap_or_default(),
        first_line("uname", &["-srm"]),
        first_line("rustc", &["--version"]),
        packages.join(", "),
        load_average()
    )
}

/// The load averages of the last 1, 5 and 15 minutes.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().into()
}

fn after_colon(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().into())
}
