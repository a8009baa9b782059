//! The pairs of programs, and the columns of items that are compared.

use std::collections::BTreeSet;
use std::fs;

use crate::columns::{Column, differences};
use crate::source::{Function, Item, Kind, Side, Source};
use crate::support::root;
use crate::tables::{IN_FFI, Only, Rule, RustOnly, translated};

/// A program and its twin.
pub struct Pair {
    pub name: String,
    pub c: Source,
    pub rust: Source,
}

/// The names of the programs in one language: `client/connect`, …
pub fn programs(side: Side) -> BTreeSet<String> {
    let (top, extension) = if side == Side::C { ("c", "c") } else { ("src", "rs") };
    let mut programs = BTreeSet::new();
    for folder in ["client", "server"] {
        for entry in fs::read_dir(root().join(top).join(folder)).expect("the programs' folder can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            if path.extension().is_some_and(|found| found == extension)
                && !["mod", "options"].contains(&name.as_str())
            {
                programs.insert(format!("{folder}/{name}"));
            }
        }
    }
    programs
}

/// The differences between the names of the programs in both languages.
pub fn without_twin(c: &BTreeSet<String>, rust: &BTreeSet<String>) -> Option<String> {
    let column = |path: &str, names: &BTreeSet<String>| {
        let item = |(i, name): (usize, &String)| Item::new(Kind::Function, i + 1, name, name);
        Column { path: path.into(), items: names.iter().enumerate().map(item).collect() }
    };
    differences("the programs", &column("c", c), &column("src", rust))
}

/// All programs that have a twin.
pub fn twins() -> Vec<Pair> {
    let read = |name: &String| Pair {
        name: name.clone(),
        c: Source::read(Side::C, &format!("c/{name}.c")),
        rust: Source::read(Side::Rust, &format!("src/{name}.rs")),
    };
    programs(Side::C).intersection(&programs(Side::Rust)).map(read).collect()
}

/// The same; functions that Rust has in src/ffi/signals.rs are separate pairs.
pub fn pairs() -> Vec<Pair> {
    let mut pairs = twins();
    for (program, name, _why) in IN_FFI {
        let pair = pairs.iter_mut().find(|pair| pair.name == *program).expect("the table names a program");
        let c = pair.c.split_off(name);
        let rust = Source::read(Side::Rust, "src/ffi/signals.rs").split_off(name);
        pairs.push(Pair { name: (*program).into(), c, rust });
    }
    pairs
}

/// The differences between each program and its twin.
pub fn differing(pairs: &[Pair], what: &str, items: impl Fn(&Pair, &Source) -> Vec<Item>) -> Vec<String> {
    let column =
        |pair: &Pair, source: &Source| Column { path: source.path.clone(), items: items(pair, source) };
    let differing = |pair: &Pair| {
        let what = format!("{}: {what}", pair.name);
        differences(&what, &column(pair, &pair.c), &column(pair, &pair.rust))
    };
    pairs.iter().filter_map(differing).collect()
}

pub fn functions(_: &Pair, source: &Source) -> Vec<Item> {
    source.items(&[Kind::Function])
}

pub fn steps(_: &Pair, source: &Source) -> Vec<Item> {
    without_runtime_remarks(source.items(&[Kind::Function, Kind::Comment]))
}

pub fn calls(rules: &[&Rule], pair: &Pair, source: &Source) -> Vec<Item> {
    translated(
        &pair.name,
        source.side,
        without_runtime_remarks(source.items(&[Kind::Function, Kind::Comment, Kind::Call])),
        rules,
    )
}

/// Remove the comments that only Rust has: about the differences of its run time.
fn without_runtime_remarks(mut items: Vec<Item>) -> Vec<Item> {
    items.retain(|item| !(item.kind == Kind::Comment && item.text.starts_with("// Differs (d): ")));
    items
}

pub fn printed(_: &Pair, source: &Source) -> Vec<Item> {
    source.items(&[Kind::Function, Kind::Printed])
}

/// The items of one kind, sorted in each function, because their order may differ. Items that the table allows on one
/// side only are left out.
pub fn sorted(kind: Kind, table: &[&Only], pair: &Pair, source: &Source) -> Vec<Item> {
    let of_function = |function: &Function| {
        let place = format!("{} {}", pair.name, function.name);
        let applies = |only: &&&Only, item: &Item| {
            only.side == source.side && place.contains(only.place) && only.key == item.key
        };
        let shared = |item: &&Item| item.kind == kind && !table.iter().any(|only| applies(&only, item));
        let mut items: Vec<_> = function.items.iter().filter(shared).cloned().collect();
        items.sort_by(|a, b| a.key.cmp(&b.key));
        items.dedup_by(|a, b| a.key == b.key);
        items.insert(0, function.items[0].clone());
        items
    };
    source.functions.iter().flat_map(of_function).collect()
}

/// The public functions of a Rust file, and the functions of the same names in C; the C header has helpers, too.
pub fn public_functions(table: &[&RustOnly], pair: &Pair, source: &Source) -> Vec<Item> {
    let public = pair.rust.functions.iter().filter(|function| function.public);
    let shared = public.filter(|function| !table.iter().any(|only| only.function == function.name));
    let keys: Vec<_> = shared.map(|function| &function.items[0].key).collect();
    let mut items = source.items(&[Kind::Function]);
    items.retain(|item| keys.contains(&&item.key));
    items
}

/// The entries of a table that are not needed: without one of them, there is no difference either.
pub fn unneeded<'a, T>(table: &'a [T], differing: impl Fn(&[&'a T]) -> Vec<String>) -> Vec<&'a T> {
    let others = |left_out: usize| {
        let entries = table.iter().enumerate().filter(|(i, _)| *i != left_out);
        entries.map(|(_, entry)| entry).collect::<Vec<_>>()
    };
    let unneeded = table.iter().enumerate().filter(|(i, _)| differing(&others(*i)).is_empty());
    unneeded.map(|(_, entry)| entry).collect()
}
