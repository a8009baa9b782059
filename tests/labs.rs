//! Every lab: its patch applies, its server builds, the examiner finds the mistake that the lab is about and no
//! other, and what its README shows is what happens. A lab is a folder in `labs`; no list of them is here.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use support::console::{Session, blocks, commands, looks_like, shell};
use support::{apart_from_make, root};

const PRISE: &str = env!("CARGO_BIN_EXE_prise");

/// How long a command of a README may take; an examination is the longest.
const PATIENCE: Duration = Duration::from_secs(150);

/// What the READMEs use, and the packages of Debian that have it.
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
    // an examination waits more than it works
    arguments.test_threads = arguments.test_threads.or(Some(6));
    let mut trials: Vec<Trial> = labs()
        .into_iter()
        .map(|lab| Trial::test(format!("lab {}", lab.name), move || lab.is_as_it_says()))
        .collect();
    trials.push(Trial::test("every_patch_fits_line_by_line_and_claims_no_mend_of_its_own_mistake", || {
        labs().iter().try_for_each(Lab::patch_fits)
    }));
    trials.push(Trial::test("a_lab_that_is_mended_holds_every_check", mended_holds_every_check));
    trials.push(Trial::test("every_lab_stands_in_the_index_and_in_the_list", every_lab_is_listed));
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

    /// Its patch is made of today's source: no line of it has moved. What it makes of that source does not name the
    /// lab, as the comment of a step that mends its mistake does.
    fn patch_fits(&self) -> Result<(), Failed> {
        if !support::has("patch", "patch") {
            return Ok(());
        }
        // what does not fit leaves files beside it
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let patched = folder.path().join("robust.c");
        let mut patch = Command::new("patch");
        patch.args(["-f", "-F0", "-o"]).arg(&patched).arg(root().join("c/server/robust.c"));
        let output =
            patch.arg(root().join("labs").join(&self.name).join("bug.patch")).current_dir(root()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || ["offset", "fuzz"].iter().any(|word| said.contains(word)) {
            return Err(format!("labs/{}/bug.patch: {said}", self.name).into());
        }
        let source = fs::read_to_string(&patched)?;
        match source.lines().find(|line| line.contains(&self.name)) {
            Some(line) => Err(format!("labs/{}/bug.patch leaves {line:?}", self.name).into()),
            None => Ok(()),
        }
    }

    /// Run its README from top to bottom, on a copy and a port of this test's own.
    fn is_as_it_says(&self) -> Result<(), Failed> {
        assert!(self.readme.lines().count() <= 60, "the README is longer than a screen or two");
        let folder = root().join("labs").join(&self.name);
        for link in self.readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(folder.join(link).exists(), "{link} is not there");
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
            let seen = stage.tell(&mut session, &command);
            if command == make_lab {
                failed = Some(failing(&seen));
            }
            if !looks_like(&seen, &shown) {
                return Err(format!("$ {command}\nshown:\n{shown}\nseen:\n{seen}").into());
            }
        }
        assert_eq!(
            failed,
            Some(vec![self.check.clone()]),
            "the checks that `{make_lab}` in the README fails"
        );
        Ok(())
    }
}

/// Whether all that the commands use is installed.
fn has_all(transcript: &[(String, String)]) -> bool {
    let uses = |tool: &str| {
        let mut words =
            transcript.iter().flat_map(|(command, _)| command.split(|c: char| !c.is_alphanumeric()));
        words.any(|word| word == tool)
    };
    // make lab calls patch, which no README names
    TOOLS
        .iter()
        .filter(|(tool, _)| *tool == "patch" || uses(tool))
        .all(|(tool, package)| support::has(tool, package))
}

/// The checks that a report calls failed.
fn failing(report: &str) -> Vec<String> {
    let lines = report.lines().filter_map(|line| line.strip_prefix("  FAILS   "));
    lines.filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
}

/// Where a README is run: `target/labs` is a folder of the test's own, and 8888 a port that is free.
struct Stage {
    folder: tempfile::TempDir,
    port: u16,
}

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("target/tmp can be written");
        // a server that forgets htons() wants the other one, which is not to be a privileged port
        let port = std::iter::repeat_with(support::free_port).find(|port| port.swap_bytes() >= 1024);
        Stage { folder, port: port.expect("there is always another") }
    }

    /// `target/labs`
    fn labs(&self) -> PathBuf {
        self.folder.path().join("labs")
    }

    fn session(&self) -> Session {
        let mut shell = shell(PRISE);
        apart_from_make(shell.env("LABS", self.labs()).env("PRISE", PRISE));
        Session::new(shell)
    }

    /// What a command prints; a server that it starts in the background is listening then.
    #[track_caller]
    fn tell(&self, session: &mut Session, command: &str) -> String {
        let ports = [("8888", self.port), ("47138", self.port.swap_bytes())];
        let labs = self.labs().display().to_string();
        let ours = ports.iter().fold(command.replace("target/labs", &labs), |command, (shown, port)| {
            command.replace(shown, &port.to_string())
        });
        let printed = session.tell(&ours, PATIENCE);
        if command.contains("/server --port") && command.contains(" & ") {
            let what = format!("the server listens on {ports:?}; it has printed: {printed}");
            support::wait_until(&what, || ports.iter().any(|(_, port)| listens(*port)));
        }
        ports.iter().fold(printed.replace(&labs, "target/labs"), |printed, (shown, port)| {
            printed.replace(&port.to_string(), shown)
        })
    }
}

/// Whether something listens on a port (Linux). To connect would be to be a client, which leaves its traces.
fn listens(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc can be read");
    let local = format!(":{port:04X}");
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|field| field.ends_with(&local)) && fields.get(3) == Some(&"0A")
    })
}

/// What a reader ends with: the mistake taken out, the examiner content, and the copy kept.
fn mended_holds_every_check() -> Result<(), Failed> {
    if !support::has("patch", "patch") {
        return Ok(());
    }
    let stage = Stage::new();
    let mut session = stage.session();
    let make = format!("make -s {}/no-reap/server", stage.labs().display());
    assert_eq!(stage.tell(&mut session, &make), "");
    // a change of another program is no change of a lab
    assert_eq!(stage.tell(&mut session, "ls target/labs/no-reap/c/*/"), "robust.c\n");
    let unpatch = "patch -s -R -p1 -d target/labs/no-reap <labs/no-reap/bug.patch";
    assert_eq!(stage.tell(&mut session, unpatch), "");
    let report = stage.tell(&mut session, "make lab NAME=no-reap; echo $?");
    assert!(report.ends_with("\nno-reap is mended.\n0\n"), "{report}");
    assert_eq!(failing(&report), [""; 0], "{report}");
    Ok(())
}

/// The index, `make lab` and what it says to a wrong name agree with the folders.
fn every_lab_is_listed() -> Result<(), Failed> {
    let index = fs::read_to_string(root().join("labs/README.md")).expect("there is an index");
    let linked: BTreeSet<&str> =
        index.lines().filter_map(|line| line.strip_prefix("| [")?.split(']').next()).collect();
    let labs = labs();
    assert_eq!(linked, labs.iter().map(|lab| lab.name.as_str()).collect(), "labs/README.md");
    let stage = Stage::new();
    let mut session = stage.session();
    for command in ["make lab", "make lab NAME=no-such-lab"] {
        let list = stage.tell(&mut session, command);
        for lab in &labs {
            let row = format!("| [{}]({}/README.md) | `{}` |", lab.name, lab.name, lab.check);
            assert!(index.contains(&row), "labs/README.md has no row {row:?}");
            let line = format!("  {:<22}{}\n", lab.name, lab.title);
            assert!(list.contains(&line), "$ {command}\n{list}\nwithout {line:?}");
        }
    }
    Ok(())
}
