//! Parses C and Rust sources with the same functions.

use std::sync::LazyLock;

use regex::Regex;
use tree_sitter::{Node, Parser, Tree};

/// A file's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    C,
    Rust,
}

/// The names of a program's calls and its string literals, in source order, written the same for both languages.
pub fn calls_and_texts(side: Side, path: &str, text: &str) -> Vec<String> {
    let (code, tree) = parse(side, path, text);
    numbered_calls_and_texts(&code, tree.root_node()).into_iter().map(|(_, item)| item).collect()
}

/// The same, each with its line number.
fn numbered_calls_and_texts(code: &str, root: Node) -> Vec<(usize, String)> {
    fn visit(code: &str, node: Node, found: &mut Vec<(usize, String)>) {
        match node.kind() {
            "call_expression" => {
                let callee = node.child_by_field_name("function").expect("a call has a function");
                let name = callee.child_by_field_name("field").unwrap_or(callee);
                found.push((line(node), format!("{}()", flat(code, name))));
            }
            "string_literal" => {
                found.push((line(node), DIRECTIVE.replace_all(literal(code, node), "{}").into_owned()));
            }
            _ => {}
        }
        children(node).for_each(|child| visit(code, child, found));
    }
    let mut items = Vec::new();
    visit(code, root, &mut items);
    items
}

/// For each line of a program a key that finds the same line in the other language: its comment, the field that it
/// assigns, or its first call and its first string. A line without any of them has an empty key.
pub fn line_keys(side: Side, path: &str, text: &str) -> Vec<String> {
    let mut keys: Vec<String> = text.lines().map(|line| key_without_calls(line.trim())).collect();
    let (code, tree) = parse(side, path, text);
    for (line, item) in numbered_calls_and_texts(&code, tree.root_node()).into_iter().rev() {
        let is_call = item.ends_with("()");
        let key = &mut keys[line - 1];
        // the loop runs backwards, so the first call and the first string of the line remain
        let rest = key.split_once('"').map_or("", |(_, text)| text);
        *key = if is_call { format!("{item}\"{rest}") } else { format!("\"{item}") };
    }
    for (line, name) in functions(&code, tree.root_node()) {
        keys[line - 1] = format!("function {name}");
    }
    keys
}

/// The key of a line without a call.
fn key_without_calls(line: &str) -> String {
    let words = |text: &str| text.replace(['(', ')', '{', '}', ' '], "");
    match line.trim_start_matches('}').trim_start() {
        "while (1) {" | "while(1) {" | "loop {" => "loop".into(),
        "else {" => "else".into(),
        "return 0;" | "0" => "return 0".into(),
        comment if comment.starts_with("// ") => comment.into(),
        condition if condition.starts_with("if ") => format!("if {}", words(&condition[3..])),
        line => {
            let assigned = line.split_once(" = ").map(|(left, _)| left).filter(|left| left.contains('.'));
            assigned.unwrap_or_default().into()
        }
    }
}

/// The first lines of the functions, with their names.
fn functions(code: &str, root: Node) -> Vec<(usize, String)> {
    let functions = children(root)
        .filter(|node| ["function_definition", "function_item"].contains(&node.kind()))
        .map(|node| (line(node), declared_name(code, node)));
    functions.collect()
}

/// The name of a function, in either language.
pub fn declared_name(code: &str, mut node: Node) -> String {
    if let Some(name) = node.child_by_field_name("name") {
        return flat(code, name);
    }
    while let Some(inner) = node.child_by_field_name("declarator") {
        node = inner;
    }
    flat(code, node)
}

/// Parse a source, and give it as it was parsed. In Rust, the arguments of a macro are only tokens to the parser; so
/// the `!` of each macro is replaced by a space, which makes it a call.
pub fn parse(side: Side, path: &str, text: &str) -> (String, Tree) {
    let language = match side {
        Side::C => tree_sitter_c::LANGUAGE,
        Side::Rust => tree_sitter_rust::LANGUAGE,
    };
    let mut parser = Parser::new();
    parser.set_language(&language.into()).expect("the grammar fits the parser");
    let mut code = text.to_string();
    loop {
        let tree = parser.parse(&code, None).expect("the parser has a language");
        let Some(bang) = first_macro_bang(tree.root_node()) else {
            assert!(!tree.root_node().has_error(), "{path} cannot be parsed:\n{code}");
            return (code, tree);
        };
        code.replace_range(bang..bang + 1, " ");
    }
}

/// The byte offset of the first macro's `!`.
fn first_macro_bang(node: Node) -> Option<usize> {
    if node.kind() == "macro_invocation" {
        return Some(node.child_by_field_name("macro")?.end_byte());
    }
    children(node).find_map(first_macro_bang)
}

/// The named children of a node.
pub fn children(node: Node) -> impl Iterator<Item = Node> {
    (0..node.named_child_count()).filter_map(move |i| node.named_child(i as u32))
}

/// The line number of a node's first byte.
pub fn line(node: Node) -> usize {
    node.start_position().row + 1
}

/// A node's source on one line, with single spaces.
pub fn flat(code: &str, node: Node) -> String {
    code[node.byte_range()].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A string literal's text between the quotes.
pub fn literal<'a>(code: &'a str, node: Node) -> &'a str {
    code[node.byte_range()].trim_start_matches('b').trim_matches('"')
}

/// The placeholders of printf and format!.
pub static DIRECTIVE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"%[a-z]|\{\w*\}").expect("the expression is valid"));
