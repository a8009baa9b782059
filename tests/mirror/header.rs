//! A program's header of three lines: its name and one sentence, its usage, and its twin with the program to read next.

use std::path::{Component, Path, PathBuf};

use crate::source::{Item, Kind, Side, Source};
use crate::support::root;

/// The comment lines at the beginning of a file.
fn first_comment(source: &Source) -> Vec<&str> {
    let mark = if source.side == Side::C { "// " } else { "//! " };
    source.text.lines().map_while(|line| line.strip_prefix(mark)).collect()
}

/// The program of a path: `server/fork` for `c/server/fork.c`.
pub fn program(path: &str) -> String {
    let path = Path::new(path).with_extension("");
    path.components().skip(1).collect::<PathBuf>().display().to_string()
}

/// The path of a program's twin.
fn twin(source: &Source) -> String {
    match source.side {
        Side::C => format!("src/{}.rs", program(&source.path)),
        Side::Rust => format!("c/{}.c", program(&source.path)),
    }
}

/// The header as items, one a line. A wrong line gets a key that its twin cannot have.
pub fn header(source: &Source) -> Vec<Item> {
    let lines = first_comment(source);
    let expected = [first_line, usage_line, last_line];
    let key = |i: usize| expected.get(i).and_then(|key| key(source, lines[i]));
    let item = |i: usize| match key(i) {
        Some(key) => Item::new(Kind::Comment, i + 1, lines[i], &key),
        None => Item::new(Kind::Comment, i + 1, lines[i], &format!("{} {}", source.path, lines[i])),
    };
    (0..lines.len()).map(item).collect()
}

/// `fork: a server that forks one process per client.`
fn first_line(source: &Source, line: &str) -> Option<String> {
    let name = Path::new(&source.path).file_stem()?.to_str()?;
    (line.starts_with(&format!("{name}: ")) && line.ends_with('.')).then(|| line.into())
}

/// `Usage: fork …` in C, `Usage: prise server fork …` in Rust. The arguments may differ: C has positional arguments,
/// Rust has options.
fn usage_line(source: &Source, line: &str) -> Option<String> {
    let program = program(&source.path);
    let (folder, name) = program.split_once('/')?;
    // rustdoc would take brackets for links
    let (command, end) =
        if source.side == Side::C { (name.into(), "") } else { (format!("`prise {folder} {name}"), "`") };
    let options = line.strip_prefix(&format!("Usage: {command}"))?.strip_suffix(end)?;
    (options.is_empty() || options.starts_with(' ')).then(|| format!("Usage: {name}"))
}

/// `Twin: PATH. Next: FILE` or `Twin: PATH. Read before: FILE, why`.
fn last_line(source: &Source, line: &str) -> Option<String> {
    let rest = line.strip_prefix(&format!("Twin: {}. ", twin(source)))?;
    let (word, file, remark) = pointer(rest)?;
    let path = resolved(source, file);
    root().join(&path).is_file().then(|| format!("Twin. {word}: {}{remark}", program(&path)))
}

/// The parts of `Read before: ../server/fork.c, the server for it`: the words before the colon, the file, the remark.
fn pointer(text: &str) -> Option<(&str, &str, &str)> {
    let (word, rest) = text.split_once(": ").filter(|(word, _)| ["Next", "Read before"].contains(word))?;
    let (file, remark) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
    Some((word, file, remark))
}

/// Convert a path relative to a program's folder to one relative to the crate.
fn resolved(source: &Source, file: &str) -> String {
    let mut path = Path::new(&source.path).parent().expect("a program has a folder").to_path_buf();
    for component in Path::new(file).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    path.display().to_string()
}

/// The program to read next, according to a header.
pub fn next(source: &Source) -> Option<String> {
    let (_, rest) = first_comment(source).get(2)?.split_once(". ")?;
    let (word, file, _) = pointer(rest)?;
    (word == "Next").then(|| program(&resolved(source, file)))
}
