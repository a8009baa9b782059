//! Tests every lab, which is a folder in `labs`: its patch applies, its server builds, `prise check` finds the lab's
//! mistake and no other, and the commands in its README print what the README shows.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use support::console::{Session, blocks, commands, matches_shown, shell};
use support::{listens, read_file, root, without_make_variables};

const PRISE: &str = env!("CARGO_BIN_EXE_prise");

/// How long a command of a README may take; examinations take longest.
const PATIENCE: Duration = Duration::from_secs(150);

/// The tools that the READMEs use, with their Debian packages.
const TOOLS: &[(&str, &str)] = &[
    ("nc", "netcat-openbsd"),
    ("patch", "patch"),
    ("pkill", "procps"),
    ("prlimit", "util-linux"),
    ("ps", "procps"),
    ("strace", "strace"),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // an examination mostly waits, so run several at a time
    arguments.test_threads = arguments.test_threads.or(Some(6));
    let mut trials: Vec<Trial> = labs()
        .into_iter()
        .map(|lab| Trial::test(format!("lab {}", lab.name), move || lab.check_readme()))
        .collect();
    trials.push(Trial::test("every_patch_applies_exactly_and_removes_the_comment_about_its_lab", || {
        labs().iter().try_for_each(Lab::check_patch)
    }));
    trials.push(Trial::test("a_repaired_lab_holds_every_check", repaired_holds_every_check));
    trials.push(Trial::test("every_lab_is_in_the_index_and_in_the_list_of_make_lab", every_lab_is_listed));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A folder in `labs`.
struct Lab {
    name: String,
    title: String,
    /// The check that its server fails.
    check: String,
    readme: String,
}

fn labs() -> Vec<Lab> {
    let entries = fs::read_dir(root().join("labs")).expect("there are labs");
    let folders = entries.map(|entry| entry.expect("labs can be read")).filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert!(!names.is_empty());
    names.into_iter().map(Lab::new).collect()
}

impl Lab {
    fn new(name: String) -> Lab {
        let readme = fs::read_to_string(root().join("labs").join(&name).join("README.md"))
            .unwrap_or_else(|_| panic!("labs/{name} has no README.md"));
        let title = readme.lines().next().and_then(|line| line.strip_prefix(&format!("# {name}: ")));
        let title = title.unwrap_or_else(|| panic!("labs/{name}/README.md begins with \"# {name}: TITLE\""));
        let check = readme.lines().find_map(|line| line.strip_prefix("Fails: `")?.strip_suffix('`'));
        let check = check.unwrap_or_else(|| panic!("labs/{name}/README.md has no line \"Fails: `CHECK`\""));
        Lab { title: title.to_string(), check: check.to_string(), name, readme }
    }

    /// The patch applies to the present source without offset or fuzz. The patched source does not name the lab: in
    /// robust.c, the comment of the step that prevents the mistake does.
    fn check_patch(&self) -> Result<(), Failed> {
        if !support::has("patch", "patch") {
            return Ok(());
        }
        // if the patch does not apply, patch(1) leaves more files in this folder
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let patched = folder.path().join("robust.c");
        let mut patch = Command::new("patch");
        patch.args(["-f", "-F0", "-o"]).arg(&patched).arg(root().join("c/server/robust.c"));
        let output =
            patch.arg(root().join("labs").join(&self.name).join("bug.patch")).current_dir(root()).output()?;
        let message = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || ["offset", "fuzz"].iter().any(|word| message.contains(word)) {
            return Err(format!("labs/{}/bug.patch: {message}", self.name).into());
        }
        let source = fs::read_to_string(&patched)?;
        match source.lines().find(|line| line.contains(&self.name)) {
            Some(line) => Err(format!("labs/{}/bug.patch does not remove {line:?}", self.name).into()),
            None => Ok(()),
        }
    }

    /// Run the commands of its README from top to bottom, with the test's own copy and port.
    fn check_readme(&self) -> Result<(), Failed> {
        assert!(self.readme.lines().count() <= 60, "the README is longer than 60 lines");
        let folder = root().join("labs").join(&self.name);
        for link in self.readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(folder.join(link).exists(), "{link} does not exist");
        }
        let transcript: Vec<_> = blocks(&format!("labs/{}/README.md", self.name), "console")
            .iter()
            .flat_map(|block| commands(block))
            .collect();
        if !has_all(&transcript) {
            return Ok(());
        }
        let stage = Stage::new();
        let mut session = stage.session();
        let make_lab = format!("make lab NAME={}", self.name);
        let mut failed = None;
        for (command, shown) in transcript {
            let seen = stage.run(&mut session, &command);
            if command == make_lab {
                failed = Some(failed_checks(&seen));
            }
            if !matches_shown(&seen, &shown) {
                return Err(format!("$ {command}\nshown:\n{shown}\nseen:\n{seen}").into());
            }
        }
        assert_eq!(
            failed,
            Some(vec![self.check.clone()]),
            "the checks that fail in `{make_lab}` of the README"
        );
        Ok(())
    }
}

/// Whether all tools that the commands use are installed.
fn has_all(transcript: &[(String, String)]) -> bool {
    let uses = |tool: &str| {
        let mut words =
            transcript.iter().flat_map(|(command, _)| command.split(|c: char| !c.is_alphanumeric()));
        words.any(|word| word == tool)
    };
    // `make lab` uses patch, although no README names it
    TOOLS
        .iter()
        .filter(|(tool, _)| *tool == "patch" || uses(tool))
        .all(|(tool, package)| support::has(tool, package))
}

/// The names of the failed checks in a report.
fn failed_checks(report: &str) -> Vec<String> {
    let lines = report.lines().filter_map(|line| line.strip_prefix("  FAILS   "));
    lines.filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
}

/// The surroundings of a README's commands: the test's own folder stands for `target/labs`, a free port for 8888.
struct Stage {
    folder: tempfile::TempDir,
    port: u16,
}

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("target/tmp can be written");
        // a server without htons() binds the port with swapped bytes, which must not be a privileged port
        let port = std::iter::repeat_with(support::free_port).find(|port| port.swap_bytes() >= 1024);
        Stage { folder, port: port.expect("the iterator is endless") }
    }

    /// The folder that stands for `target/labs`.
    fn labs(&self) -> PathBuf {
        self.folder.path().join("labs")
    }

    fn session(&self) -> Session {
        let mut shell = shell(PRISE);
        without_make_variables(shell.env("LABS", self.labs()).env("PRISE", PRISE));
        Session::new(shell)
    }

    /// Run a command, and give its output as the README would show it. If it starts a server in the background, wait
    /// until the server listens.
    #[track_caller]
    fn run(&self, session: &mut Session, command: &str) -> String {
        let ports = [("8888", self.port), ("47138", self.port.swap_bytes())];
        let labs = self.labs().display().to_string();
        let ours = ports.iter().fold(command.replace("target/labs", &labs), |command, (shown, port)| {
            command.replace(shown, &port.to_string())
        });
        let printed = session.run(&ours, PATIENCE);
        if command.contains("/server --port") && command.contains(" & ") {
            let what = format!("the server listens on one of {ports:?}; it has printed: {printed}");
            support::wait_until(&what, || ports.iter().any(|(_, port)| listens(*port)));
        }
        ports.iter().fold(printed.replace(&labs, "target/labs"), |printed, (shown, port)| {
            printed.replace(&port.to_string(), shown)
        })
    }
}

/// A reader repairs the mistake: every check then holds, and `make lab` keeps the repaired copy.
fn repaired_holds_every_check() -> Result<(), Failed> {
    if !support::has("patch", "patch") {
        return Ok(());
    }
    let stage = Stage::new();
    let mut session = stage.session();
    let make = format!("make -s {}/no-reap/server", stage.labs().display());
    assert_eq!(stage.run(&mut session, &make), "");
    // a lab's copy holds no other program
    assert_eq!(stage.run(&mut session, "ls target/labs/no-reap/c/*/"), "robust.c\n");
    let unpatch = "patch -s -R -p1 -d target/labs/no-reap <labs/no-reap/bug.patch";
    assert_eq!(stage.run(&mut session, unpatch), "");
    let report = stage.run(&mut session, "make lab NAME=no-reap; echo $?");
    assert!(report.ends_with("\nno-reap is mended.\n0\n"), "{report}");
    assert_eq!(failed_checks(&report), [""; 0], "{report}");
    Ok(())
}

/// The index, and the list that `make lab` prints without a name or with a wrong one, agree with the folders.
fn every_lab_is_listed() -> Result<(), Failed> {
    let index = read_file("labs/README.md");
    let linked: BTreeSet<&str> =
        index.lines().filter_map(|line| line.strip_prefix("| [")?.split(']').next()).collect();
    let labs = labs();
    assert_eq!(linked, labs.iter().map(|lab| lab.name.as_str()).collect(), "labs/README.md");
    let stage = Stage::new();
    let mut session = stage.session();
    for command in ["make lab", "make lab NAME=no-such-lab"] {
        let list = stage.run(&mut session, command);
        for lab in &labs {
            let row = format!("| [{}]({}/README.md) | `{}` |", lab.name, lab.name, lab.check);
            assert!(index.contains(&row), "labs/README.md has no row {row:?}");
            let line = format!("  {:<22}{}\n", lab.name, lab.title);
            assert!(list.contains(&line), "$ {command}\n{list}\nwithout {line:?}");
        }
    }
    Ok(())
}
