//! C and Rust sources, parsed alike.

use std::sync::LazyLock;

use regex::Regex;
use tree_sitter::{Node, Parser, Tree};

/// Which of the two languages a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    C,
    Rust,
}

/// The names of the calls and the texts of a program, in its order, alike in both languages.
pub fn calls_and_texts(side: Side, path: &str, text: &str) -> Vec<String> {
    found(side, path, text).into_iter().map(|(_, item)| item).collect()
}

/// The same, each with its line.
fn found(side: Side, path: &str, text: &str) -> Vec<(usize, String)> {
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
    let (code, tree) = parse(side, path, text);
    let mut items = Vec::new();
    visit(&code, tree.root_node(), &mut items);
    items
}

/// For each line of a program what it is recognised by in the other language: a comment, what it assigns to, or the
/// first call and the first text in it. Empty for a line that says nothing of the kind.
pub fn line_keys(side: Side, path: &str, text: &str) -> Vec<String> {
    let mut keys: Vec<String> = text.lines().map(|line| own_key(line.trim())).collect();
    for (line, item) in found(side, path, text).into_iter().rev() {
        let is_call = item.ends_with("()");
        let key = &mut keys[line - 1];
        // from the last to the first: the first call stands before the first text
        let rest = key.split_once('"').map_or("", |(_, text)| text);
        *key = if is_call { format!("{item}\"{rest}") } else { format!("\"{item}") };
    }
    for (line, name) in functions(side, path, text) {
        keys[line - 1] = format!("function {name}");
    }
    keys
}

/// What a line without a call is recognised by.
fn own_key(line: &str) -> String {
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

/// Where functions begin, with their names.
fn functions(side: Side, path: &str, text: &str) -> Vec<(usize, String)> {
    let (code, tree) = parse(side, path, text);
    let functions = children(tree.root_node())
        .filter(|node| ["function_definition", "function_item"].contains(&node.kind()))
        .map(|node| (line(node), declared_name(&code, node)));
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

/// To the parser the arguments of a Rust macro are loose tokens. Without its `!`, a macro is a call
/// like C's, in the same place.
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
        let Some(bang) = bang(tree.root_node()) else {
            assert!(!tree.root_node().has_error(), "{path} cannot be parsed:\n{code}");
            return (code, tree);
        };
        code.replace_range(bang..bang + 1, " ");
    }
}

/// Where the first macro has its `!`.
fn bang(node: Node) -> Option<usize> {
    if node.kind() == "macro_invocation" {
        return Some(node.child_by_field_name("macro")?.end_byte());
    }
    children(node).find_map(bang)
}

/// The named nodes in a node.
pub fn children(node: Node) -> impl Iterator<Item = Node> {
    (0..node.named_child_count()).filter_map(move |i| node.named_child(i as u32))
}

/// The line that a node begins in.
pub fn line(node: Node) -> usize {
    node.start_position().row + 1
}

/// A node's source on one line.
pub fn flat(code: &str, node: Node) -> String {
    code[node.byte_range()].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands between the quotes.
pub fn literal<'a>(code: &'a str, node: Node) -> &'a str {
    code[node.byte_range()].trim_start_matches('b').trim_matches('"')
}

/// What printf and format! fill in.
pub static DIRECTIVE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"%[a-z]|\{\w*\}").expect("the expression is valid"));
