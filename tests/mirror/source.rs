//! A parsed program: its functions, and the comments, calls, texts and variables of each, in source order.

use std::sync::LazyLock;

use regex::Regex;
use tree_sitter::Node;

pub use crate::support::syntax::Side;
use crate::support::syntax::{DIRECTIVE, children, declared_name, flat, line, literal, parse};

/// The kinds of items that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Function,
    Comment,
    /// A call; an assignment to a field or to errno; a break, continue or return.
    Call,
    /// The text that a call prints.
    Printed,
    /// Any other text, such as a request or a greeting.
    Sent,
    Variable,
}

/// One item of a file: the text to show, and the key that is compared between the languages.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: Kind,
    pub line: usize,
    pub text: String,
    pub key: String,
}

impl Item {
    pub fn new(kind: Kind, line: usize, text: &str, key: &str) -> Item {
        Item { kind, line, text: text.into(), key: key.into() }
    }
}

pub struct Function {
    pub name: String,
    /// Whether it is a `pub fn`; always false in C.
    pub public: bool,
    /// The function's title, then its items.
    pub items: Vec<Item>,
}

pub struct Source {
    pub path: String,
    pub side: Side,
    pub text: String,
    pub functions: Vec<Function>,
    /// Constants from `#define` or `const`, as `NAME = value`.
    pub constants: Vec<Item>,
}

impl Source {
    /// Read a file, given by its path from the crate.
    pub fn read(side: Side, path: &str) -> Source {
        Source::new(side, path, &crate::support::read_file(path))
    }

    pub fn new(side: Side, path: &str, text: &str) -> Source {
        let (code, tree) = parse(side, path, text);
        let mut source =
            Source { path: path.into(), side, text: text.into(), functions: vec![], constants: vec![] };
        let mut add = |node: Node| match node.kind() {
            "function_definition" | "function_item" => source.functions.push(function(&code, node)),
            "preproc_def" | "const_item" => source.constants.extend(constant(&code, node)),
            _ => {}
        };
        for node in children(tree.root_node()) {
            add(node);
            // in a C header, everything is inside the include guard
            if node.kind() == "preproc_ifdef" {
                children(node).for_each(&mut add);
            }
        }
        source
    }

    /// Move a function into a separate source.
    pub fn split_off(&mut self, name: &str) -> Source {
        let functions = self.functions.extract_if(.., |function| function.name == name).collect();
        Source { path: self.path.clone(), side: self.side, text: String::new(), functions, constants: vec![] }
    }

    /// The items of these kinds in all functions.
    pub fn items(&self, kinds: &[Kind]) -> Vec<Item> {
        let items = self.functions.iter().flat_map(|function| &function.items);
        items.filter(|item| kinds.contains(&item.kind)).cloned().collect()
    }
}

fn constant(code: &str, node: Node) -> Option<Item> {
    let name = flat(code, node.child_by_field_name("name")?);
    let value = flat(code, node.child_by_field_name("value")?).replace('_', "");
    let text = format!("{name} = {value}");
    Some(Item::new(Kind::Call, line(node), &text, &text))
}

fn function(code: &str, node: Node) -> Function {
    let name = declared_name(code, node);
    let public = children(node).any(|child| child.kind() == "visibility_modifier");
    let title = Item::new(Kind::Function, line(node), &format!("{name}()"), &format!("{name}()"));
    let mut walk = Walk { code, items: vec![title] };
    walk.children(node);
    Function { name, public, items: walk.items }
}

/// The calls whose first argument is a text for stdout or stderr.
const PRINTING: [&str; 5] = ["printf", "puts", "perror", "herror", "back_off"];

struct Walk<'a> {
    code: &'a str,
    items: Vec<Item>,
}

impl Walk<'_> {
    fn push(&mut self, kind: Kind, node: Node, text: &str, key: &str) {
        self.items.push(Item::new(kind, line(node), text, key));
    }

    fn children(&mut self, node: Node) {
        children(node).for_each(|child| self.node(child));
    }

    fn node(&mut self, node: Node) {
        let field = |name| node.child_by_field_name(name);
        match node.kind() {
            "comment" | "line_comment" | "block_comment" => {
                let text = flat(self.code, node);
                self.push(Kind::Comment, node, &text, &text);
            }
            "call_expression" => self.call(node),
            "assignment_expression" => {
                let left = field("left").map(|left| (left.kind(), flat(self.code, left)));
                let left = left.filter(|(kind, name)| *kind == "field_expression" || name == "errno");
                let text = left.map(|(_, name)| format!("{name} ="));
                text.into_iter().for_each(|text| self.push(Kind::Call, node, &text, &text));
                self.children(node);
            }
            "string_literal" => {
                let text = DIRECTIVE.replace_all(literal(self.code, node), "{}").into_owned();
                self.push(Kind::Sent, node, &format!("{text:?}"), &text);
            }
            // the "C" of an extern "C" fn, and a C list of options, which Rust has in src/cli.rs
            "initializer_list" | "extern_modifier" => {}
            // the break of a case: a match arm needs none
            "break_statement" if node.parent().is_some_and(|parent| parent.kind() == "case_statement") => {}
            "break_statement" | "break_expression" | "continue_statement" | "continue_expression" => {
                let text = flat(self.code, node);
                self.push(Kind::Call, node, &text, text.trim_end_matches(';'));
            }
            "return_statement" | "return_expression" => self.leave(node, node.named_child(0)),
            "try_expression" => self.try_expression(node),
            "block" if node.parent().is_some_and(|parent| parent.kind() == "function_item") => {
                self.body(node)
            }
            "declaration" | "parameter_declaration" => self.c_variables(node),
            "let_declaration" | "parameter" | "let_condition" | "match_arm" | "for_expression" => {
                field("pattern").into_iter().for_each(|pattern| self.rust_variables(pattern));
                self.children(node);
            }
            _ => self.children(node),
        }
    }

    fn call(&mut self, node: Node) {
        let callee = node.child_by_field_name("function").expect("a call has a function");
        let arguments = node.child_by_field_name("arguments").expect("a call has arguments");
        let mut name = flat(self.code, callee);
        match callee.kind() {
            // perror("…")(errno): the inner call has the name
            "call_expression" => {
                self.children(node);
                return;
            }
            // a method: first the calls in its receiver
            "field_expression" => {
                self.children(callee);
                let method = callee.child_by_field_name("field").expect("a method has a name");
                name = format!(".{}", flat(self.code, method));
            }
            _ => {}
        }
        let words: Vec<_> = children(arguments).map(|argument| word(&flat(self.code, argument))).collect();
        // the key has the first two arguments: later ones are often lengths in C, which a Rust slice knows; texts are
        // compared separately; errno is an argument only in Rust
        let begins_with_text = words.first().is_some_and(String::is_empty);
        let named = words.iter().take(if begins_with_text { 0 } else { 2 }).filter(|word| *word != "errno");
        let key = format!("{name}({})", named.cloned().collect::<Vec<_>>().join(", "));
        self.push(Kind::Call, callee, &format!("{name}{}", flat(self.code, arguments)), &key);
        if PRINTING.contains(&name.as_str()) {
            self.printed(&name, arguments, &words);
        } else {
            self.children(arguments);
        }
    }

    /// Add the text of a printing call, with each placeholder replaced by the name of its value.
    fn printed(&mut self, name: &str, arguments: Node, words: &[String]) {
        let Some(first) = children(arguments).next() else { return };
        let mut rest = words.iter().skip(1);
        let filled = if first.kind() == "string_literal" {
            let fill = |found: &regex::Captures| match found[0].trim_matches(['{', '}']) {
                inline if found[0].starts_with('{') && !inline.is_empty() => format!("{{{inline}}}"),
                _ => format!("{{{}}}", rest.next().map_or("?", String::as_str)),
            };
            DIRECTIVE.replace_all(literal(self.code, first), fill).into_owned()
        } else {
            format!("{{{}}}", words[0])
        };
        let text = format!("{name} \"{filled}\"");
        self.push(Kind::Printed, arguments, &text, &text);
        children(arguments)
            .filter(|child| child.kind() != "string_literal")
            .for_each(|child| self.node(child));
    }

    /// Add a return. C's `return 0` is Rust's `Ok(())`; C's `return 1` is Rust's `?`, see [`Walk::try_expression`].
    fn leave(&mut self, node: Node, value: Option<Node>) {
        let text = flat(self.code, node);
        match value.map(|value| flat(self.code, value)).as_deref() {
            Some("0" | "Ok(())") => self.push(Kind::Call, node, &text, "return 0"),
            Some("1") => self.push(Kind::Call, node, &text, "return 1"),
            _ => {
                self.push(Kind::Call, node, &text, "return");
                value.into_iter().for_each(|value| self.node(value));
            }
        }
    }

    fn try_expression(&mut self, node: Node) {
        self.children(node);
        // named after the method before the question mark: .map_err? or .ok_or_else?
        let method = (node.named_child(0).and_then(|inner| inner.child_by_field_name("function")))
            .and_then(|function| function.child_by_field_name("field"))
            .map_or(String::new(), |method| format!(".{}", flat(self.code, method)));
        let end = node.end_position().row + 1;
        self.items.push(Item::new(Kind::Call, end, &format!("{method}?"), "return 1"));
    }

    /// The body of a Rust function: its last expression is its return value, if it has one.
    fn body(&mut self, block: Node) {
        let function = block.parent().expect("a body has a function");
        let never =
            function.child_by_field_name("return_type").is_none_or(|kind| flat(self.code, kind) == "!");
        let is_value = |last: &Node| last.kind().ends_with("_expression") || last.kind() == "integer_literal";
        let last = children(block).last().filter(|last| !never && is_value(last));
        for child in children(block) {
            if Some(child) == last { self.leave(child, last) } else { self.node(child) }
        }
    }

    fn c_variables(&mut self, node: Node) {
        for declarator in node.children_by_field_name("declarator", &mut node.walk()) {
            let name = match declarator.kind() {
                "identifier" => flat(self.code, declarator),
                _ => declared_name(self.code, declarator),
            };
            self.push(Kind::Variable, declarator, &name, &name);
        }
        self.children(node);
    }

    fn rust_variables(&mut self, pattern: Node) {
        let text = flat(self.code, pattern);
        // to the parser, None and Child are identifiers, too
        if pattern.kind() == "identifier" && !text.starts_with(char::is_uppercase) {
            self.push(Kind::Variable, pattern, &text, text.trim_start_matches('_'));
        }
        children(pattern).for_each(|child| self.rust_variables(child));
    }
}

/// C's cast before the address of a structure.
static CAST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\(struct \w+ \*\)").expect("the expression is valid"));

/// The first name in an argument, the same for both languages: `sock` for `&sock` and `sock.as_raw_fd()`, `buffer` for
/// `buffer + len` and `&mut buffer[len..]`; empty for a text.
fn word(argument: &str) -> String {
    if argument.starts_with("b\"") {
        return String::new();
    }
    let bare = CAST.replace(argument, "");
    let bare = bare.trim_start_matches(['&', '*']).trim_start_matches("mut ");
    let end = bare.find(|c: char| !c.is_alphanumeric() && !"_.:".contains(c)).unwrap_or(bare.len());
    let name = bare[..end].rsplit("::").next().unwrap_or_default();
    match name.rsplit_once('.') {
        Some((owner, _method)) if bare[end..].starts_with('(') => owner.into(),
        _ => name.into(),
    }
}
