//! Runs `prise check` as a process, and reads its findings.

use std::process::Command;

/// The result of an examination.
pub struct Findings {
    /// The exit status.
    pub code: Option<i32>,
    /// The report.
    pub stdout: String,
    /// The error messages.
    pub stderr: String,
}

impl Findings {
    /// The names of the failed checks.
    pub fn failed(&self) -> Vec<&str> {
        let lines = self.stdout.lines().filter_map(|line| line.strip_prefix("not ok "));
        lines.filter_map(|line| line.split(" - ").nth(1)).collect()
    }

    /// The names of the skipped checks: not observable here.
    pub fn unseen(&self) -> Vec<&str> {
        let lines = self
            .stdout
            .lines()
            .filter_map(|line| line.split(" # SKIP").next().filter(|_| line.contains(" # SKIP")));
        lines.filter_map(|line| line.split(" - ").nth(1)).collect()
    }
}

/// Examine a server.
pub fn check(options: &[&str], server: &[&str]) -> Findings {
    super::unignore_signals();
    let output = Command::new(env!("CARGO_BIN_EXE_prise"))
        .arg("check")
        .args(options)
        .arg("--")
        .args(server)
        .output()
        .expect("prise runs");
    Findings {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
