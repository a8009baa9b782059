//! Compares each Rust program with its C twin: the same step comments, functions, calls in the same order, names and
//! texts. tests/mirror/tables.rs lists the differences that are allowed.

mod support;

#[path = "mirror/altered.rs"]
mod altered;
#[path = "mirror/columns.rs"]
mod columns;
#[path = "mirror/header.rs"]
mod header;
#[path = "mirror/pairs.rs"]
mod pairs;
#[path = "mirror/shown.rs"]
mod shown;
#[path = "mirror/source.rs"]
mod source;
#[path = "mirror/tables.rs"]
mod tables;

use pairs::{
    Pair, calls, differing, functions, pairs, printed, programs, public_functions, sorted, steps, twins,
    unneeded, without_twin,
};
use source::{Kind, Side, Source};
use tables::{CALLS, NOT_IN_HEADER, Only, RustOnly, TEXTS, VARIABLES};

#[track_caller]
fn assert_none(differences: impl IntoIterator<Item = String>) {
    let text = differences.into_iter().collect::<Vec<_>>().join("\n");
    assert!(text.is_empty(), "the C and the Rust differ\n\n{text}");
}

#[test]
fn every_program_has_a_twin() {
    assert_none(without_twin(&programs(Side::C), &programs(Side::Rust)));
    assert!(!programs(Side::C).is_empty());
}

#[test]
fn twins_have_the_same_functions_in_the_same_order() {
    assert_none(differing(&pairs(), "the functions", functions));
}

#[test]
fn twins_have_the_same_step_comments_word_for_word() {
    assert_none(differing(&pairs(), "the comments in functions", steps));
}

#[test]
fn twins_make_the_same_calls_in_the_same_order_under_each_step() {
    let rules: Vec<_> = CALLS.iter().collect();
    assert_none(differing(&pairs(), "the calls", |pair, source| calls(&rules, pair, source)));
}

#[test]
fn the_c_of_robust_begins_with_what_rust_does_before_main() {
    let begins = |source: &Source| {
        let main = source.functions.iter().find(|function| function.name == "main");
        let items = &main.unwrap_or_else(|| panic!("{} has no main", source.path)).items;
        let mut calls = items.iter().filter(|item| item.kind == Kind::Call).map(|item| item.text.as_str());
        calls.next() == Some("start()") && calls.next().is_some_and(|call| call.starts_with("server_args("))
    };
    let late = twins().into_iter().filter(|pair| pair.name == "server/robust" && !begins(&pair.c));
    assert_none(late.map(|pair| format!("{} does not begin with start() and its arguments", pair.c.path)));
}

#[test]
fn twins_print_the_same_lines() {
    assert_none(differing(&pairs(), "what is printed", printed));
}

#[test]
fn twins_contain_the_same_texts() {
    let table: Vec<_> = TEXTS.iter().collect();
    assert_none(differing(&pairs(), "the texts", |pair, source| sorted(Kind::Sent, &table, pair, source)));
}

#[test]
fn twins_have_variables_of_the_same_names() {
    let table: Vec<_> = VARIABLES.iter().collect();
    assert_none(differing(&pairs(), "the variables", |pair, source| {
        sorted(Kind::Variable, &table, pair, source)
    }));
}

#[test]
fn a_default_found_only_in_c_is_a_default_of_rusts_options() {
    let options = Source::read(Side::Rust, "src/client/options.rs");
    let defaults = TEXTS.iter().filter(|only| only.why.contains("src/client/options.rs"));
    let missing = defaults.filter(|only| !options.text.contains(&format!("\"{}\"", only.key)));
    assert_none(missing.map(|only| format!("src/client/options.rs does not contain {:?}", only.key)));
}

#[test]
fn twins_begin_with_the_same_header() {
    assert_none(differing(&twins(), "the header", |_, source| header::header(source)));
    let short = |source: &&Source| header::header(source).len() != 3;
    let pairs = twins();
    let sources = pairs.iter().flat_map(|pair| [&pair.c, &pair.rust]);
    assert_none(
        sources.filter(short).map(|source| format!("{}: its header must have three lines", source.path)),
    );
}

#[test]
fn the_headers_lead_from_the_first_program_to_every_other() {
    for side in [Side::C, Side::Rust] {
        let pairs = twins();
        let find = |name: &str| pairs.iter().find(|pair| pair.name == name);
        let mut read = vec![String::from("client/socket")];
        while let Some(pair) = find(&read[read.len() - 1])
            && let Some(next) = header::next(if side == Side::C { &pair.c } else { &pair.rust })
        {
            assert!(!read.contains(&next), "{side:?}: {} leads back to {next}", pair.name);
            read.push(next);
        }
        read.sort();
        pretty_assertions::assert_eq!(read, Vec::from_iter(programs(side)));
    }
}

/// The files that several programs share: C headers and Rust modules.
fn shared() -> [Pair; 2] {
    ["visible", "stream"].map(|name| Pair {
        name: name.into(),
        c: Source::read(Side::C, &format!("c/{name}.h")),
        rust: Source::read(Side::Rust, &format!("src/{name}.rs")),
    })
}

#[test]
fn shared_files_give_their_constants_the_same_values() {
    assert_none(differing(&shared(), "the constants", |_, source| source.constants.clone()));
    assert!(shared().iter().all(|pair| !pair.c.constants.is_empty()));
}

#[test]
fn shared_files_have_the_same_public_functions_in_the_same_order() {
    let table: Vec<_> = NOT_IN_HEADER.iter().collect();
    let column = |pair: &Pair, source: &Source| public_functions(&table, pair, source);
    assert_none(differing(&shared(), "the public functions", column));
    assert!(shared().iter().all(|pair| !column(pair, &pair.rust).is_empty()));
}

#[test]
fn every_entry_about_calls_is_needed() {
    let pairs = pairs();
    let unneeded = unneeded(CALLS, |rules| differing(&pairs, "", |pair, source| calls(rules, pair, source)));
    assert_none(
        unneeded.iter().map(|rule| format!("not needed: {:?} for {:?}: {}", rule.c, rule.rust, rule.why)),
    );
}

#[test]
fn every_entry_about_variables_and_texts_is_needed() {
    let pairs = pairs();
    for (kind, table) in [(Kind::Variable, VARIABLES), (Kind::Sent, TEXTS)] {
        let differing =
            |table: &[&Only]| differing(&pairs, "", |pair, source| sorted(kind, table, pair, source));
        let unneeded = unneeded(table, differing);
        assert_none(
            unneeded
                .iter()
                .map(|only| format!("not needed: {:?} in {:?}: {}", only.key, only.place, only.why)),
        );
    }
}

#[test]
fn every_entry_about_shared_files_is_needed() {
    let differing =
        |table: &[&RustOnly]| differing(&shared(), "", |pair, source| public_functions(table, pair, source));
    let unneeded = unneeded(NOT_IN_HEADER, differing);
    assert_none(unneeded.iter().map(|only| format!("not needed: {}: {}", only.function, only.why)));
}
